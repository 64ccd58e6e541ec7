// churn [RATE]: RATE threads are born per second and die after some
// milliseconds; main waits. A line is answered with the count of births so far.
#include "victim.h"

static atomic_long born, died;
static long rate;

CALL static void *brief(void *arg) {
	struct timespec t = {0, 1000000 * (1 + (uintptr_t)arg % 20)};
	nanosleep(&t, NULL);
	died++;
	return NULL;
}

CALL static void *breed(void *unused) {
	(void)unused;
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 64 << 10);
	double start = seconds(), behind = 0;
	for (;;) {
		// After a stop the births that were missed are not made up for: that
		// would be a burst of another kind.
		double late = seconds() - start - behind - born / (double)rate;
		if (late > 0.1) behind += late;
		if (late < 0) {
			usleep(1000);
			continue;
		}
		pthread_t p;
		if (!pthread_create(&p, &attr, brief, (void *)(uintptr_t)born)) born++;
		else usleep(1000);
	}
	return NULL;
}

int main(int argc, char **argv) {
	rate = argc > 1 ? atol(argv[1]) : 500;
	pthread_t p;
	if (pthread_create(&p, NULL, breed, NULL)) die("pthread_create");
	while (born < 100) usleep(1000);
	char line[64];
	say("ready rate=%ld", rate);
	for (;;) {
		hear(line, sizeof line);
		say("churn born=%ld died=%ld", (long)born, (long)died);
	}
}
