// A process that sleeps, a few calls deep, and needs no library. Breakpad's pid2md
// has dumped it:
//
//	gcc -O1 -g0 -nostdlib -static -fno-pie -no-pie -fno-stack-protector -fcf-protection=none \
//		-fasynchronous-unwind-tables -Wl,--eh-frame-hdr,--build-id -o nap nap.c
//	env -i /mnt/nap & pid2md $! pid2md.dmp; gzip -9n nap pid2md.dmp
#define FUNCTION __attribute__((noinline, noipa))

FUNCTION long nap(void)
{
	long r, time[2] = {3600, 0};
	__asm__ volatile("syscall" : "=a"(r) : "0"(35L), "D"(time), "S"(0L) : "rcx", "r11", "memory");
	return r;
}

FUNCTION long inner(long n) { return nap() + n; }
FUNCTION long middle(long n) { return inner(n + 1) * 3; }
FUNCTION long outer(long n) { return middle(n + 1) - 1; }

__asm__(".globl _start\n.type _start, @function\n_start:\n.cfi_startproc\n.cfi_undefined rip\n"
	"call outer\nhlt\n.cfi_endproc\n.size _start, .-_start\n");
