// Runs functions of many shapes one instruction at a time and writes, at each, the
// registers and the stack. steps.exe.gz and steps.bin.gz were made so, with gcc 12
// of mingw-w64 and Wine 8:
//
//	x86_64-w64-mingw32-gcc -O2 -s -o steps.exe steps.c
//	wine64 steps.exe && gzip -9n steps.exe steps.bin
//
// The program contains the start-up code of mingw-w64, which is in the public domain.
#include <windows.h>
#include <stdio.h>

#define FUNCTION __declspec(dllexport) __attribute__((noinline))

static BYTE *base, *top;
static FILE *out;

// A record: rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 to r15, rip, the number of
// bytes of the stack, and these.
static LONG WINAPI step(EXCEPTION_POINTERS *x)
{
	if (x->ExceptionRecord->ExceptionCode != EXCEPTION_SINGLE_STEP)
		return EXCEPTION_CONTINUE_SEARCH;
	CONTEXT *c = x->ContextRecord;
	if (!out)
		return EXCEPTION_CONTINUE_EXECUTION;
	ULONG64 n = top - (BYTE *)c->Rsp;
	fwrite(&c->Rax, 8, 17, out);
	fwrite(&n, 8, 1, out);
	fwrite((void *)c->Rsp, 1, n, out);
	c->EFlags |= 0x100;
	return EXCEPTION_CONTINUE_EXECUTION;
}

volatile int one = 1;

FUNCTION int leaf(int n) { return n * 3 + one; }

// Saves all registers that it has to.
FUNCTION int registers(int n)
{
	__asm__ volatile("" ::: "rbx", "rsi", "rdi", "rbp", "r12", "r13", "r14", "r15", "xmm6", "xmm7");
	return leaf(n) + n;
}

// Has a frame of more than a page.
FUNCTION int large(int n)
{
	volatile char a[5000];
	a[n * 7] = 1;
	return registers(n) + a[n * 7];
}

// Needs a frame pointer.
FUNCTION int dynamic(int n)
{
	volatile char *p = __builtin_alloca(n * 24);
	p[n] = 1;
	__asm__ volatile("" ::: "rbx", "rsi", "xmm8");
	return leaf(n) + p[n];
}

// Ends with a jump to another function.
FUNCTION int jumps(int n)
{
	n += leaf(n);
	__asm__ volatile("" ::: "rbx", "rdi");
	return leaf(n) ? dynamic(n & 3) : large(n & 3);
}

// Ends with a jump through memory.
int (*volatile target)(int) = large;
FUNCTION int through(int n)
{
	n += leaf(n);
	return target(n & 3);
}

FUNCTION int recursive(int n) { return n ? recursive(n - 1) + leaf(n) : jumps(2); }

FUNCTION int switches(int n)
{
	int r = 0;
	for (int i = 0; i < n; i++)
		switch (i) {
		case 0: r += leaf(1); break;
		case 1: r += registers(2); break;
		case 2: r += 3; break;
		case 3: r *= leaf(4); break;
		case 4: r -= jumps(5); break;
		case 5: r ^= through(6); break;
		default: r++;
		}
	return r;
}

FUNCTION int run(void)
{
	__asm__ volatile("pushfq\n\torq $0x100, (%%rsp)\n\tpopfq" ::: "cc", "memory");
	int r = switches(7) + recursive(2) + through(3) + large(1) + dynamic(4);
	__asm__ volatile("pushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq" ::: "cc", "memory");
	return r;
}

int main(void)
{
	base = (BYTE *)GetModuleHandleA(0);
	top = (BYTE *)__builtin_frame_address(0) + 64;
	AddVectoredExceptionHandler(1, step);
	FILE *f = fopen("steps.bin", "wb");
	fwrite(&base, 8, 1, f);
	out = f;
	int r = run();
	out = 0;
	fclose(f);
	printf("%d\n", r);
	return 0;
}
