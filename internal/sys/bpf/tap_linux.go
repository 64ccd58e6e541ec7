package bpf

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

const (
	// maxPID is PID_MAX_LIMIT of 64-bit machines (linux/threads.h).
	maxPID = 1 << 22
	// pidsPerWord is how many processes one entry of the watched map covers.
	pidsPerWord = 64
)

// drainEvery is how long a reader that has found something stays away before it
// looks again, until it finds nothing. Programs wake it at most once in each
// tick of the kernel's timer; because a tick is never longer (CONFIG_HZ is 100
// or more), no record waits for the next wake-up.
const drainEvery = 12 * time.Millisecond

// tapSpec is what a tap is to be like.
type tapSpec struct {
	feature string
	ring    int // bytes, a power of two
	scratch int // bytes
	limited bool
	build   builder
}

// tap is a set of programs that send records about the watched processes
// through one ring buffer.
type tap struct {
	tapSpec
	kernel kernel
	ns     pidNamespace

	watched *ebpf.Map
	state   *ebpf.Map
	ring    *ebpf.Map
	limiter *limiter // nil: everything is sent
	hooks   []*hook
	reader  *ringbuf.Reader
	method  string

	mu      sync.Mutex // the watched map
	closing chan struct{}
	once    sync.Once

	// Of the one goroutine that reads.
	record    ringbuf.Record
	deadline  time.Time // of the reader
	drained   bool      // the ring buffer was empty after the last record
	lookAgain time.Time // when drained
	boot      time.Time // when CLOCK_MONOTONIC was 0
	compared  bool      // boot is not older than the last look
}

// builder makes a program of the shape that dispatch describes.
type builder func(*assembler) (asm.Instructions, error)

// openTap loads the program and attaches it so that it sees the system calls of
// these kinds.
func openTap(spec tapSpec, kinds ...kind) (_ *tap, err error) {
	feature := spec.feature
	if len(abis) == 0 {
		return nil, unsupported(feature, "an amd64 or arm64 machine", nil)
	}
	k, err := loadKernel()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", feature, err)
	}
	// Before Linux 5.11 maps count as locked memory. Where this is refused,
	// creating a map says so.
	_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})

	t := &tap{tapSpec: spec, closing: make(chan struct{}), kernel: k}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	if err := t.makeMaps(); err != nil {
		return nil, explain(feature, err)
	}
	if t.ns, err = ownPIDNamespace(); err != nil {
		return nil, err
	}
	unseen, err := t.attachFunctions(kinds)
	if err == nil {
		t.method = "BPF at the end of the system calls concerned"
		if len(unseen) > 0 {
			t.method += ", not seen: " + strings.Join(unseen, ", ")
		}
	} else {
		why := err
		t.detach()
		if err := t.attachTo("sys_exit", ebpf.AttachTraceRawTp, nil, t.build); err != nil {
			return nil, explain(feature, err)
		}
		t.method = "BPF at the end of every system call, because " + reason(why)
	}
	t.reader, err = ringbuf.NewReader(t.ring)
	if err != nil {
		return nil, fmt.Errorf("%s: map ring buffer: %w", feature, err)
	}
	return t, nil
}

// attachFunctions attaches the program to the ends of the functions that do
// the system calls. Other system calls then cost nothing more. unseen names
// calls for which there is no function.
func (t *tap) attachFunctions(kinds []kind) (unseen []string, err error) {
	for _, b := range abis {
		skip := map[int32]bool{}
		calls := b.of(kinds...).calls
		known := func(c call) bool { _, err := t.kernel.callFunction(c); return err == nil }
		if b.compat && !slices.ContainsFunc(calls, known) {
			continue // a kernel that runs no 32-bit programs
		}
		for _, c := range calls {
			if known(c) || len(c.inner) == 0 {
				continue
			}
			for _, n := range append(c.also, c.number) {
				skip[n] = true
			}
			for _, f := range c.inner {
				if _, ok := t.kernel.prototype(f.function, f.params); !ok {
					return nil, fmt.Errorf("find %s: %w", f.function, errNoFunction)
				}
				if err := t.attachTo(f.function, ebpf.AttachTraceFExit, &f, t.build); err != nil {
					return nil, err
				}
			}
		}
		for _, c := range calls {
			name, err := t.kernel.callFunction(c)
			switch {
			case skip[c.number]:
			case err == nil:
				if err := t.attachTo(name, ebpf.AttachTraceFExit, nil, t.build); err != nil {
					return nil, err
				}
			case c.optional != "":
				unseen = append(unseen, b.name+c.optional)
			default:
				return nil, err
			}
		}
	}
	return unseen, nil
}

// reason says in short why functions cannot be tapped.
func reason(err error) string {
	if errors.Is(err, unix.EPERM) || errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, link.ErrNotSupported) {
		return "this kernel has no BPF trampolines for functions"
	}
	line, _, _ := strings.Cut(err.Error(), "\n") // the verifier says more
	return line
}

func (t *tap) makeMaps() (err error) {
	for _, m := range []struct {
		to   **ebpf.Map
		spec ebpf.MapSpec
	}{
		{&t.watched, ebpf.MapSpec{Name: "pd_watched", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: maxPID / pidsPerWord}},
		{&t.state, ebpf.MapSpec{Name: "pd_state", Type: ebpf.Array, KeySize: 4, ValueSize: stateSize, MaxEntries: 1}},
		{&t.ring, ebpf.MapSpec{Name: "pd_ring", Type: ebpf.RingBuf, MaxEntries: uint32(t.tapSpec.ring)}},
	} {
		if *m.to, err = ebpf.NewMap(&m.spec); err != nil {
			return fmt.Errorf("create BPF map: %w", err)
		}
	}
	if t.limited {
		t.limiter, err = newLimiter(t.kernel)
	}
	return err
}

// explain adds the cause and the remedy to what the kernel refused.
func explain(feature string, err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		if b, _ := os.ReadFile("/sys/kernel/security/lockdown"); strings.Contains(string(b), "[confidentiality]") {
			return fmt.Errorf("%s: kernel lockdown in confidentiality mode forbids reading kernel memory by BPF: %w", feature, err)
		}
		return fmt.Errorf("%s: needs CAP_BPF and CAP_PERFMON: run as root: %w", feature, err)
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, link.ErrNotSupported):
		return unsupported(feature, "BPF trampolines (Linux 5.8 on amd64, 6.0 on arm64, CONFIG_DYNAMIC_FTRACE)", err)
	}
	return fmt.Errorf("%s: %w", feature, err)
}

// watch turns the watching of one process on or off.
func (t *tap) watch(pid int, on bool) error {
	if pid <= 0 || pid >= maxPID {
		return fmt.Errorf("watch process %d: no such process number", pid)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	key, word := uint32(pid/pidsPerWord), uint64(0)
	if err := t.watched.Lookup(key, &word); err != nil {
		return fmt.Errorf("watch process %d: %w", pid, err)
	}
	bit := uint64(1) << (pid % pidsPerWord)
	if on {
		word |= bit
	} else {
		word &^= bit
	}
	if err := t.watched.Put(key, word); err != nil {
		return fmt.Errorf("watch process %d: %w", pid, err)
	}
	return nil
}

// next returns the next record, or ErrTimeout if there is none until then;
// the zero time waits for ever. The record is valid until the next call.
func (t *tap) next(until time.Time) ([]byte, error) {
	for {
		deadline := until
		if t.drained {
			// To stay away for a while lets the programs fill the buffer
			// undisturbed, and takes many records at once.
			if err := t.pause(t.lookAgain); err != nil {
				return nil, err
			}
			deadline = time.Unix(0, 0) // only look
		}
		if !deadline.Equal(t.deadline) {
			t.reader.SetDeadline(deadline)
			t.deadline = deadline
		}
		err := t.reader.ReadInto(&t.record)
		switch {
		case err == nil:
			if t.drained = t.record.Remaining == 0; t.drained {
				t.lookAgain = time.Now().Add(drainEvery)
				t.compared = false
			}
			return t.record.RawSample, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			t.drained = false
			if !until.IsZero() && !time.Now().Before(until) {
				return nil, ErrTimeout
			}
		case errors.Is(err, os.ErrClosed), errors.Is(err, ringbuf.ErrClosed):
			return nil, ErrClosed
		default:
			return nil, fmt.Errorf("read ring buffer: %w", err)
		}
	}
}

// pause waits until then, or for the closing.
func (t *tap) pause(until time.Time) error {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-t.closing:
		return ErrClosed
	}
}

// clockSlack is how far the two clocks may drift apart before they are set
// against each other anew. Without it, two records of the same moment could
// come out in the wrong order.
const clockSlack = 2 * time.Millisecond

// wall turns CLOCK_MONOTONIC into a time of day. The two are compared once in
// each look into the ring buffer.
func (t *tap) wall(monotonic uint64) time.Time {
	if !t.compared {
		var ts unix.Timespec
		if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) == nil {
			boot := time.Now().Round(0).Add(-time.Duration(ts.Nano()))
			if boot.Sub(t.boot).Abs() > clockSlack {
				t.boot = boot
			}
			t.compared = true
		}
	}
	return t.boot.Add(time.Duration(monotonic))
}

// lost returns how many records the programs did not send: beyond the limit,
// because the ring buffer was full, or because a program was interrupted by
// itself.
func (t *tap) lost() uint64 {
	var s [stateSize / 8]uint64
	if err := t.state.Lookup(uint32(0), &s); err != nil {
		return 0
	}
	n := s[stateLost/8]
	if t.limiter != nil {
		n += t.limiter.lost()
	}
	for _, h := range t.hooks {
		// Counted since Linux 5.12.
		if st, err := h.prog.Stats(); err == nil {
			n += st.RecursionMisses
		}
	}
	return n
}

// detach removes all programs.
func (t *tap) detach() {
	for _, h := range t.hooks {
		h.close()
	}
	t.hooks = nil
}

func (t *tap) close() {
	t.once.Do(t.release)
}

func (t *tap) release() {
	close(t.closing)
	t.detach()
	if t.reader != nil {
		_ = t.reader.Close()
	}
	if t.limiter != nil {
		t.limiter.close()
	}
	for _, m := range []*ebpf.Map{t.watched, t.state, t.ring} {
		if m != nil {
			_ = m.Close()
		}
	}
}
