// dirty MIB [thp]: MIB of private memory in which every page is different and
// none is compressible to nothing. "check" verifies a word of each page.
#include "victim.h"

int main(int argc, char **argv) {
	size_t size = (argc > 1 ? strtoul(argv[1], NULL, 0) : 1024) << 20;
	int thp = argc > 2 && !strcmp(argv[2], "thp");
	char *base = map(size + (2 << 20), PROT_READ | PROT_WRITE, MAP_NORESERVE);
	if (thp) base = (char *)(((uintptr_t)base + (2 << 20) - 1) & ~((uintptr_t)(2 << 20) - 1));
	madvise(base, size, thp ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	uint64_t state = 7;
	for (size_t at = 0; at < size; at += PAGE)
		for (size_t i = 0; i < PAGE; i += 64) *(uint64_t *)(base + at + i) = random64(&state);
	char line[64];
	say("ready addr=%p size=%zu", base, size);
	for (;;) {
		size_t wrong = 0;
		hear(line, sizeof line);
		state = 7;
		for (size_t at = 0; at < size; at += PAGE)
			for (size_t i = 0; i < PAGE; i += 64) wrong += *(uint64_t *)(base + at + i) != random64(&state);
		say("check wrong=%zu", wrong);
	}
}
