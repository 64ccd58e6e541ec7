// stamping [fork|huge]... PAGES NAP: a thread writes the number of its pass into
// each page of its memory, in order, and naps for NAP microseconds every 64
// pages. So the memory of one instant is recognised: from one page on at most is
// it one less. Beside the large buffer it writes to one that it moves, one that it
// discards, and one that it maps anew. "where" on standard input is answered with
// their addresses, "pass" with the number; instead of the address of the moved
// one those of two words: it is at one of the two addresses that they hold.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { page = 4096, few = 64 };
static const int rw = PROT_READ | PROT_WRITE, anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
static long pages;
static int nap, forks;
static atomic_ulong pass;
static char *large, *places[2], *discarded, *fresh;
static char *volatile moved, *volatile moving; // they differ while it is moved

static char *map(void *at, long n, int flags) {
	char *p = mmap(at, n * page, rw, anonymous | flags, -1, 0);
	if (p == MAP_FAILED) {
		perror("mmap");
		exit(2);
	}
	return p;
}

static void stamp(char *p, long n, unsigned long v) {
	for (long i = 0; i < n; i++) {
		*(volatile unsigned long *)(p + i * page) = v;
		*(volatile unsigned long *)(p + (i + 1) * page - sizeof v) = v;
		if (nap && i % 64 == 63) usleep(nap);
	}
}

static void *change(void *unused) {
	for (;; pass++) {
		unsigned long v = pass;
		stamp(large, pages, v);
		char *to = places[moved == places[0]];
		moving = to;
		if (mremap(moved, few * page, few * page, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to) exit(3);
		moved = to;
		stamp(to, few, v);
		if (madvise(discarded, few * page, MADV_DONTNEED)) exit(4);
		stamp(discarded, few, v);
		if (munmap(fresh, few * page)) exit(5);
		map(fresh, few, MAP_FIXED);
		stamp(fresh, few, v);
		if (forks) {
			pid_t child = fork();
			if (child == 0) {
				stamp(large, pages < 256 ? pages : 256, ~0UL);
				_exit(0);
			}
			waitpid(child, NULL, 0);
		}
	}
	return unused;
}

int main(int argc, char **argv) {
	int huge = 0;
	for (; argc > 3; argc--, argv++) {
		forks |= !strcmp(argv[1], "fork");
		huge |= !strcmp(argv[1], "huge");
	}
	if (argc < 3) return 2;
	pages = atol(argv[1]);
	nap = atoi(argv[2]);
	large = map(NULL, pages, 0);
	if (huge) madvise(large, pages * page, MADV_HUGEPAGE);
	char *room = map(NULL, 8 * few, 0); // apart from each other and from the rest
	munmap(room, 8 * few * page);
	places[0] = map(room + few * page, few, MAP_FIXED);
	places[1] = room + 3 * few * page;
	discarded = map(room + 5 * few * page, few, MAP_FIXED);
	fresh = map(room + 7 * few * page, few, MAP_FIXED);
	moved = moving = places[0];
	pass = 1;
	pthread_t t;
	pthread_create(&t, NULL, change, NULL);
	while (pass < 3) usleep(1000);
	char line[64];
	for (printf("ready\n"), fflush(stdout); fgets(line, sizeof line, stdin); fflush(stdout)) {
		if (!strncmp(line, "where", 5))
			printf("%lu %lu %lu %lu %lu\n", (unsigned long)large, (unsigned long)discarded, (unsigned long)fresh,
				(unsigned long)&moved, (unsigned long)&moving);
		else
			printf("%lu\n", (unsigned long)pass);
	}
	return 0;
}
