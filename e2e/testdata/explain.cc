// A program that ends in the way that its argument names, for reports: optimised,
// without frame pointers, with inlined functions.
#include <cassert>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>
#include <vector>

#define NOINLINE __attribute__((noinline))
// A call in front of it is no tail call.
#define AFTER asm volatile("" ::: "memory")

namespace victim {

struct List {
	int value;
	List *next;
	NOINLINE void push(int v);
};

static inline __attribute__((always_inline)) void store(List *l, int v) { l->value = v; }
static inline __attribute__((always_inline)) void store_twice(List *l, int v)
{
	store(l, v);
	AFTER;
	store(l->next, v);
}

void List::push(int v)
{
	store_twice(this, v);
	AFTER;
}

static void ready()
{
	printf("ready\n");
	fflush(stdout);
}

NOINLINE void wait_here()
{
	ready();
	for (;;)
		pause();
}

static inline __attribute__((always_inline)) void wait_inlined() { wait_here(); AFTER; }

NOINLINE void thrower()
{
	throw std::runtime_error("nobody catches this");
}

static volatile int zero;

NOINLINE int endless(volatile char *above)
{
	volatile char room[256];
	room[0] = above ? above[0] + 1 : 0;
	int n = zero == 0 ? endless(room) + room[0] : 0;
	AFTER;
	return n;
}

NOINLINE List *chase(List *l)
{
	return l->next;
}

struct Failure : std::logic_error {
	Failure() : std::logic_error("it is derived") {}
};

static const int constant[1024] = {1, 2, 3};

template <typename T> struct Ways {
	NOINLINE static void go(const std::string &way, T depth)
	{
		if (depth > 0) {
			Ways<T>::go(way, depth - 1);
			AFTER;
			return;
		}
		List last = {1, nullptr};
		if (way == "wait")
			wait_inlined();
		else if (way == "null")
			last.push(7);
		else if (way == "call")
			((void (*)())(long)zero)();
		else if (way == "assert")
			assert(zero == 1 && "the world is as it should be");
		else if (way == "throw")
			thrower();
		else if (way == "overflow")
			endless(nullptr);
		else if (way == "divide")
			zero = depth / zero;
		else if (way == "readonly")
			*const_cast<volatile int *>(&constant[5]) = 3;
		else if (way == "offset")
			last.next = chase(last.next);
		else if (way == "wild")
			zero = *(volatile int *)(0x4141414141414140 + zero);
		else if (way == "number")
			throw 42;
		else if (way == "text")
			throw "out of cheese";
		else if (way == "derived")
			throw Failure();
		else if (way == "freed") {
			const long mib = 1 << 20;
			char *p = (char *)mmap(nullptr, 3 * mib, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			munmap(p + mib, mib);
			zero = *(volatile char *)(p + mib + mib / 2);
		} else if (way == "free") {
			void *volatile p = malloc(24);
			free(p);
			free(p);
		}
		AFTER;
	}
};

} // namespace victim

int main(int argc, char **argv)
{
	std::vector<std::thread> idle;
	for (int i = 0; i < 5; i++)
		idle.emplace_back([] {
			for (;;)
				pause();
		});
	victim::Ways<long>::go(argc > 1 ? argv[1] : "wait", 3);
	for (;;)
		pause();
}
