// stopped: stops itself with SIGSTOP once ready; after SIGCONT it answers lines.
#include "victim.h"

static atomic_int continued;

static void on_continue(int sig) {
	(void)sig;
	continued++;
}

int main(void) {
	struct sigaction a = {.sa_handler = on_continue, .sa_flags = SA_RESTART};
	sigaction(SIGCONT, &a, NULL);
	char line[64];
	say("ready");
	raise(SIGSTOP);
	for (;;) {
		hear(line, sizeof line);
		say("stopped continued=%d", continued);
	}
}
