package bpf

// The system calls of include/uapi/asm-generic/unistd.h. The first argument is
// in orig_x0, because x0 takes the result. 32-bit programs are not watched.
var (
	numberRegister = register{member: "syscallno"}

	abis = []abi{{
		args: []register{{"orig_x0", 0}, {"regs", 1}, {"regs", 2}, {"regs", 3}, {"regs", 4}, {"regs", 5}},
		calls: []call{
			{number: 64, kind: callBuffer, functions: []string{"__arm64_sys_write"}},
			{number: 68, kind: callBuffer, functions: []string{"__arm64_sys_pwrite64"}, optional: "pwrite"},
			{number: 206, kind: callBuffer, functions: []string{"__arm64_sys_sendto"}},
			{number: 66, kind: callVector, functions: []string{"__arm64_sys_writev"}},
			{number: 70, kind: callVector, functions: []string{"__arm64_sys_pwritev"}, optional: "pwrite"},
			{number: 287, kind: callVector, functions: []string{"__arm64_sys_pwritev2"}, optional: "pwrite"},
			{number: 211, kind: callMessage, functions: []string{"__arm64_sys_sendmsg"}},
			{number: 222, kind: callMap, functions: []string{"__arm64_sys_mmap"}},
			{number: 215, kind: callUnmap, functions: []string{"__arm64_sys_munmap"}},
			{number: 226, kind: callProtect, functions: []string{"__arm64_sys_mprotect"}, optional: "mprotect"},
			{number: 216, kind: callRemap, functions: []string{"__arm64_sys_mremap"}, optional: "mremap"},
			{number: 221, kind: callExec, functions: []string{"__arm64_sys_execve"}},
			{number: 281, kind: callExec, functions: []string{"__arm64_sys_execveat"}, optional: "execveat"},
		},
	}}
)
