// sparse MIB PERCENT: a reservation of MIB of which PERCENT is touched, in runs
// of 16 pages spread evenly. Each touched page starts with its index plus one.
#include "victim.h"

int main(int argc, char **argv) {
	if (argc < 3) return 2;
	size_t pages = (strtoul(argv[1], NULL, 0) << 20) / PAGE, touched = 0;
	double share = atof(argv[2]) / 100, due = 0;
	char *base = map(pages * PAGE, PROT_READ | PROT_WRITE, MAP_NORESERVE);
	madvise(base, pages * PAGE, MADV_NOHUGEPAGE);
	for (size_t run = 0; run + 16 <= pages; run += 16) {
		if ((due += share) < 1 && share < 1) continue;
		due -= 1;
		for (size_t i = run; i < run + 16; i++, touched++) *(uint64_t *)(base + i * PAGE) = i + 1;
	}
	say("ready addr=%p size=%zu touched=%zu", base, pages * PAGE, touched * PAGE);
	serve();
}
