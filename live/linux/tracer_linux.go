package linux

import (
	"runtime"
	"sync"
	"syscall"

	"procdump/internal/sys/ptrace"
)

// tracer is the operating-system thread that makes all ptrace calls for one
// target: the kernel lets only the thread that seized do the rest.
type tracer struct {
	calls chan func()
	done  chan struct{}
}

func newTracer() *tracer {
	signalStops(0)
	t := &tracer{make(chan func()), make(chan struct{})}
	go onThread(t.done, func() {
		for f := range t.calls {
			f()
		}
	})
	return t
}

// alerted counts the Tracers that want a signal for each stop.
var alerted struct {
	sync.Mutex
	tracers int
}

// signalStops counts n more of those Tracers. Without any, stops send no signal:
// procdump would have to take one for each of a thousand threads while they stand.
func signalStops(n int) {
	alerted.Lock()
	defer alerted.Unlock()
	alerted.tracers += n
	_ = ptrace.SignalStops(alerted.tracers > 0) // nothing but time depends on it
}

// onThread runs f on an operating-system thread of its own, which ends with it,
// and with it any attachment that is left.
func onThread(done chan struct{}, f func()) {
	// Not unlocked: a goroutine that ends locked ends its thread. Only the
	// process's first thread would not end: leave it to others.
	runtime.LockOSThread()
	if syscall.Gettid() == syscall.Getpid() {
		go onThread(done, f)
		<-done
		runtime.UnlockOSThread()
		return
	}
	defer close(done)
	f()
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

// letGo lets the threads go on.
func (t *tracer) letGo(held []stopped) { t.do(func() { release(held) }) }

// options implements holder.
func (t *tracer) options() int { return 0 }

// end lets the thread go, detaching what it still traces.
func (t *tracer) end() {
	close(t.calls)
	<-t.done
}
