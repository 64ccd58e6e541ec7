// blocked: one thread in every state that a thread can be in when it is stopped,
// all for ever. "check" on standard input is answered with what they saw: how
// many calls returned EINTR, by name, how many went wrong in any other way, and
// how many rounds the computing ones made. Registers that are not given back as
// they were show up as a wrong sum.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <linux/rseq.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static atomic_long wrong, rounds, interrupted, waiting, ticks, steps, signals;
static char what[512];

static void bad(const char *name, long result, int error) {
	wrong++;
	snprintf(what, sizeof what, "%s:%ld:%d", name, result, error);
}

// gone tells whether a call was interrupted; any other end of it is wrong.
static void eintr(const char *name, long result, int may) {
	if (result == -1 && errno == EINTR && may) interrupted++;
	else bad(name, result, errno);
}

static int pipes[2], sockets[2], word, epoll;
#define THREAD(name) static void *name(void *unused) { (void)unused; waiting++; for (;;)
#define END return NULL; }

THREAD(on_read) { char c; eintr("read", read(pipes[0], &c, 1), 0); } END
THREAD(on_futex) { eintr("futex", syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0), 0); } END
THREAD(on_futex_timed) { struct timespec t = {1000, 0}; eintr("futex", syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &t, NULL, 0), 0); } END
THREAD(on_poll) { struct pollfd p = {pipes[0], POLLIN, 0}; eintr("poll", poll(&p, 1, 1000000), 0); } END
THREAD(on_select) { fd_set s; FD_ZERO(&s); FD_SET(pipes[0], &s); eintr("select", select(pipes[0] + 1, &s, NULL, NULL, NULL), 0); } END
THREAD(on_epoll) { struct epoll_event e; eintr("epoll_wait", epoll_wait(epoll, &e, 1, -1), 1); } END
THREAD(on_recv) { char c; eintr("recv", recv(sockets[0], &c, 1, 0), 0); } END
THREAD(on_recv_timed) { char c; struct timeval t = {1000, 0}; int s[2]; socketpair(AF_UNIX, SOCK_STREAM, 0, s);
	setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t); for (;;) eintr("recv timed", recv(s[0], &c, 1, 0), 1); } END
THREAD(on_wait) { int s; eintr("wait4", wait4(-1, &s, 0, NULL), 0); } END
THREAD(on_sigwait) { sigset_t s; sigemptyset(&s); sigaddset(&s, SIGUSR2); eintr("sigtimedwait", sigtimedwait(&s, NULL, &(struct timespec){1000, 0}), 1); } END

// on_sleep sleeps a tenth of a second and finds that it lasted that long: one
// that begins anew after each stop, or ends early, does not.
THREAD(on_sleep) {
	struct timespec a, b, t = {0, 100000000};
	clock_gettime(CLOCK_MONOTONIC, &a);
	int r = nanosleep(&t, NULL);
	clock_gettime(CLOCK_MONOTONIC, &b);
	double took = b.tv_sec - a.tv_sec + (b.tv_nsec - a.tv_nsec) * 1e-9;
	if (r || took < 0.1) bad("nanosleep", r, errno);
	ticks++;
} END

// sum computes with integers, vectors and memory.
static uint64_t sum(const uint64_t *numbers, size_t n, double *part) {
	uint64_t a = 0;
	double b = 0;
	for (size_t i = 0; i < n; i++) a = a * 31 + numbers[i], b = b * 0.5 + (double)(numbers[i] & 0xffff);
	*part = b;
	return a;
}

static void compute(void) {
	enum { n = 4096 };
	static __thread uint64_t numbers[n];
	for (size_t i = 0; i < n; i++) numbers[i] = i * 0x9e3779b97f4a7c15u;
	double part, again;
	uint64_t whole = sum(numbers, n, &part);
	for (;; rounds++)
		if (sum(numbers, n, &again) != whole || memcmp(&part, &again, sizeof part)) bad("sum", 0, 0);
}

static void *on_nothing(void *unused) { (void)unused; waiting++; compute(); return NULL; }

static void handler(int sig) { (void)sig; waiting++; compute(); }

// in_handler computes in a signal handler, on an alternate stack.
static void *in_handler(void *unused) {
	(void)unused;
	stack_t s = {.ss_sp = malloc(65536), .ss_size = 65536};
	sigaltstack(&s, NULL);
	struct sigaction a = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
	sigaction(SIGUSR1, &a, NULL);
	pthread_kill(pthread_self(), SIGUSR1);
	return NULL;
}

// suspended waits for a signal that comes now and then: with its own mask in
// place of the thread's, which it must get back.
static void *suspended(void *unused) {
	(void)unused;
	sigset_t none, before, after;
	sigemptyset(&none);
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	waiting++;
	for (;;) {
		if (sigsuspend(&none) != -1 || errno != EINTR) bad("sigsuspend", 0, errno);
		pthread_sigmask(SIG_SETMASK, NULL, &after);
		if (memcmp(&before, &after, 8)) bad("mask", 0, 0);
	}
	return NULL;
}

// on_tty reads from a terminal.
static void *on_tty(void *unused) {
	(void)unused;
	char c;
	int master = posix_openpt(O_RDWR | O_NOCTTY);
	if (master < 0 || grantpt(master) || unlockpt(master)) exit(3);
	int tty = open(ptsname(master), O_RDWR | O_NOCTTY);
	if (tty < 0) exit(3);
	for (waiting++;;) eintr("tty", read(tty, &c, 1), 0);
	return NULL;
}

// on_uring waits for the end of what was never begun.
static void *on_uring(void *unused) {
	(void)unused;
	struct io_uring_params p = {0};
	int ring = syscall(SYS_io_uring_setup, 4, &p);
	for (waiting++; ring >= 0;) eintr("io_uring_enter", syscall(SYS_io_uring_enter, ring, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0), 1);
	for (;;) pause(); // not allowed here
	return NULL;
}

// stepping computes with the trap flag set: a signal after each instruction.
static void on_step(int sig) { (void)sig; steps++; }
static void *stepping(void *unused) {
	(void)unused;
	signal(SIGTRAP, on_step);
#ifdef __x86_64__
	__asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq" ::: "memory", "cc");
#else
	__asm__ volatile("pushfl; orl $0x100, (%%esp); popfl" ::: "memory", "cc");
#endif
	waiting++;
	compute();
	return NULL;
}

// in_rseq counts in a restartable sequence (rseq(2)), nearly all of its time.
#ifdef __x86_64__
long sequence(void *area_rseq_cs, const void *descriptor, long n);
extern const char sequence_descriptor[];
__asm__(".text\n.globl sequence\nsequence:\n"
	"	xorl %eax, %eax\n"
	"	movq %rsi, (%rdi)\n"
	"1:	incq %rax\n"
	"	cmpq %rdx, %rax\n"
	"	jne 1b\n"
	"2:	movq $0, (%rdi)\n"
	"	ret\n"
	"	.byte 0x0f, 0xb9, 0x3d\n	.long 0x53053053\n" // RSEQ_SIG
	"3:	movq $0, (%rdi)\n"
	"	movq $-1, %rax\n"
	"	ret\n"
	".section .data.rel.ro\n.balign 32\n.globl sequence_descriptor\nsequence_descriptor:\n"
	"	.long 0, 0\n	.quad 1b, 2b - 1b, 3b\n.text\n");
static void *in_rseq(void *unused) {
	(void)unused;
	if (!__rseq_size) exit(3);
	struct rseq *area = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
	const long n = 100000;
	for (waiting++;; rounds++) {
		long got = sequence((void *)&area->rseq_cs, sequence_descriptor, n);
		if (got == -1) ticks++; // aborted
		else if (got != n) bad("rseq", got, 0);
	}
	return NULL;
}
#else
#define in_rseq on_nothing
#endif

static void on_child(int sig) { (void)sig; bad("SIGCHLD", 0, 0); }
static void on_nudge(int sig) { (void)sig; }
static void on_queued(int sig) { (void)sig; signals++; }

static void *(*const others[])(void *) = {on_read, on_futex, on_futex_timed, on_poll, on_select, on_epoll, on_recv, on_recv_timed,
	on_wait, on_sigwait, on_sleep, on_nothing, in_handler, suspended, on_tty, on_uring, stepping, in_rseq};

// The first thread, which makes the calls, is in the state that is asked for, or
// exits and leaves that to another one; the questions are answered by another one.
static void *answer(void *unused) {
	(void)unused;
	char line[64];
	while (fgets(line, sizeof line, stdin)) {
		printf("seen wrong=%ld interrupted=%ld rounds=%ld ticks=%ld steps=%ld signals=%ld what=%s\n", (long)wrong, (long)interrupted, (long)rounds, (long)ticks,
			(long)steps, (long)signals, what);
		fflush(stdout);
	}
	_exit(0);
}

int main(int argc, char **argv) {
	if (argc < 2 || pipe(pipes) || socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) || (epoll = epoll_create1(0)) < 0) return 2;
	signal(SIGCHLD, on_child);
	signal(SIGHUP, on_nudge);
	signal(SIGRTMIN + 5, on_queued);
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGUSR2);
	sigaddset(&s, SIGHUP); // for the one in sigsuspend
	sigprocmask(SIG_BLOCK, &s, NULL);
	if (argc > 2 && !strcmp(argv[2], "subreaper")) prctl(PR_SET_CHILD_SUBREAPER, 1);
	// Somebody to wait for, who lives as long as the process does (PR_SET_PDEATHSIG
	// would end it with the first thread).
	int life[2];
	char c;
	if (pipe(life)) return 2;
	if (!fork()) {
		close(life[1]);
		while (read(life[0], &c, 1) < 0);
		_exit(0);
	}
	const char *names[] = {"read", "futex", "futex timed", "poll", "select", "epoll", "recv", "recv timed", "wait", "sigwait", "sleep", "nothing",
		"handler", "suspended", "tty", "io_uring", "stepping", "rseq"};
	size_t n = sizeof others / sizeof *others, mine = n;
	pthread_t t;
	for (size_t i = 0; i < n; i++) {
		if (!strcmp(argv[1], names[i])) mine = i;
		else if (argc > 2 && !strcmp(argv[2], "all")) pthread_create(&t, NULL, others[i], NULL);
		else waiting++;
	}
	if (mine == n) return 2;
	pthread_create(&t, NULL, answer, NULL);
	int leaderless = argc > 3 && !strcmp(argv[3], "leaderless");
	if (leaderless) pthread_create(&t, NULL, others[mine], NULL);
	printf("ready\n");
	fflush(stdout);
	if (leaderless) pthread_exit(NULL);
	others[mine](NULL);
	return 3;
}
