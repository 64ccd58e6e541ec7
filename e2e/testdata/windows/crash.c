// A Windows program that crashes and has the system write a minidump of it. Its
// threads print their stacks as Windows sees them; foreign_linux_test.go compares.
// The files beside this one were made so, with gcc 12 of mingw-w64 and Wine 8:
//
//	x86_64-w64-mingw32-gcc -O2 -s -fno-optimize-sibling-calls -o crash.exe crash.c -ldbghelp
//	wine64 crash.exe >crash.txt && gzip -9n crash.exe crash.dmp
//
// The program contains the start-up code of mingw-w64, which is in the public domain.
#include <windows.h>
#include <dbghelp.h>
#include <stdio.h>

#define FUNCTION __declspec(dllexport) __attribute__((noinline))

static HANDLE ready;

// Prints where the callers of this function's caller go on.
static void trace(const char *who)
{
	void *frames[62];
	int n = CaptureStackBackTrace(2, 62, frames, 0);
	printf("%s %lu", who, GetCurrentThreadId());
	for (int i = 0; i < n && frames[i]; i++)
		printf(" %p", frames[i]);
	printf("\n");
	fflush(stdout);
}

static LONG WINAPI crashed(EXCEPTION_POINTERS *x)
{
	trace("crash");
	MINIDUMP_EXCEPTION_INFORMATION info = {GetCurrentThreadId(), x, FALSE};
	HANDLE f = CreateFileA("crash.dmp", GENERIC_WRITE, 0, 0, CREATE_ALWAYS, 0, 0);
	if (!MiniDumpWriteDump(GetCurrentProcess(), GetCurrentProcessId(), f, MiniDumpNormal, &info, 0, 0))
		printf("no dump\n");
	CloseHandle(f);
	fflush(stdout);
	ExitProcess(0);
}

FUNCTION int leaf(volatile int *p) { *p = 1; return 2; }

FUNCTION int large(volatile int *p)
{
	volatile char a[20000];
	a[7] = 1;
	return leaf(p) + a[7];
}

FUNCTION int dynamic(volatile int *p, int n)
{
	volatile char *a = __builtin_alloca(n * 16);
	a[n] = 1;
	return large(p) + a[n];
}

FUNCTION int recursive(int n) { return n ? recursive(n - 1) ^ n : dynamic(0, 100); }

FUNCTION void handled(void)
{
	trace("handler");
	SetEvent(ready);
	Sleep(INFINITE);
}

// Called for each exception: the one of faults stays here.
static LONG WINAPI handler(EXCEPTION_POINTERS *x)
{
	if (x->ExceptionRecord->ExceptionCode == EXCEPTION_INT_DIVIDE_BY_ZERO)
		handled();
	return EXCEPTION_CONTINUE_SEARCH;
}

volatile int zero;
FUNCTION int divide(int n) { return n / zero; }
FUNCTION DWORD WINAPI faults(void *p) { return divide(7) + 1; }

FUNCTION int wait(void)
{
	trace("waiter");
	SetEvent(ready);
	Sleep(INFINITE);
	return 1;
}

FUNCTION DWORD WINAPI waits(void *p) { return wait() + 1; }

int main(void)
{
	ready = CreateEventA(0, 0, 0, 0);
	AddVectoredExceptionHandler(1, handler);
	CreateThread(0, 0, waits, 0, 0, 0);
	WaitForSingleObject(ready, INFINITE);
	CreateThread(0, 0, faults, 0, 0, 0);
	WaitForSingleObject(ready, INFINITE);
	Sleep(100);
	SetUnhandledExceptionFilter(crashed);
	return recursive(3);
}
