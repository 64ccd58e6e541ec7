// uffd: 64 pages registered with a userfaultfd that a thread of this very
// process serves, the even ones present. Who touches an absent page while the
// process is stopped waits for ever. "faults" is answered with the number of
// faults served: a dump must not raise it.
#include "victim.h"
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

enum { pages = 64 };
static int fd;
static atomic_long faults;

CALL static void *serve_faults(void *unused) {
	(void)unused;
	char *page = map(PAGE, PROT_READ | PROT_WRITE, 0);
	struct uffd_msg m;
	while (read(fd, &m, sizeof m) == sizeof m) {
		if (m.event != UFFD_EVENT_PAGEFAULT) continue;
		memset(page, 'L', PAGE);
		struct uffdio_copy c = {.dst = m.arg.pagefault.address & ~(PAGE - 1), .src = (uintptr_t)page, .len = PAGE};
		faults++;
		if (ioctl(fd, UFFDIO_COPY, &c)) die("UFFDIO_COPY");
	}
	return NULL;
}

int main(void) {
	if ((fd = syscall(SYS_userfaultfd, O_CLOEXEC)) < 0) die("userfaultfd");
	struct uffdio_api api = {.api = UFFD_API};
	if (ioctl(fd, UFFDIO_API, &api)) die("UFFDIO_API");
	char *base = map(pages * PAGE, PROT_READ | PROT_WRITE, 0);
	struct uffdio_register r = {.range = {(uintptr_t)base, pages * PAGE}, .mode = UFFDIO_REGISTER_MODE_MISSING};
	if (ioctl(fd, UFFDIO_REGISTER, &r)) die("UFFDIO_REGISTER");
	pthread_t p;
	if (pthread_create(&p, NULL, serve_faults, NULL)) die("pthread_create");
	char *page = map(PAGE, PROT_READ | PROT_WRITE, 0);
	for (size_t i = 0; i < pages; i += 2) {
		memset(page, 'A' + i % 26, PAGE);
		struct uffdio_copy c = {.dst = (uintptr_t)base + i * PAGE, .src = (uintptr_t)page, .len = PAGE};
		if (ioctl(fd, UFFDIO_COPY, &c)) die("UFFDIO_COPY");
	}
	char line[64];
	say("ready addr=%p size=%zu page=%zu", base, pages * PAGE, PAGE);
	for (;;) {
		hear(line, sizeof line);
		say("uffd faults=%ld", (long)faults);
	}
}
