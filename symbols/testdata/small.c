// small.elf.gz is this program, so that its debug information is small:
//   gcc -g -O2 -nostdlib -static -ffreestanding -fno-stack-protector -fcf-protection=none -Wl,--build-id -o small.elf small.c
// and .gnu_debugdata as in scripts of distributions: the symbols of its
// functions, compressed by xz.
static volatile int counter;

static inline __attribute__((always_inline)) int twice(int n)
{
	return n + n * counter;
}

static __attribute__((noinline)) int middle(int n)
{
	counter += twice(n);
	asm volatile("" ::: "memory");
	return counter + 1;
}

__attribute__((noinline)) int outer(int n)
{
	int r = middle(n) + middle(n + 1);
	asm volatile("" ::: "memory");
	return r;
}

void _start(void)
{
	outer(3);
	for (;;)
		counter++;
}
