/* A kernel module that follows a null pointer when it is loaded. */
#include "module.h"

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

MODULE("nullderef", start);
