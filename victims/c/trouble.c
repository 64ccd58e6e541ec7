// trouble: gets into the trouble that it is told on standard input. `state`
// says in memory what it is doing, for those who look into a dump.
//
//	burn MS [THREADS]   use a core each for so long, then "burnt"
//	alloc MB / free     hold so much memory
//	threads N / join    N sleeping threads
//	files N / close     N open files
//	read MB             read so much
//	raise SIG / handle SIG / ignore SIG
//	crash KIND          null, wild, write, abort, overflow, div, trap, worker,
//	                    thread-overflow, double, fork, vexec, exec, gobus
//	exit N / exitthread N
//	dlopen FILE / dlclose
//	storm N             N faults that it handles itself, as a JVM does
//	print TEXT / warn TEXT / log PATH TEXT
//	vfork MS            wait for a child in uninterruptible sleep
//	vforkthread MS      a thread waits for a child in uninterruptible sleep
#include "victim.h"
#include <dlfcn.h>
#include <setjmp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

char state[64] = "idle", line[512];
static char *held;
static atomic_int parked;
static int files[4096], nfiles;
static void *library;
static atomic_long handled;

CALL static void *burn(void *arg) {
	double end = seconds() + *(double *)arg;
	for (volatile long i = 0; seconds() < end; i++) {}
	return NULL;
}

CALL static void *park(void *unused) {
	(void)unused;
	while (parked) usleep(20000);
	return NULL;
}

CALL static int overflow(int n) {
	volatile char frame[4096];
	frame[0] = n;
	return n < 1 << 30 ? overflow(n + 1) + frame[0] : 0;
}

CALL static void crash_null(void) { *(volatile int *)0x10 = 1; }
CALL static void crash_wild(void) { *(volatile int *)0xdeadbeef000 = 1; }
CALL static void crash_write(void) { *(volatile char *)(uintptr_t)"constant" = 1; }
CALL static void crash_div(void) {
	volatile int zero = 0;
	state[40] = 10 / zero;
}
CALL static void *crash_worker(void *unused) {
	(void)unused;
	crash_null();
	return NULL;
}
CALL static void *overflow_worker(void *unused) {
	(void)unused;
	overflow(0);
	return NULL;
}

static void count(int sig) { (void)sig, handled++; }

static sigjmp_buf back;

static void survive(int sig) {
	(void)sig, handled++;
	siglongjmp(back, 1);
}

CALL static void storm(long n) {
	struct sigaction a = {.sa_handler = survive, .sa_flags = SA_NODEFER}, old;
	sigaction(SIGSEGV, &a, &old);
	for (volatile long i = 0; i < n; i++)
		if (!sigsetjmp(back, 0)) crash_null();
	sigaction(SIGSEGV, &old, NULL);
}

// faulty faults itself while it handles a fault.
static void faulty(int sig) {
	(void)sig;
	*(volatile int *)0x20 = 2;
}

CALL static void *wait_in_vfork(void *ms) {
	struct timespec t = {(intptr_t)ms / 1000, (intptr_t)ms % 1000 * 1000000};
	if (vfork() == 0) {
		syscall(SYS_nanosleep, &t, NULL);
		_exit(0);
	}
	return NULL;
}

static void start(void *(*f)(void *), void *arg, pthread_t *t) {
	pthread_t mine;
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 128 << 10);
	if (pthread_create(t ? t : &mine, &attr, f, arg)) die("pthread_create");
}

CALL static void crash(const char *kind, char **argv) {
	snprintf(state, sizeof state, "crash %s", kind);
	pthread_t t;
	if (!strcmp(kind, "null")) crash_null();
	if (!strcmp(kind, "wild")) crash_wild();
	if (!strcmp(kind, "write")) crash_write();
	if (!strcmp(kind, "abort")) abort();
	if (!strcmp(kind, "overflow")) overflow(0);
	if (!strcmp(kind, "div")) crash_div();
	if (!strcmp(kind, "trap")) __asm__("int3");
	if (!strcmp(kind, "worker")) start(crash_worker, NULL, &t), pthread_join(t, NULL);
	if (!strcmp(kind, "thread-overflow")) start(overflow_worker, NULL, &t), pthread_join(t, NULL);
	if (!strcmp(kind, "double")) signal(SIGSEGV, faulty), crash_null();
	if (!strcmp(kind, "fork")) {
		int status, pid = fork();
		if (pid == 0) crash_null();
		waitpid(pid, &status, 0);
		say("child pid=%d status=%d", pid, status);
		return;
	}
	if (!strcmp(kind, "exec")) execl("/proc/self/exe", argv[0], "crash", "null", NULL), die("exec");
	die(kind);
}

int main(int argc, char **argv) {
	char word[64] = "", *rest;
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}); // no core files all over the place
	if (argc > 2 && !strcmp(argv[1], "crash")) crash(argv[2], argv);
	if (argc > 2 && !strcmp(argv[1], "live")) { // live MS [crash KIND | exit N]
		usleep(atoi(argv[2]) * 1000);
		if (argc > 4 && !strcmp(argv[3], "crash")) crash(argv[4], argv);
		return argc > 4 ? atoi(argv[4]) : 0;
	}
	say("ready state=%p", (void *)state);
	for (;;) {
		hear(line, sizeof line);
		int skip = 0;
		sscanf(line, "%63s %n", word, &skip);
		rest = line + skip;
		long n = atol(rest);
		snprintf(state, sizeof state, "%.63s", line);
		if (!strcmp(word, "burn")) {
			double s = n / 1e3;
			long threads = 1;
			sscanf(rest, "%*d %ld", &threads);
			pthread_t t[512];
			if (threads > 512) threads = 512;
			for (long i = 1; i < threads; i++) start(burn, &s, &t[i]);
			burn(&s);
			for (long i = 1; i < threads; i++) pthread_join(t[i], NULL);
		} else if (!strcmp(word, "alloc")) {
			size_t size = (size_t)n << 20;
			held = map(size, PROT_READ | PROT_WRITE, 0);
			for (size_t i = 0; i < size; i += PAGE) held[i] = 1;
			state[0] = 'A';
		} else if (!strcmp(word, "free")) {
			munmap(held, (size_t)n << 20);
		} else if (!strcmp(word, "threads")) {
			parked = 1;
			for (long i = 0; i < n; i++) start(park, NULL, NULL);
		} else if (!strcmp(word, "join")) {
			parked = 0;
		} else if (!strcmp(word, "files")) {
			while (nfiles < n && nfiles < 4096) files[nfiles++] = open("/dev/null", O_RDONLY);
		} else if (!strcmp(word, "close")) {
			while (nfiles > 0) close(files[--nfiles]);
		} else if (!strcmp(word, "read")) {
			static char block[1 << 20];
			int zero = open("/dev/zero", O_RDONLY);
			for (long i = 0; i < n; i++)
				if (read(zero, block, sizeof block) != sizeof block) die("read");
			close(zero);
		} else if (!strcmp(word, "raise")) {
			raise(n);
		} else if (!strcmp(word, "handle")) {
			signal(n, count);
		} else if (!strcmp(word, "ignore")) {
			signal(n, SIG_IGN);
		} else if (!strcmp(word, "crash")) {
			crash(rest, argv);
		} else if (!strcmp(word, "exit")) {
			exit(n);
		} else if (!strcmp(word, "dlopen")) {
			if (!(library = dlopen(rest, RTLD_NOW))) say("dlerror %s", dlerror());
		} else if (!strcmp(word, "dlclose")) {
			dlclose(library);
		} else if (!strcmp(word, "warn")) {
			dprintf(2, "%s\n", rest);
		} else if (!strcmp(word, "storm")) {
			storm(n);
		} else if (!strcmp(word, "print")) {
			say("%s", rest);
			continue;
		} else if (!strcmp(word, "log")) {
			struct sockaddr_un a = {.sun_family = AF_UNIX};
			char text[400];
			sscanf(rest, "%107s %399[^\n]", a.sun_path, text);
			int s = socket(AF_UNIX, SOCK_DGRAM, 0);
			if (connect(s, (struct sockaddr *)&a, sizeof a)) die("connect");
			dprintf(s, "<14>%s", text);
			close(s);
		} else if (!strcmp(word, "vforkthread")) {
			start(wait_in_vfork, (void *)n, NULL);
		} else if (!strcmp(word, "vfork")) {
			wait_in_vfork((void *)n);
		}
		say("done state=%s handled=%ld", word, (long)handled);
		snprintf(state, sizeof state, "idle");
	}
}
