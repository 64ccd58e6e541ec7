// heartbeat [MIB]: one thread ticks every millisecond and remembers the largest
// gap; another computes over a buffer of MIB and checks every result. A line is
// answered with: ticks, checks, errors, and the largest gap in microseconds
// since the last answer.
#include "victim.h"

static atomic_long ticks, checks, errors, gap;
static uint64_t *numbers;
static size_t count;

CALL static void *tick(void *unused) {
	(void)unused;
	double last = seconds();
	for (;;) {
		struct timespec t = {0, 1000000};
		nanosleep(&t, NULL);
		double now = seconds();
		long us = (now - last) * 1e6;
		if (us > gap) gap = us;
		last = now;
		ticks++;
	}
	return NULL;
}

// sums uses integer, floating-point and memory state: a register that is not
// given back as it was shows up as a wrong sum.
CALL static void sums(size_t from, size_t to, uint64_t *whole, double *part) {
	uint64_t a = 0;
	double b = 0;
	for (size_t i = from; i < to; i++) {
		a = a * 31 + numbers[i];
		b = b * 0.5 + (double)(numbers[i] & 0xffff);
	}
	*whole = a;
	*part = b;
}

CALL static void *check(void *unused) {
	(void)unused;
	const size_t piece = 8192;
	size_t pieces = count / piece;
	uint64_t *whole = calloc(pieces, sizeof *whole);
	double *part = calloc(pieces, sizeof *part);
	if (!whole || !part) die("calloc");
	for (size_t i = 0; i < pieces; i++) sums(i * piece, (i + 1) * piece, whole + i, part + i);
	for (;;)
		for (size_t i = 0; i < pieces; i++) {
			uint64_t a;
			double b;
			sums(i * piece, (i + 1) * piece, &a, &b);
			if (a != whole[i] || memcmp(&b, part + i, sizeof b)) errors++;
			checks++;
		}
	return NULL;
}

int main(int argc, char **argv) {
	size_t size = (argc > 1 ? strtoul(argv[1], NULL, 0) : 64) << 20;
	uint64_t state = 99;
	numbers = map(size, PROT_READ | PROT_WRITE, 0);
	count = size / sizeof *numbers;
	for (size_t i = 0; i < count; i++) numbers[i] = random64(&state);
	pthread_t a, b;
	if (pthread_create(&a, NULL, tick, NULL) || pthread_create(&b, NULL, check, NULL)) die("pthread_create");
	while (!ticks || !checks) usleep(1000);
	char line[64];
	say("ready addr=%p size=%zu", (void *)numbers, size);
	for (;;) {
		hear(line, sizeof line);
		say("state ticks=%ld checks=%ld errors=%ld gap=%ld", (long)ticks, (long)checks, (long)errors, (long)atomic_exchange(&gap, 0));
	}
}
