// shm FOLDER: shared memory of every sort, 16 pages each. Page i holds the
// sort's eight-byte marker in its first word. Pages 8 to 15 are written through
// a descriptor only and never touched through the mapping (SysV memory, which
// has none: through a second mapping). The sorts: memfd, posix (shm_open,
// unlinked), sysv, file (MAP_SHARED, in FOLDER), gone (as file, then deleted),
// private (MAP_PRIVATE of a file in FOLDER, page 0 changed in memory only),
// anon (MAP_SHARED|MAP_ANONYMOUS, pages 8 to 15 never touched at all).
#include "victim.h"
#include <sys/shm.h>
#include <sys/stat.h>

enum { pages = 16, half = pages / 2 };

static void *shared(int fd, int flags) {
	char *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, flags, fd, 0);
	if (p == MAP_FAILED) die("mmap");
	return p;
}

static void touch(char *p, const char *marker, size_t from, size_t to) {
	for (size_t i = from; i < to; i++) memcpy(p + i * PAGE, marker, 8);
}

static char *through(int fd, const char *marker) {
	if (fd < 0 || ftruncate(fd, pages * PAGE)) die("open");
	char *p = shared(fd, MAP_SHARED);
	touch(p, marker, 0, half);
	for (size_t i = half; i < pages; i++)
		if (pwrite(fd, marker, 8, i * PAGE) != 8) die("pwrite");
	return p;
}

static int file(const char *folder, const char *name, int gone) {
	char path[512];
	snprintf(path, sizeof path, "%s/%s", folder, name);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (gone) unlink(path);
	return fd;
}

static char *sysv(const char *marker) {
	int id = shmget(IPC_PRIVATE, pages * PAGE, IPC_CREAT | 0600);
	char *p = shmat(id, NULL, 0), *second = shmat(id, NULL, 0);
	if (id < 0 || p == (void *)-1 || second == (void *)-1) die("shmget");
	shmctl(id, IPC_RMID, NULL);
	touch(p, marker, 0, half);
	touch(second, marker, half, pages);
	shmdt(second);
	return p;
}

static char *private(const char *folder, const char *marker) {
	int fd = file(folder, "private", 0);
	for (size_t i = 0; i < pages; i++)
		if (pwrite(fd, marker, 8, i * PAGE) != 8) die("pwrite");
	if (ftruncate(fd, pages * PAGE)) die("ftruncate");
	char *p = shared(fd, MAP_PRIVATE);
	memcpy(p + 8, "CHANGED!", 8);
	return p;
}

int main(int argc, char **argv) {
	const char *folder = argc > 1 ? argv[1] : ".";
	char name[64];
	snprintf(name, sizeof name, "/procdump-victim-%d", getpid());
	char *memfd = through(memfd_create("victim", MFD_CLOEXEC), "MEMFDMEM");
	int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
	shm_unlink(name);
	char *posix = through(fd, "POSIXSHM"), *sv = sysv("SYSVSHMM");
	char *f = through(file(folder, "file", 0), "FILESHAR"), *gone = through(file(folder, "gone", 1), "GONEFILE");
	char *priv = private(folder, "PRIVFILE"), *anon = shared(-1, MAP_SHARED | MAP_ANONYMOUS);
	touch(anon, "ANONSHAR", 0, half);
	say("ready memfd=%p posix=%p sysv=%p file=%p gone=%p private=%p anon=%p size=%zu page=%zu", memfd, posix, sv, f, gone, priv,
	    anon, pages * PAGE, PAGE);
	serve();
}
