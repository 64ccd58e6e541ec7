package linux

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// everything is what a tracer can be asked to report without first chance.
var everything = TraceOptions{Children: true, Unhandled: true, ExitEvents: true, ThreadEvents: true, ExecEvents: true}

// traceHelper traces the processes given until it is killed, or its stdin ends.
func traceHelper(mode string) int {
	o := everything
	if mode == "chatty" { // a thread is always being handled
		o.Signals = Signals(countSignal)
	}
	tracer, err := NewTracer(o, func(e *TraceEvent) {
		if e.Kind == EventSignal {
			time.Sleep(3 * time.Millisecond)
		}
	})
	for _, arg := range os.Args[1:] {
		pid, _ := strconv.Atoi(arg)
		if err == nil {
			err = tracer.Attach(pid)
		}
	}
	fmt.Println("ready", err)
	io.Copy(io.Discard, os.Stdin)
	tracer.Close()
	return 0
}

// startHelper runs the test binary as a tracer of its own.
func startHelper(t *testing.T, mode string, pids []int) *exec.Cmd {
	t.Helper()
	c := exec.Command("/proc/self/exe")
	for _, pid := range pids {
		c.Args = append(c.Args, strconv.Itoa(pid))
	}
	c.Env = append(os.Environ(), "TRACE_HELPER="+mode)
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); c.Process.Kill(); c.Wait() })
	line, _ := bufio.NewReader(out).ReadString('\n')
	if strings.TrimSpace(line) != "ready <nil>" {
		t.Fatalf("helper says %q", line)
	}
	return c
}

// countSignal is the signal that "traced count" counts: SIGRTMIN+3 of glibc.
const countSignal = 37

// queue sends a queued signal, and waits while the target's queue is full.
func queue(pid, sig int) error {
	var info [siginfoSize]byte
	*(*int32)(unsafe.Pointer(&info[0])) = int32(sig)
	*(*int32)(unsafe.Pointer(&info[8])) = -1 // SI_QUEUE
	for deadline := time.Now().Add(patience); ; {
		_, _, e := syscall.Syscall(syscall.SYS_RT_SIGQUEUEINFO, uintptr(pid), uintptr(sig), uintptr(unsafe.Pointer(&info[0])))
		switch {
		case e == 0:
			return nil
		case e != syscall.EAGAIN || time.Now().After(deadline):
			return e
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// free fails if a process is still traced, or does not run.
func free(t *testing.T, pid int) {
	t.Helper()
	ids, err := tids(pid)
	if err != nil {
		t.Error(err)
	}
	for _, tid := range ids {
		st, err := readStat(procPath(pid, "task", strconv.Itoa(tid), "stat"))
		if tracer := tracerPID(t, tid); err != nil || tracer != "0" || st.state == 't' || st.state == 'T' {
			t.Errorf("thread %d of %d: state %c, traced by %s, %v", tid, pid, st.state, tracer, err)
		}
	}
}

// TestTracerEnds ends the tracer in every way while 50 processes run and take
// signals: none stays stopped, and none loses a signal.
func TestTracerEnds(t *testing.T) {
	const (
		processes = 50
		signals   = 200
	)
	for _, way := range []string{"close", "chatty kill", "quiet kill", "detach"} {
		t.Run(way, func(t *testing.T) {
			actors := make([]*actor, processes)
			var pids []int
			for i := range actors {
				mode := []string{"count", strconv.Itoa(signals)}
				if i%5 == 4 {
					mode = []string{"threads-pause", "3"}
				}
				actors[i] = startActor(t, "", mode...)
				pids = append(pids, actors[i].PID)
			}
			var end func()
			switch kind, how, _ := strings.Cut(way, " "); {
			case how == "kill":
				helper := startHelper(t, kind, pids)
				end = func() { helper.Process.Kill(); helper.Wait() }
			default:
				r := newRecorder(t, everything)
				for _, pid := range pids {
					r.attach(t, pid)
				}
				end = r.Close
				if way == "detach" {
					end = func() {
						for _, pid := range pids {
							r.Detach(pid)
						}
						if n := r.Following(); len(n) > 0 {
							t.Errorf("still following %v", n)
						}
					}
				}
			}
			var senders sync.WaitGroup
			for i, a := range actors {
				a.tell(t)
				if i%5 == 4 {
					a.line(t, "paused")
					continue
				}
				a.line(t, "counting")
				senders.Go(func() {
					for range signals {
						if err := queue(a.PID, countSignal); err != nil {
							t.Errorf("send to %d: %v", a.PID, err)
							return
						}
					}
				})
			}
			time.Sleep(20 * time.Millisecond) // in the middle of it
			end()
			for i, a := range actors {
				if i%5 == 4 {
					free(t, a.PID)
				}
			}
			senders.Wait()
			for i, a := range actors {
				if i%5 == 4 {
					continue
				}
				if n := a.number(t, "counted"); n != signals {
					t.Errorf("process %d counted %d signals, want %d", a.PID, n, signals)
				}
				if s := a.number(t, "status"); s != 0 {
					t.Errorf("process %d ended with %#x", a.PID, s)
				}
			}
		})
	}
}
