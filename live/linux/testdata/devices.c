// devices: does, when it is told to by a line on standard input, what may let
// devices or others write to its memory, and "close" ends it.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int fd = -1;
static char path[4096];
static void *ring;
static const size_t ring_size = 4096;

static int uring(void) {
	struct io_uring_params p = {0};
	return fd = syscall(SYS_io_uring_setup, 4, &p);
}

// pin pins memory for the device that a ring would read from, and closes the
// ring's descriptor: its mapping keeps it.
static int pin(void) {
	static char buffer[1 << 16] __attribute__((aligned(4096)));
	struct iovec v = {buffer, sizeof buffer};
	if (uring() < 0 || syscall(SYS_io_uring_register, fd, IORING_REGISTER_BUFFERS, &v, 1)) return -1;
	ring = mmap(NULL, ring_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQ_RING);
	if (ring == MAP_FAILED) return -1;
	close(fd);
	return fd = -1, 0;
}

// device opens a file that has the name of a device, in a /dev of its own.
static int device(const char *name) {
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount("none", "/dev", "tmpfs", 0, NULL)) return -1;
	for (char *p = path + strlen("/dev/"); (p = strchr(p, '/')); *p++ = '/') {
		*p = 0;
		mkdir(path, 0700);
	}
	return fd = open(name, O_RDWR | O_CREAT, 0600);
}

int main(void) {
	char line[4200], what[64];
	printf("ready\n");
	fflush(stdout);
	while (fgets(line, sizeof line, stdin)) {
		int r = -1;
		errno = EINVAL;
		*path = 0;
		sscanf(line, "%63s %4095s", what, path);
		if (!strcmp(what, "direct")) r = fd = open(path, O_RDWR | O_CREAT | O_DIRECT, 0600);
		else if (!strcmp(what, "plain")) r = fd = open(path, O_RDWR | O_CREAT, 0600);
		else if (!strcmp(what, "device")) r = device(path);
		else if (!strcmp(what, "uring")) r = uring();
		else if (!strcmp(what, "pin")) r = pin();
		else if (!strcmp(what, "userfault")) r = fd = syscall(SYS_userfaultfd, O_CLOEXEC);
		else if (!strcmp(what, "close")) r = ring ? munmap(ring, ring_size) : close(fd), ring = NULL;
		if (r < 0) printf("no: %s\n", strerror(errno));
		else printf("done\n");
		fflush(stdout);
	}
}
