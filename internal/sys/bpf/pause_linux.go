package bpf

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// That a program is attached costs every system call that it sees some 20 to
// 50 ns, even if it does nothing. To a process that does nothing but write(2)
// that is a quarter of its time and more, whatever is read of it. When each of
// the watched processes writes that much, the programs that see it are therefore
// detached for a second, but for some hundredths of it; what is written
// meanwhile is counted by the kernel. As long as one watched process writes
// less, they stay attached.
const (
	// pauseSkips is how many writes of a process that are not read, within
	// pauseWindow, are too many: they cost it a hundredth of that time.
	pauseSkips  = 4 * UnitsPerSecond
	pauseWindow = time.Second
	// pauseFor is how long the programs are detached, if the process writes on
	// as fast.
	pauseFor = time.Second
	// againFor is how long a process is not given pauseSkips after that.
	againFor = 250 * time.Millisecond
	// pauseTick is how often it is looked, while something is written.
	pauseTick = 5 * time.Millisecond
	// pauseIdle is after how many of them without anything that ends.
	pauseIdle = 200
	// noteTries is how often it is looked, and noteEvery how long in between,
	// whether the programs have noted the drift.
	noteTries = 40
	noteEvery = 50 * time.Microsecond
)

// pauser detaches and attaches the programs of a tap.
type pauser struct {
	tap   *tap
	exits *hook // notes the drift of processes that end; nil: nothing is ever detached

	mu     sync.Mutex
	flows  []*flow
	shared map[int]int // how many flows have this account
	paused []*hook
	open   bool      // some flow has a gap that is not yet in missed
	until  time.Time // they are attached again then
	looked time.Time // at the paused processes
	missed uint64    // writes while they were detached, of gaps that are closed
	lost   uint64    // when it was closed
	closed bool

	busy, idle atomic.Bool
	kick, done chan struct{}
	ended      chan struct{}
}

func newPauser(t *tap) (*pauser, error) {
	p := &pauser{tap: t, shared: map[int]int{}, kick: make(chan struct{}, 1), done: make(chan struct{}), ended: make(chan struct{})}
	if t.limiter.drifts {
		var err error
		if p.exits, err = t.load("sched_process_exit", ebpf.AttachTraceRawTp, nil, buildExitCount); err != nil {
			return nil, err
		}
	}
	go p.run()
	return p, nil
}

// run looks at the processes while something is read of them.
func (p *pauser) run() {
	defer close(p.ended)
	ticker := time.NewTicker(pauseTick)
	defer ticker.Stop()
	for quiet := 0; ; {
		select {
		case <-ticker.C:
		case <-p.kick:
			ticker.Reset(pauseTick)
		case <-p.done:
			return
		}
		if p.look(time.Now()) || p.busy.Swap(false) {
			quiet = 0
		} else if quiet++; quiet == pauseIdle {
			quiet = 0
			ticker.Stop()
			p.idle.Store(true)
		}
	}
}

// read says that something was read.
func (p *pauser) read() {
	if !p.busy.Load() {
		p.busy.Store(true)
	}
	if p.idle.Load() && p.idle.Swap(false) {
		p.kick <- struct{}{}
	}
}

// watch turns the watching of one process on or off.
func (p *pauser) watch(pid int, on bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	if on {
		// One that does not write too much.
		if err := p.resume(time.Now()); err != nil {
			return err
		}
	}
	if err := p.tap.watch(pid, on); err != nil {
		return err
	}
	i := slices.IndexFunc(p.flows, func(f *flow) bool { return f.pid == pid })
	switch {
	case on && i < 0:
		p.flows = append(p.flows, &flow{pid: pid})
		p.shared[pid&(accounts-1)]++
	case !on && i >= 0:
		p.missed += p.gap(p.flows[i])
		p.flows[i].close()
		p.flows = slices.Delete(p.flows, i, i+1)
		if p.shared[pid&(accounts-1)]--; p.shared[pid&(accounts-1)] == 0 {
			delete(p.shared, pid&(accounts-1))
		}
		if len(p.flows) == 0 {
			return p.resume(time.Now())
		}
	}
	return nil
}

// counts returns how many records and writes are missing, and how many of these
// were written while no program was attached.
func (p *pauser) counts() (lost, missed uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	missed = p.missed
	if p.closed {
		return p.lost, missed
	}
	if p.open {
		for _, f := range p.flows {
			missed += p.gap(f)
		}
	}
	return p.tap.lost() + missed, missed
}

// look attaches and detaches the programs as is due. It tells whether it has to
// look again.
func (p *pauser) look(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.paused) > 0 {
		if !now.Before(p.until) || !p.stillFlooding(now) {
			_ = p.resume(now) // or at the next look
		}
		return true
	}
	if p.open {
		for _, f := range p.flows {
			p.missed += p.gap(f)
			f.begun = false
		}
		p.open = false
	}
	if p.exits == nil || len(p.flows) == 0 {
		return false
	}
	var used unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &used) != nil {
		return false
	}
	for i, f := range p.flows {
		if p.shared[f.pid&(accounts-1)] > 1 || !f.floods(p.tap.limiter, now, used.Nano()) {
			// The next time it will be the first to be looked at.
			p.flows[0], p.flows[i] = p.flows[i], p.flows[0]
			return false
		}
	}
	p.pause()
	return true
}

// pause detaches the programs that see the writes of the processes.
func (p *pauser) pause() {
	l := p.tap.limiter
	for _, f := range p.flows {
		l.word(f.pid, accDrift).Store(0)
	}
	noted := func(f *flow) bool {
		f.noted = l.word(f.pid, accDrift).Load()
		return f.noted != 0
	}
	for try := 0; ; try++ {
		i := slices.IndexFunc(p.flows, func(f *flow) bool { return !noted(f) })
		if i < 0 {
			break
		}
		if try == noteTries {
			return // it does not write at present
		}
		time.Sleep(noteEvery)
	}
	// Before anything can end unseen.
	if p.exits.attach() != nil {
		return
	}
	for _, f := range p.flows {
		p.detach(f)
	}
	for _, f := range p.flows {
		f.begin(l)
	}
	p.open = true
	p.looked = time.Now() // it may have taken long
	p.until = p.looked.Add(pauseFor)
}

// detach detaches the program that has counted the last write of a process.
func (p *pauser) detach(f *flow) {
	l := p.tap.limiter
	f.base = l.word(f.pid, accSkipped).Load()
	if h := p.tap.hooks[uint32(l.word(f.pid, accProgram).Load())]; h.link != nil {
		h.detach()
		p.paused = append(p.paused, h)
	}
}

// lookEvery is how often the paused processes are looked at.
const lookEvery = 4 * pauseTick

// stillFlooding tells whether none of the paused processes writes less than is
// read of a process.
func (p *pauser) stillFlooding(now time.Time) bool {
	l := p.tap.limiter
	took := now.Sub(p.looked)
	for _, f := range p.flows {
		// What a program noted that was still running when it was detached.
		l.word(f.pid, accDrift).CompareAndSwap(f.noted, 0)
		if l.word(f.pid, accSkipped).Load()-f.base > 0 {
			p.detach(f) // it goes on with another system call
		}
	}
	if took < lookEvery {
		return true
	}
	p.looked = now
	least := int64(took) * UnitsPerSecond / int64(time.Second)
	for _, f := range p.flows {
		before := f.pace
		if f.count() && f.calls-before < least {
			return false
		}
		f.pace = f.calls
	}
	return true
}

// resume attaches the programs again, if they are not.
func (p *pauser) resume(now time.Time) error {
	if len(p.paused) == 0 {
		return nil
	}
	l := p.tap.limiter
	for _, f := range p.flows {
		if !f.exact {
			p.missed += p.gap(f)
			f.begin(l) // should attaching fail
		}
		if w := l.word(f.pid, accDrift); w.Load() == driftUnknown || w.Load() == f.noted {
			w.Store(0)
		}
	}
	for len(p.paused) > 0 {
		if err := p.paused[0].attachAgain(); err != nil {
			return err
		}
		p.paused = p.paused[1:]
	}
	p.exits.detach()
	for _, f := range p.flows {
		f.begun = f.begun && f.exact // its gap ends with its next write
		f.from, f.base, f.again, f.suspect = now, l.word(f.pid, accSkipped).Load(), now.Add(againFor), false
	}
	return nil
}

// gap is how many writes of a process no program has seen since they were
// detached.
func (p *pauser) gap(f *flow) uint64 {
	if !f.begun {
		return 0
	}
	l := p.tap.limiter
	drift := l.word(f.pid, accDrift).Load()
	if f.exact && drift&1 != 0 && drift != f.noted {
		return uint64(max(0, int64(drift)>>1-f.drift))
	}
	f.count()
	return uint64(max(0, f.calls-l.seen(f.pid)-f.drift))
}

// close attaches nothing again.
func (p *pauser) close() {
	close(p.done)
	<-p.ended
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.flows {
		p.missed += p.gap(f)
		f.close()
	}
	p.lost = p.tap.lost() + p.missed
	p.flows, p.paused, p.closed = nil, nil, true
	if p.exits != nil {
		p.exits.close()
	}
}

// mostUsed is up to when a process has used what it may.
func (l *limiter) mostUsed(pid int) int64 {
	var most uint64
	for stream := range uintptr(3) {
		most = max(most, l.word(pid, accUsed+8*stream).Load())
	}
	return int64(most)
}
