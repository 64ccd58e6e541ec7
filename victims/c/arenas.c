// arenas N [damage]: N threads that take blocks of many sizes and give some back,
// so that every list of the C library's allocator has some. It then says what
// malloc_info(3) and mallinfo2(3) say of it:
//
//	ready heaps=N mapped=COUNT mappedBytes=B system=B free=B blocks=COUNT fastBytes=B heap0=SYSTEM,FAST,BYTES,REST,BYTES …
//
// With "damage" it has written behind the end of a block into a free one.
#include "victim.h"
#include <malloc.h>

static atomic_int done;
static char report[256 << 10];

// churn takes and gives back blocks: small, large, and some too large for an arena.
CALL static void churn(unsigned id) {
	uint64_t state = 88172645463325252ULL + id;
	enum { BLOCKS = 200 };
	void **all = calloc(BLOCKS, sizeof *all);
	for (int i = 0; i < BLOCKS; i++) {
		uint64_t r = random64(&state);
		size_t size = i % 50 == 0 ? 4000 + r % 60000 : 16 + r % 1500;
		if (!(all[i] = malloc(size))) die("malloc");
	}
	for (int i = 0; i < BLOCKS; i++) {
		if (random64(&state) % 3 == 0) {
			free(all[i]);
			all[i] = NULL;
		}
	}
	// Blocks of one small size fill the thread's cache, and then the fast bin.
	void *fast[20];
	for (int i = 0; i < 20; i++) fast[i] = malloc(40);
	for (int i = 0; i < 20; i++) free(fast[i]);
	if (id < 3 && !malloc((1 << 20) + id * 4096)) die("malloc");
}

CALL static void *work(void *arg) {
	churn((unsigned)(uintptr_t)arg);
	done++;
	for (;;) pause();
	return NULL;
}

// value is the number that stands under a name in quotes behind a place.
static unsigned long value(const char *at, const char *mark, const char *name) {
	char key[32];
	snprintf(key, sizeof key, "%s=\"", name);
	if (!(at = strstr(at, mark)) || !(at = strstr(at, key))) die(mark);
	return strtoul(at + strlen(key), NULL, 10);
}

int main(int argc, char **argv) {
	unsigned n = argc > 1 ? atoi(argv[1]) : 4;
	for (unsigned i = 0; i < n; i++) {
		pthread_t t;
		if ((errno = pthread_create(&t, NULL, work, (void *)(uintptr_t)i))) die("pthread_create");
	}
	churn(n);
	while (done != (int)n) usleep(1000);
	usleep(20000);
	if (argc > 2) {
		// Neither threads' caches nor fast bins take blocks of this size. Three that
		// lie side by side are soon found.
		enum { SIZE = 3000 };
		char *first, *second = malloc(SIZE), *third = malloc(SIZE);
		do {
			first = second, second = third, third = malloc(SIZE);
		} while (second - first != third - second || second - first > SIZE + 16);
		uintptr_t damaged = (uintptr_t)second - 2 * sizeof(size_t);
		free(second);
		size_t size = malloc_usable_size(first);
		memset(first + size, 'A', 3 * sizeof(size_t));
		say("ready damaged=%#lx before=%p size=%zu", (unsigned long)damaged, (void *)first, size);
		serve();
	}
	int fd = memfd_create("report", 0);
	FILE *f = fdopen(fd, "w");
	static char buffer[4096];
	setvbuf(f, buffer, _IOFBF, sizeof buffer);
	// Nothing is taken or given back from here on.
	if (malloc_info(0, f) || fflush(f) || pread(fd, report, sizeof report - 1, 0) <= 0) die("malloc_info");
	struct mallinfo2 all = mallinfo2();
	char line[1000];
	unsigned heaps = 0;
	size_t len = 0;
	const char *at = report;
	for (const char *end; (at = strstr(at, "<heap nr=")); at = end) {
		if (!(end = strstr(at, "</heap>"))) die("heap");
		len += snprintf(line + len, sizeof line - len, " heap%u=%lu,%lu,%lu,%lu,%lu", heaps++, value(at, "<system type=\"current\"", "size"),
			value(at, "<total type=\"fast\"", "count"), value(at, "<total type=\"fast\"", "size"),
			value(at, "<total type=\"rest\"", "count"), value(at, "<total type=\"rest\"", "size"));
	}
	say("ready heaps=%u mapped=%zu mappedBytes=%zu system=%zu free=%zu blocks=%zu fastBytes=%zu%s", heaps, all.hblks, all.hblkhd,
		all.arena, all.fordblks, all.ordblks + all.smblks, all.fsmblks, line);
	serve();
}
