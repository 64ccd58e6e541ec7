// window: shows an X11 window and answers its pings (_NET_WM_PING) from its main
// loop, which also obeys orders on standard input. `state` says in memory what
// it is doing.
//
//	block MS            the main loop stands still for so long, or until SIGUSR1
//
// Started as "window mute" it lists no _NET_WM_PING, and without DISPLAY it has
// no window. It speaks the X protocol itself, so that it builds without a
// library, to the server of DISPLAY=:N, which must let it in without a key.
// Numbers and layouts are those of "X Window System Protocol", appendix B.
#include "victim.h"
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

char state[64] = "idle";
static int x;
static uint32_t root, window;

static void wake(int sig) { (void)sig; }

static void put(const void *data, size_t size) {
	if (write(x, data, size) != (ssize_t)size) die("write to the X server");
}

static void get(void *data, size_t size) {
	for (size_t done = 0; done < size;) {
		ssize_t n = read(x, (char *)data + done, size - done);
		if (n <= 0) die("read from the X server");
		done += n;
	}
}

static void skip(size_t size) {
	char c[256];
	for (size_t n; size > 0; size -= n) get(c, n = size < sizeof c ? size : sizeof c);
}

static void greet(const char *display) {
	if (display[0] != ':') die("DISPLAY is not :N");
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	snprintf(a.sun_path, sizeof a.sun_path, "/tmp/.X11-unix/X%d", atoi(display + 1));
	x = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(x, (struct sockaddr *)&a, sizeof a)) die("connect to the X server");
	put((uint8_t[12]){'l', 0, 11}, 12);
	struct { uint8_t ok, unused; uint16_t major, minor, words; } head;
	get(&head, sizeof head);
	if (head.ok != 1) die("X server's greeting");
	uint32_t *setup = malloc(head.words * 4);
	get(setup, head.words * 4);
	window = setup[1] | (setup[2] & -setup[2]);
	// Vendor's name and pixmap formats lie before the first screen.
	uint16_t vendor = setup[4] & 0xffff;
	uint8_t formats = setup[5] >> 8;
	root = setup[8 + (vendor + 3) / 4 + formats * 2];
	free(setup);
}

static uint32_t atom(const char *name) {
	uint16_t n = strlen(name), pad = -n & 3;
	put((uint16_t[4]){16, 2 + (n + pad) / 4, n, 0}, 8);
	put(name, n);
	put("\0\0\0", pad);
	uint32_t reply[8];
	get(reply, sizeof reply);
	return reply[2];
}

static void property(uint32_t name, uint32_t type, int format, const void *data, uint32_t bytes) {
	uint32_t pad = -bytes & 3;
	put((uint32_t[6]){18 | (6 + (bytes + pad) / 4) << 16, window, name, type, format, bytes / (format / 8)}, 24);
	put(data, bytes);
	put("\0\0\0", pad);
}

int main(int argc, char **argv) {
	char line[512], host[256] = "";
	const char *display = getenv("DISPLAY");
	sigaction(SIGUSR1, &(struct sigaction){.sa_handler = wake}, NULL);
	if (!display || !*display) {
		say("ready window=none");
		serve();
	}
	greet(display);
	uint32_t protocols = atom("WM_PROTOCOLS"), ping = atom("_NET_WM_PING"), pid = getpid();
	uint32_t pid_name = atom("_NET_WM_PID");
	enum { ATOM = 4, CARDINAL = 6, STRING = 31, WM_CLIENT_MACHINE = 36, WM_NAME = 39 };
	put((uint32_t[8]){1 | 8 << 16, window, root, 0, 100 | 100 << 16, 1 << 16, 0, 0}, 32); // CreateWindow
	gethostname(host, sizeof host - 1);
	property(pid_name, CARDINAL, 32, &pid, 4);
	property(WM_CLIENT_MACHINE, STRING, 8, host, strlen(host));
	property(WM_NAME, STRING, 8, "Trouble", 7);
	if (argc < 2 || strcmp(argv[1], "mute")) property(protocols, ATOM, 32, &ping, 4);
	put((uint32_t[2]){8 | 2 << 16, window}, 8); // MapWindow
	atom("WM_STATE");                            // whose reply comes when all that is done
	say("ready window=%#x", window);
	struct pollfd p[2] = {{.fd = 0, .events = POLLIN}, {.fd = x, .events = POLLIN}};
	for (;;) {
		if (poll(p, 2, -1) < 0) continue;
		if (p[1].revents) {
			uint32_t event[8];
			get(event, sizeof event);
			int code = event[0] & 0x7f, replied = (event[0] & 0xff) == 1;
			if (replied) skip(event[1] * 4);
			if (code == 33 && event[2] == protocols && event[3] == ping) { // ClientMessage
				event[0] &= 0xff7f;
				event[1] = root;
				put((uint32_t[3]){25 | 11 << 16, root, 1 << 19 | 1 << 20}, 12); // SendEvent
				put(event, sizeof event);
			}
		}
		if (p[0].revents) {
			hear(line, sizeof line);
			snprintf(state, sizeof state, "%.63s", line);
			int ms;
			if (sscanf(line, "block %d", &ms) == 1) usleep(ms * 1000);
			say("done");
			snprintf(state, sizeof state, "idle");
		}
	}
}
