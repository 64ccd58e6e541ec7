/*
 * pages FOLDER KIND...: owns pages of many uses, with contents that the test
 * knows, tells where they are in physical memory, and waits for the end of its
 * standard input. FOLDER is on a file system on a disk.
 *
 * Word i of the page of seed s is s * 0x9e3779b97f4a7c15 + i: no other page
 * looks like that.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { PAGE = 4096, HUGE = 2 << 20, FREE = 96 << 20, GUEST = 8 << 20 };

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void fill(void *p, uint64_t seed, size_t size)
{
	uint64_t *w = p;
	for (size_t i = 0; i < size / 8; i++)
		w[i] = seed * 0x9e3779b97f4a7c15u + i % (PAGE / 8);
}

/* The physical address of a page; 0 if it is not in memory (proc(5), pagemap). */
static uint64_t physical(const void *p)
{
	uint64_t entry;
	int fd = open("/proc/self/pagemap", O_RDONLY);
	if (fd < 0 || pread(fd, &entry, 8, (uintptr_t)p / PAGE * 8) != 8)
		die("pagemap");
	close(fd);
	return entry >> 63 ? (entry & ((1ull << 55) - 1)) * PAGE : 0;
}

static void tell(const char *name, uint64_t seed, const void *p)
{
	uint64_t addr = physical(p);
	if (!addr) {
		fprintf(stderr, "%s is not in memory\n", name);
		exit(1);
	}
	printf("page %s %llu %#llx\n", name, (unsigned long long)seed, (unsigned long long)addr);
}

static void *map(size_t size, int flags, int fd)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);
	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

static int dirty = -1; /* the file whose page is not on disk */

/* A page of a file: on disk or not yet, and left mapped or not. */
static void file(const char *folder, const char *name, uint64_t seed, int sync, int keep)
{
	static char buf[PAGE];
	char path[4096];
	snprintf(path, sizeof path, "%s/%s", folder, name);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	fill(buf, seed, PAGE);
	if (fd < 0 || write(fd, buf, PAGE) != PAGE || (sync && fsync(fd)))
		die(path);
	memset(buf, 0, PAGE);
	volatile char *p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED || p[0] != (char)(seed * 0x9e3779b97f4a7c15u))
		die("mmap file");
	tell(name, seed, (void *)p);
	if (!keep && munmap((void *)p, PAGE))
		die("munmap");
	if (!sync)
		dirty = fd;
}

/* Waits for standard input. Whatever has a dirty page written back, such as
 * memory that gets short, it is dirty again soon. */
static int wait_for_end(void)
{
	struct pollfd input = {.fd = 0, .events = POLLIN};
	uint64_t word;
	while (poll(&input, 1, 100) == 0)
		if (dirty >= 0 && (pread(dirty, &word, sizeof word, 0) != sizeof word || pwrite(dirty, &word, sizeof word, 0) != sizeof word))
			die("dirty");
	return 0;
}

/* Pages that were in use and are free. Each has contents of its own: a copy of
 * one of them may come into the memory of another. */
static void freed(uint64_t seed)
{
	static uint64_t addr[FREE / PAGE];
	char *p = map(FREE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	madvise(p, FREE, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < FREE / PAGE; i++) {
		fill(p + i * PAGE, seed + (i << 24), PAGE);
		addr[i] = physical(p + i * PAGE);
	}
	munmap(p, FREE);
	for (size_t i = 0; i < FREE / PAGE; i += 64)
		printf("page free %llu %#llx\n", (unsigned long long)(seed + (i << 24)), (unsigned long long)addr[i]);
}

/* An object of the slab allocator: the value of an attribute of a file in memory. */
static void slab(uint64_t seed)
{
	static char value[1024];
	int fd = memfd_create("slab", 0);
	fill(value, seed, sizeof value);
	if (fd < 0 || fsetxattr(fd, "trusted.pages", value, sizeof value, 0))
		die("fsetxattr");
	memset(value, 0, sizeof value);
}

/* The memory of a virtual machine, which need not run. */
static void guest(uint64_t seed)
{
	int kvm = open("/dev/kvm", O_RDWR), vm;
	char *p = map(GUEST, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	struct kvm_userspace_memory_region slot = {.memory_size = GUEST, .userspace_addr = (uintptr_t)p};
	madvise(p, GUEST, MADV_NOHUGEPAGE);
	fill(p, seed, GUEST);
	if (kvm < 0 || (vm = ioctl(kvm, KVM_CREATE_VM, 0)) < 0 || ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot))
		die("kvm");
	for (size_t i = 0; i < GUEST / PAGE; i += 64)
		tell("guest", seed, p + i * PAGE);
}

/* The last page of some memory, which stays mapped or not. */
static void last(const char *name, uint64_t seed, size_t size, int flags, int fd, int keep)
{
	char *p = map(size, flags, fd);
	fill(p, seed, size);
	tell(name, seed, p + size - PAGE);
	if (!keep && munmap(p, size))
		die("munmap");
}

/* A file of hugetlbfs that no process has mapped any more. */
static void hugefile(const char *name, uint64_t seed)
{
	int fd = memfd_create(name, MFD_HUGETLB);
	if (fd < 0 || ftruncate(fd, HUGE))
		die("hugetlbfs");
	last(name, seed, HUGE, MAP_SHARED, fd, 0);
}

int main(int argc, char **argv)
{
	for (int i = 2; i < argc; i++) {
		uint64_t seed = 0x5eed0 + i;
		char *kind = argv[i];
		if (!strcmp(kind, "anon")) {
			last(kind, seed, PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 1);
		} else if (!strcmp(kind, "shmem")) {
			last(kind, seed, PAGE, MAP_SHARED | MAP_ANONYMOUS, -1, 1);
		} else if (!strcmp(kind, "hugetlb")) {
			last(kind, seed, HUGE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 1);
		} else if (!strcmp(kind, "hugefree")) {
			last(kind, seed, HUGE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
		} else if (!strcmp(kind, "hugetlbfs")) {
			hugefile(kind, seed);
		} else if (!strcmp(kind, "mapped")) {
			file(argv[1], kind, seed, 1, 1);
		} else if (!strcmp(kind, "cache")) {
			file(argv[1], kind, seed, 1, 0);
		} else if (!strcmp(kind, "dirty")) {
			file(argv[1], kind, seed, 0, 0);
		} else if (!strcmp(kind, "free")) {
			freed(seed);
		} else if (!strcmp(kind, "slab")) {
			slab(seed);
			printf("page slab %llu 0\n", (unsigned long long)seed);
		} else if (!strcmp(kind, "guest")) {
			guest(seed);
		} else {
			fprintf(stderr, "%s is no use of a page\n", kind);
			return 1;
		}
	}
	puts("ready");
	fflush(stdout);
	return wait_for_end();
}
