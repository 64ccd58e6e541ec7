// crowd: many processes of one name. The parent has another name than they.
//
//	crowd sleepers N PROGRAM    N processes PROGRAM that sleep; prints their
//	                            PIDs; all end at the end of standard input
//	crowd briefs N PROGRAM      N of them one after the other that live 5 ms
//	                            each; a line for each: its PID, when it called
//	                            execve, when main began and when it ended, in
//	                            nanoseconds since 1970
//
// PROGRAM is a link to this one.
#define _GNU_SOURCE 1
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long nanos(void) {
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void pass(long ns) {
	struct timespec t = {ns / 1000000000, ns % 1000000000};
	nanosleep(&t, NULL);
}

// start returns when the process is PROGRAM: vfork(2) waits for the execve.
static pid_t start(const char *program, const char *how) {
	pid_t pid = vfork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		char at[32];
		snprintf(at, sizeof at, "%ld", nanos());
		execl(program, program, how, at, NULL);
		_exit(127);
	}
	if (pid < 0) {
		fprintf(stderr, "crowd: vfork: %s\n", strerror(errno));
		exit(1);
	}
	return pid;
}

int main(int argc, char **argv) {
	long begun = nanos();
	if (argc == 3 && strcmp(argv[1], "sleep") == 0) {
		while (getchar() != EOF) continue;
		return 0;
	}
	if (argc == 3 && strcmp(argv[1], "brief") == 0) {
		pass(5000000);
		printf("%d %s %ld %ld\n", getpid(), argv[2], begun, nanos());
		return 0;
	}
	if (argc != 4) return 2;
	int n = atoi(argv[2]);
	if (strcmp(argv[1], "sleepers") == 0) {
		for (int i = 0; i < n; i++) printf("%d\n", start(argv[3], "sleep"));
		fflush(stdout);
		while (getchar() != EOF) continue;
		while (wait(NULL) > 0) continue;
		return 0;
	}
	for (int i = 0; i < n; i++) {
		waitpid(start(argv[3], "brief"), NULL, 0);
		pass(5000000);
	}
	return 0;
}
