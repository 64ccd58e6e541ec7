// A process to sample. It obeys commands from its standard input and answers
// each with a line; it ends with its input.
//
//   mem N       has N pages of anonymous memory more
//   shared N    has N pages of shared memory more
//   threads N   starts N threads that wait
//   spin N      starts N threads that spin until it ends
//   files N     opens N files
//   sleepers N  forks N children that wait, and answers with their PIDs
//   leave       ends its first thread; another one goes on
//   zombie      forks a child that ends at once, and answers with its PID
//   reap        collects a child
//   reborn PID  forks a child with this PID
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static sem_t started;

static void *wait_on(void *p) { sem_post(&started); pause(); return p; }
static void *spin(void *p) { sem_post(&started); for (volatile long i = 0;; i++) ; return p; }

static void check(int ok, const char *what) {
	if (!ok) {
		printf("error: ");
		fflush(stdout);
		perror(what);
		exit(1);
	}
}

static void start(void *(*f)(void *), int n) {
	pthread_attr_t a;
	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, 64 << 10);
	while (n-- > 0) {
		pthread_t t;
		check(pthread_create(&t, &a, f, 0) == 0, "pthread_create");
		sem_wait(&started);
	}
}

static void touch(int n, int kind) {
	char *p = mmap(0, (size_t)n * 4096, PROT_READ | PROT_WRITE, kind | MAP_ANONYMOUS, -1, 0);
	check(p != MAP_FAILED, "mmap");
	madvise(p, (size_t)n * 4096, MADV_NOHUGEPAGE);
	for (int i = 0; i < n; i++)
		p[(size_t)i * 4096] = 1;
}

static pid_t self; // whose children they are

static void child(void) {
	// One that is left over must not keep the test's output open.
	int null = open("/dev/null", O_RDWR);
	dup2(null, 0), dup2(null, 1), dup2(null, 2);
	if (null > 2)
		close(null);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (getppid() == self)
		pause();
	_exit(0); // the parent died before the line above
}

static void *obey(void *unused) {
	char line[64], word[16];
	(void)unused;
	for (;;) {
		// Unbuffered: a child must not own a part of what is to be read.
		size_t len = 0;
		while (len < sizeof line - 1 && read(0, line + len, 1) == 1 && line[len] != '\n')
			len++;
		if (len == 0)
			exit(0);
		line[len] = 0;
		int n = 0;
		if (sscanf(line, "%15s %d", word, &n) < 1)
			exit(1);
		if (!strcmp(word, "mem")) {
			touch(n, MAP_PRIVATE);
		} else if (!strcmp(word, "shared")) {
			touch(n, MAP_SHARED);
		} else if (!strcmp(word, "threads")) {
			start(wait_on, n);
		} else if (!strcmp(word, "spin")) {
			start(spin, n);
		} else if (!strcmp(word, "files")) {
			while (n-- > 0)
				check(open("/dev/null", O_RDONLY) >= 0, "open");
		} else if (!strcmp(word, "sleepers") || !strcmp(word, "zombie")) {
			int zombie = word[0] == 'z';
			for (int i = zombie ? 0 : -n + 1; i <= 0; i++) {
				pid_t pid = fork();
				check(pid >= 0, "fork");
				if (pid == 0) {
					if (zombie)
						_exit(0);
					child();
				}
				printf("%d ", pid);
			}
		} else if (!strcmp(word, "reap")) {
			check(wait(0) > 0, "wait");
		} else if (!strcmp(word, "reborn")) {
			pid_t pids[] = {n};
			struct clone_args a = {.exit_signal = SIGCHLD, .set_tid = (unsigned long)pids, .set_tid_size = 1};
			long pid = syscall(SYS_clone3, &a, sizeof a);
			check(pid >= 0, "clone3");
			if (pid == 0)
				child();
		} else if (strcmp(word, "leave")) {
			exit(1);
		}
		printf("ok\n");
		fflush(stdout);
		if (!strcmp(word, "leave")) {
			pthread_t t;
			check(pthread_create(&t, 0, obey, 0) == 0, "pthread_create");
			syscall(SYS_exit, 0);
		}
	}
}

int main(void) {
	self = getpid();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	printf("ready\n");
	fflush(stdout);
	obey(0);
}
