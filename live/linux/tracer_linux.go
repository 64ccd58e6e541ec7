package linux

import (
	"runtime"
	"syscall"
)

// tracer is the operating-system thread that makes all ptrace calls for one
// target: the kernel lets only the thread that seized do the rest.
type tracer struct {
	calls chan func()
	done  chan struct{}
}

func newTracer() *tracer {
	t := &tracer{make(chan func()), make(chan struct{})}
	go t.run()
	return t
}

func (t *tracer) run() {
	// Not unlocked: the thread ends with the goroutine, and with it any
	// attachment that an error might have left. Only the process's first
	// thread would not end: leave it to others.
	runtime.LockOSThread()
	if syscall.Gettid() == syscall.Getpid() {
		go t.run()
		<-t.done
		runtime.UnlockOSThread()
		return
	}
	defer close(t.done)
	for f := range t.calls {
		f()
	}
}

// do runs f on the tracer's thread and waits for it.
func (t *tracer) do(f func()) {
	ret := make(chan struct{})
	t.calls <- func() {
		defer close(ret)
		f()
	}
	<-ret
}

// end lets the thread go, detaching what it still traces.
func (t *tracer) end() {
	close(t.calls)
	<-t.done
}
