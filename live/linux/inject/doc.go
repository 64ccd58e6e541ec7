// Package inject makes a thread of another process, which the caller traces by
// ptrace(2) and which stands, perform system calls, and clones its process.
//
// Not a byte of the program's code is changed: the thread is sent to a "system
// call, return" instruction pair that some library has (Site). And it heals
// itself: if the tracer dies at any instant, by SIGKILL too, the kernel lets the
// thread run on from where it stands, and it then returns to its own registers.
// For before its registers are touched, signal frames (sigreturn(2)) are put
// into the unused end of the process's stack, below anything that is in use:
//
//	low  ┌───────────────────────────┐
//	     │ after a clone: wait for   │ the return address is that of
//	     │ the child, then "home"    │ "rt_sigreturn", as in any signal frame
//	     ├───────────────────────────┤
//	     │ home: the thread's own    │ a system call that was interrupted
//	     │ registers and signal mask │ begins anew
//	     ├───────────────────────────┤
//	     │ child: exit               │ a child that nobody holds ends at once
//	     ├───────────────────────────┤
//	     │ floating-point state      │
//	high └───────────────────────────┘
//
// While the tracer lives none of them is used: it gives the thread its registers
// back itself, in one ptrace request and where the kernel still knows which
// system call was interrupted, so that this one goes on as if nothing had been.
//
// The signal mask is set after the registers in the beginning and before them in
// the end: the thread must never be left in its own code with every signal
// blocked. If the tracer dies between these two requests, a signal that comes then
// is handled below the frames, and the thread returns to them. That fails only
// where the handler is for the alternate stack, and the thread was on that: the
// kernel sees it elsewhere, and begins the alternate stack anew.
//
// A child is traced from its birth and inherits, in the same instant,
// PTRACE_O_EXITKILL, or it finds the way to its end on its stack.
//
// It works for 64-bit and 32-bit processes of amd64 Linux. Where the frames
// would not work (shadow stacks, system calls that are dispatched to the
// process, a restartable sequence, no room on the stack, a frozen cgroup) it says so and leaves
// the thread alone.
package inject
