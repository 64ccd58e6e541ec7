// victim MIB PERCENT THREADS [thp] [deep] [dirty=RATE] [maps=COUNT]: what the
// benchmark dumps. It has a reservation of MIB of which PERCENT is touched in runs
// of 16 pages, and THREADS threads including the one that beats: it sleeps 100 us
// at a time and remembers the longest it was away. Its pages are small ones, but
// for "thp". With "deep" no two threads that wait have the same stack, of 20 to 59
// functions of this program. With "dirty" a thread more writes to RATE MiB of its
// pages a second, one after the other. With "maps" it has COUNT mappings of a page
// more. A line on standard input is answered by a line:
//
//	gap    since the last answer, of which it says the microseconds, the longest absence and the pages that
//	       "dirty" has written to
//	fork   forks a child that ends at once; answers with the time of fork(2)
//	crash  forks a copy that aborts; answers with the time until it is gone
//	fault  dies of SIGSEGV in fall, 30 functions deep; answers with the moment before, in nanoseconds since 1970
#define _GNU_SOURCE 1
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE ((size_t)4096)
#define RUN ((size_t)16)

static atomic_long gap, written;

static long micros(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000L + t.tv_nsec / 1000;
}

static void *beat(void *unused) {
	(void)unused;
	for (long last = micros();;) {
		struct timespec t = {0, 100000};
		nanosleep(&t, NULL);
		long now = micros();
		if (now - last > gap) gap = now - last;
		last = now;
	}
	return NULL;
}

static char *base;
static size_t pages;
static long rate; // pages a second that are written to

static void *dirty(void *unused) {
	(void)unused;
	size_t at = 0;
	for (double due = 0, last = micros();;) {
		struct timespec t = {0, 1000000};
		nanosleep(&t, NULL);
		double now = micros();
		due += (now - last) * rate / 1e6;
		last = now;
		if (due > rate / 50.0) due = rate / 50.0; // what it did not write while it stood it does not make good
		for (; due >= 1; due--, at = (at + 1) % pages, written++) ++*(volatile uint64_t *)(base + at * PAGE);
	}
	return NULL;
}

static void *wait_forever(void *unused) {
	(void)unused;
	for (;;) pause();
	return NULL;
}

typedef void leaf(void);

static void walk(uint64_t plan, int depth, leaf *end);

// A function with a frame of a size of its own, which the compiler cannot leave early.
#define WAY(n) \
	static __attribute__((noinline)) void way##n(uint64_t plan, int depth, leaf *end) { \
		volatile char room[16 * n + 16]; \
		room[0] = 0; \
		walk(plan, depth, end); \
		room[n] = 1; \
	}
WAY(0) WAY(1) WAY(2) WAY(3) WAY(4) WAY(5) WAY(6) WAY(7)
static void (*const ways[])(uint64_t, int, leaf *) = {way0, way1, way2, way3, way4, way5, way6, way7};

// walk goes through as many functions as depth says, which the bits of plan choose, to the last one.
static void walk(uint64_t plan, int depth, leaf *end) {
	if (depth == 0)
		end();
	else
		ways[plan & 7](plan >> 3 | plan << 61, depth - 1, end);
}

static void stay(void) { wait_forever(NULL); }

static void *wait_deep(void *number) {
	uint64_t n = (uint64_t)number;
	walk(n * 0x9E3779B97F4A7C15ULL, 20 + n % 40, stay);
	return NULL;
}

static __attribute__((noinline)) void fall(void) {
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	printf("fault at=%ld\n", t.tv_sec * 1000000000L + t.tv_nsec);
	fflush(stdout);
	*(volatile int *)16 = 1;
}

static uint64_t state = 7;

static uint64_t random64(void) {
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * 0x2545F4914F6CDD1DULL;
}

// fill gives a page what memory usually holds; a dump compresses to about half.
static void fill(uint64_t *page, size_t number) {
	static const char text[] = "GET /index.html HTTP/1.1 200 OK user=alice id=";
	size_t words = PAGE / sizeof *page, kind = number % 16;
	if (kind < 6)
		for (size_t i = 0; i < words; i++) page[i] = random64();
	else if (kind < 11)
		for (size_t i = 0; i < words; i++) page[i] = 0x7f3a00000000 + (random64() & 0xfffff8);
	else if (kind < 14)
		for (size_t i = 0; i + 64 <= PAGE; i += 64) snprintf((char *)page + i, 64, "%s%zu", text, number + i);
	else // nearly empty, but never all zero: a dump may leave such pages out
		page[number % words] = number + 1;
}

static void crash(void) {
	pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;) pause();
	}
	int status;
	struct rusage use;
	long start = micros();
	if (child < 0 || kill(child, SIGABRT) || wait4(child, &status, 0, &use) != child) {
		printf("crash us=-1 cpu=-1 core=0\n");
		return;
	}
	long cpu = (use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000000L + use.ru_utime.tv_usec + use.ru_stime.tv_usec;
	printf("crash us=%ld cpu=%ld core=%d\n", micros() - start, cpu, WCOREDUMP(status) ? 1 : 0);
}

static void fork_once(void) {
	long start = micros();
	pid_t child = fork();
	if (child == 0) _exit(0);
	long us = micros() - start;
	if (child < 0 || waitpid(child, NULL, 0) != child) us = -1;
	printf("fork us=%ld\n", us);
}

static void start(void *(*f)(void *), long arg) {
	pthread_attr_t attr;
	pthread_t t;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 10);
	if (pthread_create(&t, &attr, f, (void *)arg)) {
		perror("pthread_create");
		exit(3);
	}
}

// map_pages makes mappings of a page each: neighbours differ in what is permitted.
static int map_pages(size_t count) {
	char *p = mmap(NULL, count * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) return -1;
	for (size_t i = 0; i < count; i++) {
		p[i * PAGE] = 1;
		if (i % 2 && mprotect(p + i * PAGE, PAGE, PROT_READ)) return -1;
	}
	return 0;
}

int main(int argc, char **argv) {
	if (argc < 4 || argc > 8) return 2;
	int thp = 0, deep = 0;
	size_t maps = 0;
	for (int i = 4; i < argc; i++) {
		thp |= !strcmp(argv[i], "thp");
		deep |= !strcmp(argv[i], "deep");
		if (!strncmp(argv[i], "dirty=", 6)) rate = (atol(argv[i] + 6) << 20) / (long)PAGE;
		if (!strncmp(argv[i], "maps=", 5)) maps = strtoul(argv[i] + 5, NULL, 0);
	}
	if (maps && map_pages(maps)) {
		perror("map pages");
		return 3;
	}
	pages = (strtoul(argv[1], NULL, 0) << 20) / PAGE;
	size_t touched = 0;
	double share = atof(argv[2]) / 100, due = 0;
	int threads = atoi(argv[3]);
	base = mmap(NULL, pages * PAGE + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED) {
		perror("mmap");
		return 3;
	}
	madvise(base, pages * PAGE, thp ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	for (size_t run = 0; run < pages; run += RUN) {
		if ((due += share) < 0.9999) continue;
		due -= 1;
		for (size_t i = run; i < run + RUN && i < pages; i++, touched++) fill((uint64_t *)(base + i * PAGE), i);
	}
	struct rlimit core;
	getrlimit(RLIMIT_CORE, &core);
	core.rlim_cur = core.rlim_max;
	setrlimit(RLIMIT_CORE, &core);
	start(beat, 0);
	if (rate) start(dirty, 0);
	for (int i = 2; i < threads; i++) start(deep ? wait_deep : wait_forever, i);
	usleep(50000); // until the last thread waits
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("ready addr=%lu size=%zu touched=%zu\n", (unsigned long)base, pages * PAGE, touched * PAGE);
	char line[64];
	long answered = micros();
	written = 0;
	while (fgets(line, sizeof line, stdin)) {
		if (!strcmp(line, "crash\n"))
			crash();
		else if (!strcmp(line, "fork\n"))
			fork_once();
		else if (!strcmp(line, "fault\n"))
			walk(0x123456789, 30, fall);
		else {
			long now = micros();
			printf("gap us=%ld within=%ld pages=%ld\n", (long)atomic_exchange(&gap, 0), now - answered, (long)atomic_exchange(&written, 0));
			answered = now;
		}
	}
	return 0;
}
