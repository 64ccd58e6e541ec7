// forked: shares 64 MiB of memory that it has written to with a child.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(void) {
	const size_t size = 64 << 20;
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) return 2;
	madvise(p, size, MADV_NOHUGEPAGE);
	memset(p, 1, size);
	pid_t child = fork();
	if (child < 0) return 2;
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;) pause();
	}
	printf("ready\n");
	fflush(stdout);
	for (;;) pause();
}
