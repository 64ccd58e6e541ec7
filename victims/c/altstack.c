// altstack: blocked inside a signal handler that runs on an alternate stack,
// called while the main stack was at the end of a known chain.
#include "victim.h"

static atomic_int inside;

CALL static void block_in_handler(void) {
	char local;
	inside = 1;
	say("ready handler_sp=%p", (void *)&local);
	serve();
}

CALL static void handler(int sig, siginfo_t *info, void *context) {
	(void)info, (void)context;
	if (sig == SIGUSR1) block_in_handler();
}

// provoke lets the kernel deliver the signal at a plain instruction of its own.
CALL static void provoke(void) {
	kill(getpid(), SIGUSR1);
	while (!inside) {}
}

CALL static void outer(void) { provoke(); }

int main(void) {
	stack_t s = {.ss_sp = map(256 << 10, PROT_READ | PROT_WRITE, 0), .ss_size = 256 << 10};
	struct sigaction a = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	if (sigaltstack(&s, NULL) || sigaction(SIGUSR1, &a, NULL)) die("sigaltstack");
	outer();
}
