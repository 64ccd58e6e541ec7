// Package e2e tests the built procdump against real processes, with the
// debuggers that people have as judges: gdb, lldb, elfutils' eu-stack and
// Breakpad's minidump_stackwalk. What a judge says of a dump is compared with
// what gdb, or the judge itself, says of the live process.
//
// It needs root and the tools of scripts/install-test-deps. Sizes and counts
// are those of a quick run; PROCDUMP_LONG=1 asks for the full ones.
package e2e
