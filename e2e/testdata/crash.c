/* Crashes in the way that its first argument says. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile int sink;

static int fault(volatile int *p) { return *p + 1; }

static int descend(int n, volatile int *p) { return n == 0 ? fault(p) + 1 : descend(n - 1, p) + 1; }

static int overflow(int n) {
	volatile char block[1000];
	memset((void *)block, n, sizeof block);
	if (n == 1 << 30)
		return 0;
	return overflow(n + 1) + block[n % 1000];
}

static void *worker(void *how) {
	prctl(PR_SET_NAME, "crasher");
	usleep(20000);
	if (strcmp(how, "thread-overflow") == 0)
		sink = overflow(1);
	sink = descend(7, (volatile int *)16);
	return 0;
}

static void *sleeper(void *arg) {
	prctl(PR_SET_NAME, "sleeper");
	pause();
	return arg;
}

static void start(pthread_t *t, void *(*f)(void *), void *arg) {
	if (pthread_create(t, 0, f, arg) != 0)
		exit(2);
}

/* Memory that a coredump_filter of 0 leaves out, with a text to find. */
static void filter(void) {
	FILE *f = fopen("/proc/self/coredump_filter", "w");
	if (!f || fputs("0", f) < 0 || fclose(f) != 0)
		exit(2);
	char *p = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	strcpy(p + 4096 * 5, "left out by the filter");
}

/* Many processes that live 5 ms; every tenth crashes. */
static int crowd(int n) {
	int crashed = 0, exited = 0;
	for (int i = 0; i < n; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			usleep(5000);
			if (i % 10 == 3)
				sink = descend(3, (volatile int *)16);
			_exit(i % 200);
		}
		if (i % 20 == 19)
			for (int j = 0, status; j < 20; j++) {
				wait(&status);
				crashed += WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV && WCOREDUMP(status);
				exited += WIFEXITED(status);
			}
	}
	printf("%d crashed, %d exited\n", crashed, exited);
	return 0;
}

int main(int argc, char **argv) {
	const char *how = argc > 1 ? argv[1] : "";
	pthread_t t, s;
	if (strcmp(how, "crowd") == 0)
		return crowd(atoi(argv[2]));
	if (strcmp(how, "abort") == 0)
		abort();
	if (strcmp(how, "overflow") == 0)
		sink = overflow(1);
	if (strcmp(how, "kill") == 0)
		raise(SIGKILL);
	if (strcmp(how, "fork") == 0) {
		int status;
		pid_t pid = fork();
		if (pid == 0)
			sink = descend(2, (volatile int *)32);
		waitpid(pid, &status, 0);
		return 0;
	}
	if (strcmp(how, "filter") == 0)
		filter();
	if (strncmp(how, "thread", 6) == 0) {
		start(&s, sleeper, 0);
		start(&t, worker, (void *)how);
		pthread_join(t, 0);
	}
	if (strcmp(how, "leaderless") == 0) {
		start(&t, worker, (void *)how);
		pthread_exit(0);
	}
	sink = descend(3, (volatile int *)16);
	return 0;
}
