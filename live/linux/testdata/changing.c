// changing: memory of every sort that a clone has, has not, or has in another
// way, in which a thread writes a version into every page, over and over.
// "version" on standard input is answered with the version.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { page = 4096, pages = 64, sorts = 8 };
static atomic_ulong version;
static char *memory[sorts];

static char *map(int flags, int fd, int prot) {
	char *p = mmap(NULL, pages * page, prot, flags, fd, 0);
	if (p == MAP_FAILED) {
		perror("mmap");
		exit(2);
	}
	return p;
}

static void *change(void *unused) {
	(void)unused;
	for (;; version++)
		for (int i = 0; i < sorts; i++)
			for (int k = 0; k < pages; k += 1 + (i == 0)) atomic_store((atomic_ulong *)(memory[i] + k * page), version);
	return NULL;
}

int main(void) {
	const int rw = PROT_READ | PROT_WRITE;
	int fd = memfd_create("changing", 0);
	if (fd < 0 || ftruncate(fd, pages * page)) return 2;
	memory[0] = map(MAP_PRIVATE | MAP_ANONYMOUS, -1, rw);
	memory[1] = map(MAP_PRIVATE | MAP_ANONYMOUS, -1, rw);
	madvise(memory[1], pages * page, MADV_DONTFORK);
	memory[2] = map(MAP_PRIVATE | MAP_ANONYMOUS, -1, rw);
	madvise(memory[2], pages * page, MADV_WIPEONFORK);
	memory[3] = map(MAP_SHARED | MAP_ANONYMOUS, -1, rw);
	memory[4] = map(MAP_SHARED, fd, rw);
	map(MAP_SHARED, fd, PROT_READ); // the same memory a second time, which may only be read here
	memory[5] = map(MAP_PRIVATE, fd, rw);
	char name[] = "/tmp/changingXXXXXX";
	int file = mkstemp(name);
	if (file < 0 || ftruncate(file, pages * page)) return 2;
	memory[6] = map(MAP_SHARED, file, rw);
	unlink(name);
	memory[7] = map(MAP_PRIVATE | MAP_ANONYMOUS, -1, rw);
	pthread_t t;
	pthread_create(&t, NULL, change, NULL);
	char line[64];
	while (version < 3) usleep(1000);
	for (printf("ready\n"), fflush(stdout); fgets(line, sizeof line, stdin); fflush(stdout)) printf("%lu\n", (unsigned long)version);
	return 0;
}
