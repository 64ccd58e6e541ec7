// Package deadman has the kernel kill the calling process when it shows no sign
// of life for a while: because it stands still (SIGSTOP, a frozen cgroup, a
// debugger), loops, or gets no CPU. It is for processes that others wait for.
// It exists on Linux only.
package deadman
