// A process to dump: THREADS threads, each waiting three calls deep in
// functions of its own, and memory of known content. It prints the address of
// that memory and, with an argument, of a mapping of that many bytes of which
// it touches the last page only.
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { THREADS = 4 };

static volatile int ready;

static void hold(void) {
	__atomic_add_fetch(&ready, 1, __ATOMIC_SEQ_CST);
	for (;;) {
#if defined(__x86_64__)
		long ret = SYS_pause;
		__asm__ volatile("syscall" : "+a"(ret) : : "rcx", "r11", "memory");
#elif defined(__i386__)
		long ret = SYS_pause;
		__asm__ volatile("int $0x80" : "+a"(ret) : : "memory");
#else
		long ret = syscall(SYS_ppoll, NULL, 0, NULL, NULL);
#endif
		(void)ret;
	}
}

static void work_three(int n) { hold(); (void)n; }
static void work_two(int n) { work_three(n + 1); }
static void *work_one(void *arg) {
	char name[16];
	snprintf(name, sizeof name, "worker-%ld", (long)arg);
	prctl(PR_SET_NAME, name);
	work_two((int)(long)arg);
	return NULL;
}

static void gamma_(void) { hold(); }
static void beta(void) { gamma_(); }
static void alpha(void) { beta(); }

int main(int argc, char **argv) {
	unsigned char *buf = malloc(4096);
	for (int i = 0; i < 4096; i++)
		buf[i] = (unsigned char)(i * 7 + i / 256);
	char *big = NULL;
	if (argc > 1) {
		unsigned long long size = strtoull(argv[1], NULL, 0);
		big = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (big == MAP_FAILED)
			return 1;
		memcpy(big + size - 4096, buf, 4096);
	}
	for (long i = 1; i < THREADS; i++) {
		pthread_t t;
		pthread_create(&t, NULL, work_one, (void *)i);
	}
	while (ready < THREADS - 1)
		;
	printf("%p %p\n", (void *)buf, (void *)big);
	fflush(stdout);
	alpha();
	return 0;
}
