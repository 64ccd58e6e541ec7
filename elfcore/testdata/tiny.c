// A process without libraries, for small cores (see testdata/README).
// With an argument it crashes, otherwise it waits.
static const char mark[] = "a mark to look for";
static char copy[64];

void start_c(long *sp) {
	for (unsigned i = 0; i < sizeof mark; i++)
		((volatile char *)copy)[i] = mark[i];
	if (sp[0] > 1)
		*(volatile int *)32 = 1;
	for (;;)
		;
}

#ifdef __x86_64__
__asm__(".globl _start\n_start: mov %rsp, %rdi\n call start_c\n");
#else
__asm__(".globl _start\n_start: push %esp\n call start_c\n");
#endif
