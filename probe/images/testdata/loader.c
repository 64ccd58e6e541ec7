// Loads and unloads libraries as told on its standard input, and answers each
// command with a line:
//
//	open PATH      dlopen
//	close          dlclose of what was opened last
//	cycle N PATH   N times dlopen and dlclose
//	advise         madvise(MADV_DONTNEED) of this program's own code
//	protect PATH   maps the file without, and then makes it executable
//	move           moves that mapping
//	cover          maps anonymous memory over it
//	exec PATH      executes another program
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void need(int ok, const char *what) {
	if (!ok) {
		fprintf(stderr, "%s: %s\n", what, dlerror());
		exit(1);
	}
}

int main(void) {
	char in[4096];
	void *last = NULL;
	char *area = NULL;
	while (fgets(in, sizeof in, stdin)) {
		in[strcspn(in, "\n")] = 0;
		char *cmd = strtok(in, " "), *a = strtok(NULL, " "), *b = strtok(NULL, " ");
		if (!strcmp(cmd, "open"))
			need((last = dlopen(a, RTLD_NOW)) != NULL, "dlopen");
		else if (!strcmp(cmd, "close"))
			need(dlclose(last) == 0, "dlclose");
		else if (!strcmp(cmd, "cycle"))
			for (int i = 0; i < atoi(a); i++) {
				void *h = dlopen(b, RTLD_NOW);
				need(h != NULL, "dlopen");
				need(dlclose(h) == 0, "dlclose");
			}
		else if (!strcmp(cmd, "advise"))
			need(!madvise((void *)((unsigned long)main & -4096UL), 4096, MADV_DONTNEED), "madvise");
		else if (!strcmp(cmd, "protect")) {
			int fd = open(a, O_RDONLY);
			area = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, fd, 0);
			need(area != MAP_FAILED && !mprotect(area, 8192, PROT_READ | PROT_EXEC), "mprotect");
			close(fd);
		} else if (!strcmp(cmd, "move")) {
			char *to = mmap(NULL, 16384, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			area = mremap(area, 8192, 8192, MREMAP_MAYMOVE | MREMAP_FIXED, to);
			need(area == to, "mremap");
		} else if (!strcmp(cmd, "cover"))
			need(mmap(area, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == area, "mmap");
		else if (!strcmp(cmd, "exec"))
			execl(a, a, NULL);
		puts("done");
		fflush(stdout);
	}
	return 0;
}
