// server: answers HTTP requests from its main loop, which also obeys orders on
// standard input. `state` says in memory what it is doing.
//
//	stall MS            it accepts and answers nothing for so long, or until SIGUSR1
//	mute MS             the same, but it accepts
#include "victim.h"
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>

char state[64] = "idle";

// held are connections that get no answer.
static int held[64], nheld;

static double silent; // until when

static void wake(int sig) {
	(void)sig;
	if (silent) silent = 1;
}

static void answer(int listener) {
	static const char page[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";
	char request[4096];
	int c = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (c < 0) return;
	if (silent && nheld < 64) {
		held[nheld++] = c;
		return;
	}
	// Who connects and says nothing is not waited for long.
	struct pollfd p = {.fd = c, .events = POLLIN};
	if (poll(&p, 1, 1000) > 0 && read(c, request, sizeof request) > 0) send(c, page, sizeof page - 1, MSG_NOSIGNAL);
	close(c);
}

int main(void) {
	char line[512];
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof a;
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(s, (struct sockaddr *)&a, sizeof a) || listen(s, 64) || getsockname(s, (struct sockaddr *)&a, &size)) die("listen");
	say("ready port=%d", ntohs(a.sin_port));
	sigaction(SIGUSR1, &(struct sigaction){.sa_handler = wake}, NULL);
	struct pollfd p[2] = {{.fd = 0, .events = POLLIN}, {.fd = s, .events = POLLIN}};
	for (;;) {
		poll(p, 2, 100);
		if (silent && seconds() >= silent) {
			while (nheld > 0) close(held[--nheld]);
			silent = 0;
			say("done");
			snprintf(state, sizeof state, "idle");
		}
		if (p[1].revents) answer(s);
		if (p[0].revents) {
			int ms;
			hear(line, sizeof line);
			snprintf(state, sizeof state, "%.63s", line);
			if (sscanf(line, "mute %d", &ms) == 1) {
				silent = seconds() + ms / 1e3;
				continue;
			}
			if (sscanf(line, "stall %d", &ms) == 1) usleep(ms * 1000);
			say("done");
			snprintf(state, sizeof state, "idle");
		}
	}
}
