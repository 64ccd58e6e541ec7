// Package ptrace wraps the ptrace(2) requests that procdump uses; it exists on
// Linux only. All calls for one tracee must come from the same
// operating-system thread.
package ptrace
