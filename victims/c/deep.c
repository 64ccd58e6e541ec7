// deep N: a recursion N calls deep, blocked at its bottom. Even calls are made
// by down_even, odd ones by down_odd.
#include "victim.h"

static uint64_t down_even(unsigned n, uint64_t x);

CALL static uint64_t bottom(uint64_t x) {
	say("ready calls=%lu", (unsigned long)x);
	serve();
	return x;
}

CALL static uint64_t down_odd(unsigned n, uint64_t x) { return n ? down_even(n - 1, x + 1) + n : bottom(x); }
CALL static uint64_t down_even(unsigned n, uint64_t x) { return n ? down_odd(n - 1, x + 1) + n : bottom(x); }

int main(int argc, char **argv) {
	unsigned n = argc > 1 ? atoi(argv[1]) : 10000;
	return down_even(n, 0) == 42;
}
