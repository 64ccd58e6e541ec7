// A process of five threads without libraries, for small dumps (see README). Two
// workers wait and do the same, a third sleeps; the first one waits for the fourth, which,
// if there is an argument, writes where nothing is mapped.
namespace shop {

struct Item {
	long id, price;
	Item *next;
};

struct List {
	Item *first;
	void push(Item *item);
};

} // namespace shop

enum { SYS_pause = 34, SYS_nanosleep = 35, SYS_prctl = 157, SYS_futex = 202 };
enum { PR_SET_NAME = 15 };

extern "C" long call(long number, long a, long b, long c);
extern "C" void thread(void (*run)(long), long arg, char *stack);

// call is a system call of three arguments. thread is clone(2) with CLONE_VM, FS,
// FILES, SIGHAND, THREAD and SYSVSEM; the stack holds what is to be run.
__asm__(R"(
	.globl call
	.type call, @function
call:
	.cfi_startproc
	mov %rdi, %rax
	mov %rsi, %rdi
	mov %rdx, %rsi
	mov %rcx, %rdx
	xor %r10, %r10
	syscall
	ret
	.cfi_endproc
	.size call, .-call

	.globl thread
	.type thread, @function
thread:
	.cfi_startproc
	sub $16, %rdx
	mov %rdi, (%rdx)
	mov %rsi, 8(%rdx)
	mov $0x50f00, %edi
	mov %rdx, %rsi
	xor %edx, %edx
	xor %r10, %r10
	xor %r8, %r8
	mov $56, %eax
	syscall
	test %eax, %eax
	jnz 1f
	.cfi_undefined rip
	pop %rax
	pop %rdi
	call *%rax
	ud2
1:	ret
	.cfi_endproc
	.size thread, .-thread

	.globl _start
	.type _start, @function
_start:
	.cfi_startproc
	.cfi_undefined rip
	mov (%rsp), %rdi
	call serve
	ud2
	.cfi_endproc
	.size _start, .-_start
)");

static int done;
static char stacks[4][8192] __attribute__((aligned(16)));
static shop::Item items[3] = {{1, 250}, {2, 990}, {3, 5}};
static shop::List *lists[2];

static inline __attribute__((always_inline)) void store(shop::Item **place, shop::Item *item) {
	item->next = *place;
	*place = item;
}

__attribute__((noinline)) void shop::List::push(Item *item) { store(&first, item); }

static __attribute__((noinline)) void fill(long n) {
	if (n > 0) fill(n - 1);
	lists[n & 1]->push(&items[n]);
}

static void name(const char *s) { call(SYS_prctl, PR_SET_NAME, (long)s, 0); }

static void worker(long) {
	name("worker");
	for (;;) call(SYS_pause, 0, 0, 0);
}

static void sleeper(long seconds) {
	name("sleeper");
	long time[2] = {seconds, 0};
	for (;;) call(SYS_nanosleep, (long)time, 0, 0);
}

static void filler(long crash) {
	name("filler");
	long time[2] = {2, 0};
	call(SYS_nanosleep, (long)time, 0, 0);
	if (crash) fill(2);
	for (;;) call(SYS_pause, 0, 0, 0);
}

extern "C" void serve(long args) {
	thread(worker, 1, stacks[1]);
	thread(worker, 2, stacks[2]);
	thread(sleeper, 3600, stacks[3]);
	thread(filler, args > 1, stacks[3] + sizeof stacks[3]);
	for (;;) call(SYS_futex, (long)&done, 0, 0);
}
