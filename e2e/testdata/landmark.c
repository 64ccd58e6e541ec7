/*
 * A kernel module that does nothing. Its code, constants and data are a page
 * each of contents that the test knows: those of pages.c, beginning with the
 * words TEXT, RODATA and DATA.
 */
#include "module.h"

#define STRING(X) #X
#define PAGE(SECTION, FIRST) \
	asm(".pushsection " SECTION "; .balign 4096; .set word, " STRING(FIRST) "; .rept 512; .quad word; .set word, word + 1; .endr; .popsection")

PAGE(".text", TEXT);
PAGE(".rodata", RODATA);
PAGE(".data", DATA);

MODULE("landmark", 0);
