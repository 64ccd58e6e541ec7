package bpf

// The system calls of arch/x86/entry/syscalls/syscall_64.tbl and
// syscall_32.tbl. Functions of 32-bit calls have lost their compat twins over
// time (writev in Linux 5.10).
var (
	numberRegister = register{member: "orig_ax"}

	abis = []abi{
		{
			args: []register{{"di", 0}, {"si", 0}, {"dx", 0}, {"r10", 0}, {"r8", 0}, {"r9", 0}},
			calls: []call{
				{number: 1, kind: callBuffer, functions: []string{"__x64_sys_write"}},
				{number: 18, kind: callBuffer, functions: []string{"__x64_sys_pwrite64"}, optional: "pwrite"},
				{number: 44, kind: callBuffer, functions: []string{"__x64_sys_sendto"}},
				{number: 20, kind: callVector, functions: []string{"__x64_sys_writev"}},
				{number: 296, kind: callVector, functions: []string{"__x64_sys_pwritev"}, optional: "pwrite"},
				{number: 328, kind: callVector, functions: []string{"__x64_sys_pwritev2"}, optional: "pwrite"},
				{number: 46, kind: callMessage, functions: []string{"__x64_sys_sendmsg"}},
				{number: 9, kind: callMap, functions: []string{"__x64_sys_mmap"}},
				{number: 11, kind: callUnmap, functions: []string{"__x64_sys_munmap"}},
				{number: 10, kind: callProtect, functions: []string{"__x64_sys_mprotect"}, optional: "mprotect"},
				{number: 25, kind: callRemap, functions: []string{"__x64_sys_mremap"}, optional: "mremap"},
				{number: 59, kind: callExec, functions: []string{"__x64_sys_execve"}},
				{number: 322, kind: callExec, functions: []string{"__x64_sys_execveat"}, optional: "execveat"},
			},
		},
		{
			compat: true, name: "32-bit programs: ",
			args: []register{{"bx", 0}, {"cx", 0}, {"dx", 0}, {"si", 0}, {"di", 0}, {"bp", 0}},
			calls: []call{
				{number: 4, kind: callBuffer, functions: []string{"__ia32_sys_write"}},
				{number: 181, kind: callBuffer, functions: []string{"__ia32_sys_ia32_pwrite64", "__ia32_compat_sys_x86_pwrite"}, optional: "pwrite"},
				{number: 369, kind: callBuffer, functions: []string{"__ia32_sys_sendto"}},
				{number: 146, kind: callVector, functions: []string{"__ia32_compat_sys_writev", "__ia32_sys_writev"}},
				{number: 334, kind: callVector, functions: []string{"__ia32_compat_sys_pwritev"}, optional: "pwrite"},
				{number: 379, kind: callVector, functions: []string{"__ia32_compat_sys_pwritev2"}, optional: "pwrite"},
				{number: 370, kind: callMessage, functions: []string{"__ia32_compat_sys_sendmsg"}},
				{number: 102, kind: callSocket, functions: []string{"__ia32_compat_sys_socketcall"}, also: []int32{369, 370},
					inner: []inner{{"__sys_sendto", 6, callBuffer}, {"__sys_sendmsg", 4, callMessage}}},
				{number: 192, kind: callMap, functions: []string{"__ia32_sys_mmap_pgoff"}},
				{number: 91, kind: callUnmap, functions: []string{"__ia32_sys_munmap"}},
				{number: 125, kind: callProtect, functions: []string{"__ia32_sys_mprotect"}, optional: "mprotect"},
				{number: 163, kind: callRemap, functions: []string{"__ia32_sys_mremap"}, optional: "mremap"},
				{number: 11, kind: callExec, functions: []string{"__ia32_compat_sys_execve"}},
				{number: 358, kind: callExec, functions: []string{"__ia32_compat_sys_execveat"}, optional: "execveat"},
			},
		},
	}
)
