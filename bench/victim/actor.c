// actor: a process that does one thing for a while, for those who watch it. A
// line on standard input is answered by a line of numbers:
//
//	syscalls MS    calls getppid(2)
//	signals MS     reads a page it may not read, and handles the SIGSEGV
//	threads MS     starts and joins a thread
//	execs MS       starts true(1) and waits for it
//	lines MS       writes lines to standard error
//	log MS         logs to standard error: formats time and message, flushes each line
//	requests MS    works for about 20 us, then writes a line as a server does
//	        n=     how many
//	        us=    in so many microseconds
//	        cpu=   of which it was on a CPU
//	errors PATH    standard error goes to this file from now on
//	cross MIB      touches memory until MIB and a bit more are its own
//	        at=    when it passed MIB, in nanoseconds since 1970
//	gaps           when, since cross, its beating thread was away for 300 us and more
//	        atN=   from when, usN= for how long
//	fault          dies of SIGSEGV
//	        at=    the moment before
#define _GNU_SOURCE 1
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define MOST_GAPS 1000

static long nanos(clockid_t clock) {
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static char *forbidden; // a page that must not be read
static sigjmp_buf back;

static void handle(int sig) {
	(void)sig;
	siglongjmp(back, 1);
}

static void act_syscall(void) { syscall(SYS_getppid); }

static void act_signal(void) {
	// SA_NODEFER: the signal stays unblocked, there is no mask to restore.
	if (sigsetjmp(back, 0) == 0) *(volatile char *)forbidden;
}

static void act_exec(void) {
	extern char **environ;
	char *argv[] = {"true", NULL};
	pid_t pid;
	if (posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ) == 0) waitpid(pid, NULL, 0);
}

static void *nothing(void *unused) { return unused; }

static void act_thread(void) {
	pthread_t t;
	if (pthread_create(&t, NULL, nothing, NULL) == 0) pthread_join(t, NULL);
}

static void act_line(void) {
	static const char line[] = "2026-01-02T03:04:05.678Z INFO GET /index.html 200 1234 bytes for user alice\n";
	if (write(STDERR_FILENO, line, sizeof line - 1) < 0) abort();
}

static void act_request(void) {
	for (volatile int i = 0; i < 20000; i++) continue;
	act_line();
}

static FILE *log_file;
static int self;

static void act_log(void) {
	static long request;
	struct timespec t;
	struct tm tm;
	char at[32];
	clock_gettime(CLOCK_REALTIME, &t);
	localtime_r(&t.tv_sec, &tm);
	strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%S", &tm);
	fprintf(log_file, "%s.%03ldZ INFO [%d] shop.item: GET /item/%ld %d %d bytes for user %s\n",
		at, t.tv_nsec / 1000000, self, request++, 200, 1234, "alice");
	fflush(log_file);
}

// repeat does something for a while; the clock is read once for every batch.
static void repeat(const char *word, long ms, void (*act)(void), int batch) {
	long start = nanos(CLOCK_MONOTONIC), cpu = nanos(CLOCK_PROCESS_CPUTIME_ID), now, n = 0;
	do {
		for (int i = 0; i < batch; i++) act();
		n += batch;
		now = nanos(CLOCK_MONOTONIC);
	} while (now - start < ms * 1000000);
	cpu = nanos(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	printf("%s n=%ld us=%ld cpu=%ld\n", word, n, (now - start) / 1000, cpu / 1000);
}

static struct { long at, us; } gaps[MOST_GAPS];
static atomic_int gap_count;

static void *beat(void *unused) {
	(void)unused;
	for (long last = nanos(CLOCK_REALTIME);;) {
		struct timespec t = {0, 50000};
		nanosleep(&t, NULL);
		long now = nanos(CLOCK_REALTIME);
		if (now - last >= 300000 && gap_count < MOST_GAPS) {
			gaps[gap_count].at = last;
			gaps[gap_count].us = (now - last) / 1000;
			gap_count++;
		}
		last = now;
	}
	return NULL;
}

static void cross(long mib) {
	size_t size = (mib + 4) * MIB;
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) abort();
	long at = 0;
	memset(p, 1, (mib - 2) * MIB);
	for (size_t i = (mib - 2) * MIB; i < size; i += 4096) {
		if (i == mib * MIB) at = nanos(CLOCK_REALTIME);
		p[i] = 1;
	}
	gap_count = 0;
	pthread_t t;
	pthread_create(&t, NULL, beat, NULL);
	printf("cross at=%ld\n", at);
}

static void tell_gaps(void) {
	printf("gaps");
	for (int i = 0; i < gap_count; i++) printf(" at%d=%ld us%d=%ld", i, gaps[i].at, i, gaps[i].us);
	printf("\n");
}

static void fault(void) {
	signal(SIGSEGV, SIG_DFL);
	printf("fault at=%ld\n", nanos(CLOCK_REALTIME));
	fflush(stdout);
	*(volatile char *)forbidden;
}

int main(void) {
	struct rlimit none = {0, 0};
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	forbidden = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct sigaction sa = {.sa_handler = handle, .sa_flags = SA_NODEFER};
	sigaction(SIGSEGV, &sa, NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	self = getpid();
	log_file = fdopen(STDERR_FILENO, "a"); // other than stderr it has a buffer
	printf("ready\n");
	char word[16], rest[4096], line[4200];
	while (fgets(line, sizeof line, stdin)) {
		rest[0] = 0;
		if (sscanf(line, "%15s %4095s", word, rest) < 1) continue;
		long number = atol(rest);
		if (strcmp(word, "syscalls") == 0) repeat(word, number, act_syscall, 1000);
		else if (strcmp(word, "signals") == 0) repeat(word, number, act_signal, 10);
		else if (strcmp(word, "threads") == 0) repeat(word, number, act_thread, 1);
		else if (strcmp(word, "execs") == 0) repeat(word, number, act_exec, 1);
		else if (strcmp(word, "lines") == 0) repeat(word, number, act_line, 100);
		else if (strcmp(word, "log") == 0) repeat(word, number, act_log, 10);
		else if (strcmp(word, "requests") == 0) repeat(word, number, act_request, 10);
		else if (strcmp(word, "cross") == 0) cross(number);
		else if (strcmp(word, "gaps") == 0) tell_gaps();
		else if (strcmp(word, "fault") == 0) fault();
		else if (strcmp(word, "errors") == 0) {
			int fd = open(rest, O_WRONLY | O_CREAT | O_TRUNC, 0600);
			printf("errors ok=%d\n", fd >= 0 && dup2(fd, STDERR_FILENO) >= 0 && close(fd) == 0);
		} else break;
	}
	return 0;
}
