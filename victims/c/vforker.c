// vforker: a thread waits for its vfork child, uninterruptibly (state D), for as
// long as the program lives; main serves.
#include "victim.h"

static atomic_int waiting;

CALL static void *wait_for_child(void *unused) {
	(void)unused;
	waiting = syscall(SYS_gettid);
	pid_t parent = getpid(), pid = vfork();
	if (pid == 0) {
		// Only what vfork(2) allows: no write to the parent's memory.
		syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		if (syscall(SYS_getppid) != parent) syscall(SYS_exit, 0); // it has ended before
		for (;;) syscall(SYS_pause);
	}
	return NULL;
}

int main(void) {
	pthread_t p;
	if (pthread_create(&p, NULL, wait_for_child, NULL)) die("pthread_create");
	while (!waiting) usleep(1000);
	usleep(50000);
	say("ready tid=%d", waiting);
	serve();
}
