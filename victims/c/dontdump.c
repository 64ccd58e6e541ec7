// dontdump: memory that is special to who dumps it. Each region but the guards
// is 16 pages full of its own marker word (see markers in the ready line).
//   dontdump  MADV_DONTDUMP: holds keys, no dump takes it unless asked
//   dontfork  MADV_DONTFORK, wipe MADV_WIPEONFORK: a clone lacks them
//   protnone  written, then PROT_NONE: process_vm_readv cannot read it
//   hole      pages 4 to 7 of 16 unmapped, guard: pages 4 to 7 PROT_NONE
//   madvguard pages 4 to 7 under MADV_GUARD_INSTALL (0: the kernel has it not)
//   plain     nothing special
#include "victim.h"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

static char *fill(const char *marker) {
	char *p = map(18 * PAGE, PROT_NONE, 0) + PAGE; // a page apart from its neighbours
	if (mprotect(p, 16 * PAGE, PROT_READ | PROT_WRITE)) die("mprotect");
	for (size_t i = 0; i < 16 * PAGE; i += 8) memcpy(p + i, marker, 8);
	return p;
}

int main(void) {
	char *plain = fill("PLAINMEM"), *dontdump = fill("KEYBYTES"), *dontfork = fill("NOFORKED");
	char *wipe = fill("WIPEFORK"), *protnone = fill("PROTNONE"), *hole = fill("HOLEMARK"), *guard = fill("GUARDPAG");
	char *madvguard = fill("MADGUARD");
	if (madvise(dontdump, 16 * PAGE, MADV_DONTDUMP) || madvise(dontfork, 16 * PAGE, MADV_DONTFORK) ||
	    madvise(wipe, 16 * PAGE, MADV_WIPEONFORK) || mprotect(protnone, 16 * PAGE, PROT_NONE) ||
	    munmap(hole + 4 * PAGE, 4 * PAGE) || mprotect(guard + 4 * PAGE, 4 * PAGE, PROT_NONE))
		die("set up");
	if (madvise(madvguard + 4 * PAGE, 4 * PAGE, MADV_GUARD_INSTALL)) madvguard = NULL;
	say("ready plain=%p dontdump=%p dontfork=%p wipe=%p protnone=%p hole=%p guard=%p madvguard=0x%lx size=%zu", plain, dontdump,
	    dontfork, wipe, protnone, hole, guard, (unsigned long)(uintptr_t)madvguard, 16 * PAGE);
	serve();
}
