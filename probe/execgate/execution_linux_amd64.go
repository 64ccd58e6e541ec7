package execgate

// Of arch/x86/entry/syscalls/syscall_64.tbl, and the x32 and 32-bit ones.
var execCalls = []execCall{
	{59, 8, 0}, {322, 8, 1},
	{0x40000000 + 520, 4, 0}, {0x40000000 + 545, 4, 1},
	{11, 4, 0}, {358, 4, 1},
}
