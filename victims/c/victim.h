// What all C victims share: the ready line, answers to lines on standard input,
// and an end with the process that started them.
#pragma once
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define CALL __attribute__((noinline, noclone))
#define PAGE ((size_t)4096)

static inline void die(const char *what) {
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(3);
}

// say prints one line at once, without stdio's buffer: the heap then holds no
// copy of what was said.
__attribute__((format(printf, 1, 2))) static inline void say(const char *format, ...) {
	char line[1024];
	va_list ap;
	va_start(ap, format);
	int n = vsnprintf(line, sizeof line - 1, format, ap);
	va_end(ap);
	line[n++] = '\n';
	if (write(1, line, n) != n) exit(3);
}

// hear returns the next line of standard input without its end, or ends the
// program when there is none.
CALL static char *hear(char *line, size_t size) {
	size_t n = 0;
	for (;;) {
		ssize_t got = read(0, line + n, 1);
		if (got < 0 && errno == EINTR) continue;
		if (got <= 0) _exit(0);
		if (line[n] == '\n' || n == size - 1) break;
		n++;
	}
	line[n] = 0;
	return line;
}

// serve blocks until standard input ends, saying "alive" for each line.
CALL __attribute__((unused)) static void serve(void) {
	char line[64];
	for (;;) {
		hear(line, sizeof line);
		say("alive");
	}
}

// random64 is a deterministic sequence (xorshift64*).
static inline uint64_t random64(uint64_t *state) {
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545F4914F6CDD1DULL;
}

static inline void *map(size_t size, int prot, int flags) {
	void *p = mmap(NULL, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
	if (p == MAP_FAILED) die("mmap");
	return p;
}

static inline double seconds(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}
