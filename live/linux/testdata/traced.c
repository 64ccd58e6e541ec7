// A program that does what a tracer has to report. "traced spawn MODE ARG…"
// starts "traced MODE ARG…", waits for it and says its wait status. The started
// program says its PID, waits for a line on standard input, and then does what
// its mode says.
#define _GNU_SOURCE 1
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char **arguments;
static int number; // the mode's argument

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...) {
	char line[256];
	va_list ap;
	va_start(ap, format);
	int n = vsnprintf(line, sizeof line - 1, format, ap);
	va_end(ap);
	line[n++] = '\n';
	if (write(1, line, n) != n) _exit(3);
}

static void hear(void) {
	char c = 0;
	while (c != '\n') {
		ssize_t n = read(0, &c, 1);
		if (n < 0 && errno == EINTR) continue;
		if (n <= 0) _exit(4);
	}
}

static int tid(void) { return syscall(SYS_gettid); }

// mark is what a test looks for in the memory.
static volatile char mark[32] = "mark: early";

__attribute__((noinline)) static void fault(uintptr_t address) {
	strcpy((char *)mark, "mark: at the fault");
	say("tid %d", tid());
	*(volatile int *)address = 1;
}

static void *in_thread(void *f) {
	((void (*)(void))f)();
	return NULL;
}

static void thread(void (*f)(void)) {
	pthread_t t;
	if (pthread_create(&t, NULL, in_thread, f)) _exit(3);
	pthread_join(t, NULL);
}

static void idle(void) { for (;;) pause(); }

static void idle_threads(int n) {
	for (int i = 0; i < n; i++) {
		pthread_t t;
		pthread_attr_t a;
		pthread_attr_init(&a);
		pthread_attr_setstacksize(&a, 64 << 10);
		if (pthread_create(&t, &a, in_thread, idle)) _exit(3);
	}
}

static void crash(void) { fault(0x1234); }

#pragma GCC diagnostic ignored "-Winfinite-recursion"
__attribute__((noinline)) static int deep(volatile char *p) {
	volatile char big[4096];
	big[0] = *p;
	return deep(big) + big[1];
}
static void overflow(void) {
	char c = 0;
	say("tid %d", tid());
	deep(&c);
}

static void again(int sig) { (void)sig; *(volatile int *)0x2345 = 1; }

static sigjmp_buf back;
static volatile int handled;
static void jump(int sig) {
	(void)sig;
	handled++;
	siglongjmp(back, 1);
}
static void handle_many(int n) {
	signal(SIGSEGV, jump);
	for (volatile int i = 0; i < n; i++)
		if (!sigsetjmp(back, 1)) *(volatile int *)0x3456 = i;
	say("handled %d", (int)handled);
}

static void filter(int action) {
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {sizeof code / sizeof code[0], code};
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog)) _exit(3);
}
static void forbidden(void) {
	say("tid %d", tid());
	syscall(SYS_getppid);
}

static void exec_self(const char *mode, const char *arg) {
	char *argv[] = {"traced", (char *)mode, (char *)arg, NULL};
	execv("/proc/self/exe", argv);
	_exit(3);
}
static void exec_exit(void) { say("tid %d", tid()); exec_self("exit", "7"); }

static void exit_group_here(void) {
	say("tid %d", tid());
	syscall(SYS_exit_group, number);
}

static void outlive(void) {
	usleep(20000);
	syscall(SYS_exit, number);
}

static volatile int counted;
static void count(int sig) { (void)sig; counted++; }

static void spawn(void) {
	pid_t pid = fork();
	if (pid == 0) {
		// A group of its own, whose parent is in the same session: in an
		// orphaned group SIGTSTP stops nobody (setpgid(2)).
		setpgid(0, 0);
		execv("/proc/self/exe", arguments); // its name is "spawn"
		_exit(3);
	}
	for (;;) {
		int status;
		if (waitpid(pid, &status, WUNTRACED | WCONTINUED) != pid) _exit(3);
		if (WIFSTOPPED(status)) say("stopped %d", WSTOPSIG(status));
		else if (WIFCONTINUED(status)) say("continued");
		else { say("status %d", status); _exit(0); }
	}
}

static void child_status(pid_t pid) {
	int status;
	say("child %d", pid);
	if (waitpid(pid, &status, 0) != pid) _exit(3);
	say("childstatus %d", status);
}

static int as_init(void *arg) {
	hear();
	((void (*)(void))arg)();
	return 5;
}

static void act(const char *mode) {
#define IF(name) if (!strcmp(mode, name))
	IF("crash") crash();
	IF("worker") { idle_threads(number); thread(crash); }
	IF("overflow") overflow();
	IF("overflow-thread") thread(overflow);
	IF("abort") { say("tid %d", tid()); abort(); }
	IF("double") { signal(SIGSEGV, again); crash(); }
	IF("blocked") {
		sigset_t s;
		sigfillset(&s);
		sigprocmask(SIG_SETMASK, &s, NULL);
		crash();
	}
	IF("ignored") { signal(SIGSEGV, SIG_IGN); crash(); }
	IF("noncanonical") { say("tid %d", tid()); *(volatile int *)(uintptr_t)0xdead000000000000ULL = 1; }
	IF("breakpoint") { say("tid %d", tid()); __asm__ volatile("int3"); }
	IF("divide") { volatile int zero = 0; say("tid %d", tid()); say("divided %d", atoi("7") / zero); }
	IF("fork-crash") {
		pid_t pid = fork();
		if (pid == 0) { crash(); _exit(0); }
		child_status(pid);
	}
	IF("fork-exec") {
		pid_t pid = fork();
		if (pid == 0) exec_self("exit", "9");
		child_status(pid);
	}
	IF("exec-crash") exec_self("crash", "0");
	IF("exec-thread") { idle_threads(20); thread(exec_exit); }
	IF("handled") handle_many(number);
	IF("handled-crash") { handle_many(number); signal(SIGSEGV, SIG_DFL); crash(); }
	IF("exit") { strcpy((char *)mark, "mark: exiting"); exit(number); }
	IF("exit-group") { idle_threads(30); thread(exit_group_here); }
	IF("term") { signal(SIGTERM, SIG_DFL); raise(SIGTERM); }
	IF("pause") { say("paused"); idle(); }
	IF("threads-pause") { idle_threads(number); say("paused"); idle(); }
	IF("leader-exit") {
		pthread_t t;
		pthread_create(&t, NULL, in_thread, outlive);
		syscall(SYS_exit, 3);
	}
	IF("seccomp-process") { idle_threads(5); filter(SECCOMP_RET_KILL_PROCESS); thread(forbidden); }
	IF("seccomp-thread") {
		// Its joiner would wait for ever: glibc does not see such an end.
		pthread_t t;
		filter(SECCOMP_RET_KILL_THREAD);
		pthread_create(&t, NULL, in_thread, forbidden);
		usleep(200000);
		_exit(6);
	}
	IF("churn") {
		double n = 0;
		for (time_t end = time(NULL) + number; time(NULL) < end; n++) {
			pthread_t t[4];
			for (int i = 0; i < 4; i++)
				if (pthread_create(&t[i], NULL, in_thread, tzset)) _exit(3);
			for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
		}
		say("rounds %.0f", n);
	}
	IF("count") { // counts queued signals until they are as many as said
		struct sigaction sa = {.sa_handler = count, .sa_flags = SA_RESTART};
		sigaction(SIGRTMIN + 3, &sa, NULL);
		say("counting");
		while (counted < number) usleep(1000);
		say("counted %d", (int)counted);
	}
	IF("storm") { // sends itself signals and counts them
		struct sigaction sa = {.sa_handler = count, .sa_flags = SA_RESTART};
		sigaction(SIGRTMIN + 3, &sa, NULL);
		say("storming");
		int sent = 0;
		union sigval v = {0};
		time_t end = time(NULL) + number;
		while (time(NULL) < end) {
			if (sigqueue(getpid(), SIGRTMIN + 3, v) == 0) sent++;
		}
		say("stormed %d %d", sent, (int)counted);
	}
	IF("self-traced") {
		if (ptrace(PTRACE_TRACEME, 0, 0, 0)) _exit(3);
		say("paused");
		idle();
	}
	IF("sleep") { // a call that the kernel restarts itself
		struct timespec d = {0, 300 * 1000 * 1000};
		say("sleeping");
		int r = nanosleep(&d, NULL);
		say("slept %d", r);
	}
	IF("clone-process") { // a process made by a clone that signals nothing
		static char stack[1 << 16];
		pid_t pid = clone(as_init, stack + sizeof stack, 0, crash);
		say("child %d", pid);
		idle();
	}
	_exit(0);
}

static void init_crash(void) { crash(); }
static void init_survives(void) {
	raise(SIGTERM); // ignored by such a process
	say("survived");
}

int main(int argc, char **argv) {
	struct rlimit none = {0, 0};
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setvbuf(stdout, NULL, _IONBF, 0);
	arguments = argv + 1;
	if (argc < 2) return 2;
	if (argc > 2) number = atoi(argv[2]);
	if (!strcmp(argv[1], "spawn")) spawn();
	if (!strncmp(argv[1], "init-", 5)) { // the first process of a PID namespace
		static char stack[1 << 20];
		pid_t pid = clone(as_init, stack + sizeof stack, CLONE_NEWPID | SIGCHLD,
			!strcmp(argv[1], "init-crash") ? init_crash : init_survives);
		if (pid < 0) { say("pid 0"); return 3; }
		say("pid %d", pid);
		int status;
		if (waitpid(pid, &status, 0) != pid) _exit(3);
		say("status %d", status);
		return 0;
	}
	if (!getenv("TRACED_AGAIN")) {
		setenv("TRACED_AGAIN", "1", 1);
		say("pid %d", getpid());
		hear();
	}
	act(argv[1]);
}
