// A process of three threads in known functions with a known buffer. With the
// argument "crash" its last thread writes to address 16.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

unsigned char buffer[65536];
static pthread_barrier_t ready;
static int crash;

static __attribute__((noinline)) int innermost(volatile int *depth, double x) {
	volatile double keep = x * 1.5;
	pthread_barrier_wait(&ready);
	if (crash && *depth == 2)
		*(volatile int *)16 = 1;
	for (;;)
		pause();
	return (int)keep;
}

static void *worker(void *arg) {
	volatile int depth = (int)(long)arg;
	return (void *)(long)innermost(&depth, depth + 0.25);
}

int main(int argc, char **argv) {
	crash = argc > 1 && strcmp(argv[1], "crash") == 0;
	for (unsigned i = 0; i < sizeof buffer; i++)
		buffer[i] = (unsigned char)(i * 7 + (i >> 8));
	pthread_barrier_init(&ready, NULL, 3);
	pthread_t t[2];
	for (long i = 1; i <= 2; i++)
		pthread_create(&t[i - 1], NULL, worker, (void *)i);
	pthread_barrier_wait(&ready);
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}
