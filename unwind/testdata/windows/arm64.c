// Functions of arm64 Windows whose stacks are kept in many ways: the tests run them
// on a small processor of their own and walk the stack at each instruction. It is
// compiled several times, since compilers keep the stack differently; arm64.dll.gz
// was made so, with LLVM 19:
//
//	cc="clang --target=aarch64-pc-windows-msvc -c -O2 arm64.c"
//	$cc -DNAME=plain_ -o plain.o
//	$cc -DNAME=bare_ -fomit-frame-pointer -o bare.o
//	$cc -DNAME=small_ -Oz -fomit-frame-pointer -o small.o
//	$cc -DNAME=signed_ -mbranch-protection=pac-ret+b-key -o signed.o
//	$cc -DNAME=slow_ -O0 -o slow.o
//	clang --target=aarch64-pc-windows-msvc -c -o more.o arm64.s
//	lld-link -dll -noentry -timestamp:1 -opt:noref,noicf -out:arm64.dll plain.o bare.o small.o signed.o slow.o more.o
//	gzip -9n arm64.dll
#define JOIN(a, b) a##b
#define NAMED(a, b) JOIN(a, b)
#define FUNCTION(result, name) __declspec(dllexport) __attribute__((noinline)) result NAMED(NAME, name)

// What is called through these may change all registers that a function may.
extern long (*volatile call)(long, ...);
extern double (*volatile number)(double);
extern void (*volatile use)(void *);

FUNCTION(long, leaf)(long a, long b) { return a * 3 + b; }

FUNCTION(long, locals)(long a)
{
	volatile long x[4] = {a, 1, 2, 3};
	return x[1] + x[2];
}

FUNCTION(long, calls)(long a) { return call(a) + 1; }

FUNCTION(long, one)(long a) { return call(1) + a; }

FUNCTION(long, two)(long a, long b) { return call(1) + a * b; }

FUNCTION(long, three)(long a, long b, long c) { return call(1) + a * b - c; }

FUNCTION(long, five)(long a, long b, long c, long d, long e) { return call(1) + a * b - c * d + e; }

FUNCTION(long, ten)(long a, long b, long c, long d, long e, long f, long g, long h, long i)
{
	return call(1) + a * b - c * d + e * f - g * h + i + call(2);
}

FUNCTION(double, floats)(double a, double b, double c)
{
	return number(1) + a * b - c;
}

FUNCTION(double, manyfloats)(double a, double b, double c, double d, double e, double f, double g, double h, long i)
{
	return number(1) + a * b - c * d + e * f - g * h + i + number(2);
}

FUNCTION(double, mixed)(long i, long j, long k, double a, double b)
{
	return number(1) + a * b + (i + j) * k;
}

FUNCTION(long, array)(long a)
{
	char b[400];
	use(b);
	return b[a] + a;
}

FUNCTION(long, wide)(long a)
{
	char b[3000];
	use(b);
	return b[a] + a;
}

FUNCTION(long, page)(long a, long c)
{
	char b[4080];
	use(b);
	return b[a] + a + c;
}

FUNCTION(long, large)(long a)
{
	char b[100000];
	use(b);
	return b[a] + a;
}

FUNCTION(long, dynamic)(long a, long n)
{
	char *b = __builtin_alloca(n);
	use(b);
	return b[a] + a;
}

FUNCTION(long, aligned)(long a)
{
	__attribute__((aligned(64))) char b[200];
	use(b);
	return b[a] + a;
}

FUNCTION(long, variadic)(long n, ...)
{
	__builtin_va_list all;
	__builtin_va_start(all, n);
	long sum = call(n) + __builtin_va_arg(all, long) + __builtin_va_arg(all, long);
	__builtin_va_end(all);
	return sum + n;
}

FUNCTION(long, tail)(long a, long b)
{
	long c = call(a);
	return call(b + c + a);
}

FUNCTION(long, branches)(long a, long b)
{
	if (a > 3)
		return call(a) + b;
	if (a > 2)
		return call(b, a) * b;
	return call(a + b) - a;
}

FUNCTION(long, wrapped)(long a, long b)
{
	if (a > 3)
		return b;
	return call(a + b) - a * b;
}

FUNCTION(_Noreturn void, never)(long a)
{
	call(a);
	__builtin_trap();
}
