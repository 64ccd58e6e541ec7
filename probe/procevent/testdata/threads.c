// A process whose first thread is not the one that matters.
//
//	threads leaderless STATUS  the first thread ends, another reads a line and
//	                           ends the process with STATUS
//	threads exec PROGRAM ARG…  another thread reads a line, executes PROGRAM
//	threads rename NAME        the first thread reads a line, takes NAME, reads another
//
// It writes "ready" when the first thread is about to end.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static char **args;

static void *other(void *arg)
{
	(void)arg;
	getchar();
	if (strcmp(args[1], "leaderless") == 0)
		exit(atoi(args[2]));
	execv(args[2], args + 2);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	if (argc < 3)
		return 1;
	args = argv;
	puts("ready");
	fflush(stdout);
	if (strcmp(argv[1], "rename") == 0) {
		getchar();
		prctl(PR_SET_NAME, argv[2]);
		getchar();
		return 0;
	}
	if (pthread_create(&thread, NULL, other, NULL) != 0)
		return 1;
	if (strcmp(argv[1], "leaderless") == 0)
		pthread_exit(NULL);
	pthread_join(thread, NULL);
	return 0;
}
