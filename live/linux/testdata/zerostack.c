// zerostack: its thread stands at the end of its stack, below a large variable of
// which nothing was written to yet.
#include <stdint.h>
#include <stdio.h>

int main(void) {
	printf("ready\n");
	fflush(stdout);
	char *end = (char *)(((uintptr_t)__builtin_frame_address(0) - (1 << 20)) & ~(uintptr_t)4095);
	__asm__ volatile("mov %0, %%rsp\n1:	cmpb $0, (%%rsp)\n	pause\n	jmp 1b" : : "r"(end) : "memory");
	__builtin_unreachable();
}
