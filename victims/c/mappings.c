// mappings N: N one-page mappings side by side that cannot be merged, for each
// two neighbours differ in protection. Page i starts with the word i+1.
#include "victim.h"

int main(int argc, char **argv) {
	size_t n = argc > 1 ? strtoul(argv[1], NULL, 0) : 20000;
	char *base = map(n * PAGE, PROT_READ | PROT_WRITE, MAP_NORESERVE);
	for (size_t i = 0; i < n; i++) *(uint32_t *)(base + i * PAGE) = i + 1;
	for (size_t i = 0; i < n; i += 2)
		if (mprotect(base + i * PAGE, PAGE, PROT_READ)) {
			say("limit errno=%d at=%zu", errno, i);
			return 2;
		}
	say("ready addr=%p count=%zu page=%zu", base, n, PAGE);
	serve();
}
