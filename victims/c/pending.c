// pending: SIGUSR1 (sent three times, so once) and real-time signals (all kept)
// are blocked and pending; SIGUSR2 is not blocked and has a handler. "open"
// unblocks everything; each line is answered with what was received so far.
#include "victim.h"

static atomic_int usr1, usr2, realtime, order_errors, last_value;

static void handler(int sig, siginfo_t *info, void *context) {
	(void)context;
	if (sig == SIGUSR1) usr1++;
	else if (sig == SIGUSR2) usr2++;
	else {
		realtime++;
		if (info->si_value.sival_int != last_value + 1) order_errors++;
		last_value = info->si_value.sival_int;
	}
}

int main(void) {
	struct sigaction a = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART};
	sigset_t blocked;
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	sigaddset(&blocked, SIGRTMIN + 3);
	sigaction(SIGUSR1, &a, NULL);
	sigaction(SIGUSR2, &a, NULL);
	sigaction(SIGRTMIN + 3, &a, NULL);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	for (int i = 0; i < 3; i++) kill(getpid(), SIGUSR1);
	for (int i = 1; i <= 5; i++) sigqueue(getpid(), SIGRTMIN + 3, (union sigval){.sival_int = i});
	char line[64];
	say("ready");
	for (;;) {
		hear(line, sizeof line);
		if (!strcmp(line, "open")) sigprocmask(SIG_UNBLOCK, &blocked, NULL);
		say("received usr1=%d usr2=%d realtime=%d order_errors=%d", usr1, usr2, realtime, order_errors);
	}
}
