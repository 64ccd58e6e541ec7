// threads N [spin]: N threads, each blocked at the end of a call chain that no
// other thread has. Thread i is named "t-i"; below work() its chain spells i in
// base 4, lowest digit first, with the functions north, east, south, west, five
// deep, and ends in one of seven ways to wait. With "spin" thread 0 never waits.
#include "victim.h"
#include <poll.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static int nobody[2], epoll_fd, sockets[2];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static sem_t empty;
static atomic_int ready_threads;
static volatile int spin;
static volatile uint64_t spins;

CALL static void wait_read(void) { char c; while (read(nobody[0], &c, 1) != 1) {} }
CALL static void wait_poll(void) { struct pollfd p = {nobody[0], POLLIN, 0}; while (poll(&p, 1, -1) != 1) {} }
CALL static void wait_sleep(void) { struct timespec t = {1 << 30, 0}; while (nanosleep(&t, &t)) {} }
CALL static void wait_cond(void) { pthread_mutex_lock(&mutex); for (;;) pthread_cond_wait(&never, &mutex); }
CALL static void wait_epoll(void) { struct epoll_event e; while (epoll_wait(epoll_fd, &e, 1, -1) != 1) {} }
CALL static void wait_recv(void) { char c; while (recv(sockets[0], &c, 1, 0) != 1) {} }
CALL static void wait_sem(void) { while (sem_wait(&empty)) {} }
CALL static void wait_spin(void) { for (;;) spins++; }

static void (*const waits[])(void) = {wait_read, wait_poll, wait_sleep, wait_cond, wait_epoll, wait_recv, wait_sem};

static void step(unsigned digits, int depth, unsigned id);
CALL static void north(unsigned digits, int depth, unsigned id) { step(digits, depth, id); }
CALL static void east(unsigned digits, int depth, unsigned id) { step(digits, depth, id); }
CALL static void south(unsigned digits, int depth, unsigned id) { step(digits, depth, id); }
CALL static void west(unsigned digits, int depth, unsigned id) { step(digits, depth, id); }

static void (*const directions[])(unsigned, int, unsigned) = {north, east, south, west};

CALL static void step(unsigned digits, int depth, unsigned id) {
	if (depth > 0) {
		directions[digits & 3](digits >> 2, depth - 1, id);
		return;
	}
	ready_threads++;
	if (spin && id == 0) wait_spin();
	waits[id % (sizeof waits / sizeof *waits)]();
}

CALL static void *work(void *arg) {
	unsigned id = (unsigned)(uintptr_t)arg;
	char name[16];
	snprintf(name, sizeof name, "t-%u", id);
	prctl(PR_SET_NAME, name);
	step(id, 5, id);
	return NULL;
}

int main(int argc, char **argv) {
	unsigned n = argc > 1 ? atoi(argv[1]) : 10;
	spin = argc > 2 && !strcmp(argv[2], "spin");
	if (pipe(nobody) || socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) || sem_init(&empty, 0, 0)) die("set up");
	if ((epoll_fd = epoll_create1(0)) < 0) die("epoll_create1");
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 10);
	for (unsigned i = 0; i < n; i++) {
		pthread_t t;
		if ((errno = pthread_create(&t, n > 100 ? &attr : NULL, work, (void *)(uintptr_t)i))) die("pthread_create");
	}
	while (ready_threads != (int)n) usleep(1000);
	usleep(20000); // from the last count to the last wait
	say("ready threads=%u pid=%d", n, getpid());
	serve();
}
