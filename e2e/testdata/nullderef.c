/*
 * A kernel module that follows a null pointer when it is loaded. It is built
 * without the kernel's headers: NAME, INIT and SIZE are the offsets of these
 * members of struct module, and its size, as the kernel's type data has them.
 */
static const char info[] __attribute__((used, section(".modinfo"))) = "license=GPL\0name=nullderef";

__attribute__((noinline)) int nullderef_inner(volatile int *p)
{
	*p = 1;
	return 0;
}

__attribute__((noinline)) int nullderef_outer(void)
{
	return nullderef_inner((volatile int *)8) + 1;
}

static int start(void)
{
	return nullderef_outer() - 1;
}

struct {
	char before[NAME];
	char name[56];
	char between[INIT - NAME - 56];
	int (*init)(void);
	char after[SIZE - INIT - 8];
} __this_module __attribute__((used, section(".gnu.linkonce.this_module"))) = {
	.name = "nullderef",
	.init = start,
};
