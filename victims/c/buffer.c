// buffer [MIB [SEED]]: a buffer of pseudo-random bytes and its SHA-256. The
// question "sha" is answered with the digest as it is then.
#include "victim.h"
#include "sha256.h"

int main(int argc, char **argv) {
	size_t size = (argc > 1 ? strtoul(argv[1], NULL, 0) : 64) << 20;
	uint64_t state = argc > 2 ? strtoull(argv[2], NULL, 0) : 88172645463325252ULL;
	uint64_t *words = map(size, PROT_READ | PROT_WRITE, 0);
	for (size_t i = 0; i < size / 8; i++) words[i] = random64(&state);
	char hex[65], line[64];
	sha256_hex(words, size, hex);
	say("ready addr=%p size=%zu sha256=%s", (void *)words, size, hex);
	for (;;) {
		hear(line, sizeof line);
		sha256_hex(words, size, hex);
		say("sha sha256=%s", hex);
	}
}
