// Package bpf watches processes from inside the kernel with small BPF programs:
// what they write ([Writes]) and which files they map and unmap ([Mappings]).
// The watched processes are neither stopped nor changed, and when procdump
// ends, however it ends, the kernel removes the programs with its descriptors.
//
// The programs are assembled here at run time, with the offsets of the
// kernel's structures taken from its BTF. They run when a system call has done
// its work. Where they can, they are attached to the functions of just those
// system calls that matter (fexit: Linux 5.8 on amd64, 6.0 on arm64, with
// CONFIG_DYNAMIC_FTRACE); then a process that is not watched pays some tens of
// nanoseconds for such a call and nothing for others. Where the kernel has no
// BPF trampolines, they are attached to the tracepoint sys_exit, and every
// system call of the machine costs some 50 ns more while they are. In both
// cases the first thing a program does is to test one bit, the process's.
//
// That takes CONFIG_DEBUG_INFO_BTF, and the capabilities CAP_BPF and
// CAP_PERFMON or CAP_SYS_ADMIN; neither tracefs nor kprobes nor a compiler.
// The programs are under "Dual MIT/GPL", because the kernel gives helpers that
// read memory to GPL-compatible programs only. In a PID namespace of its own,
// as in a container, procdump sees processes of that very namespace.
package bpf
