package monitor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"procdump/capture"
	"procdump/probe/counter"
	"procdump/probe/execgate"
	"procdump/probe/hang"
	"procdump/probe/proc"
	"procdump/target"
	"procdump/trigger"
)

// monitor is the state of a Run. All of it belongs to the goroutine of loop,
// which others ask by post and ask.
type monitor struct {
	Config
	ctx     context.Context
	cancel  func() // ends all, with ErrCancelled
	watched map[int]*watched
	outcome Outcome
	limits  trigger.Limiter[target.ID]
	shown   time.Time      // the view was told
	waiting bool           // for processes that do not exist yet
	wanting atomic.Bool    // the same, for other goroutines
	trees   map[*tree]bool // that trace something
	ends    bool           // a process ended before it had its dumps

	unannounced bool // -cancel does not find all that is watched, and that is told

	posts chan func()
	quit  chan struct{} // closed when loop is over
	// slots are the dumps that are taken at a time. What a signal or an exit
	// demands waits for one too: its thread stands meanwhile.
	slots   chan struct{}
	dumping sync.WaitGroup
	late    sync.Mutex // of dumps that end after the loop
	helpers sync.WaitGroup

	counters
	sources
}

// Run watches until every dump that was asked for is written, no process is
// left, or ctx ends. It returns when everything that it watched is let go.
func Run(ctx context.Context, c Config) Outcome {
	ctx, cancel := context.WithCancelCause(ctx)
	m := &monitor{Config: c, ctx: ctx, watched: map[int]*watched{},
		limits: trigger.Limiter[target.ID]{PerProcess: c.Limits.PerProcess, Total: c.Limits.Total, Cooldown: c.Limits.Cooldown},
		posts:  make(chan func(), 4096), quit: make(chan struct{}), slots: make(chan struct{}, cmp.Or(c.Parallel, capture.Parallel()))}
	m.spares = make(chan *tree, spareTrees)
	m.cancel = func() { cancel(ErrCancelled) }
	m.waiting = c.Scope.Follow || c.Scope.Wait && len(c.Scope.Processes) == 0
	m.wanting.Store(m.waiting)
	m.trees = map[*tree]bool{}
	err := m.openCounters()
	if err == nil {
		err = m.open(ctx)
	}
	if err == nil {
		m.begin()
		m.loop()
	} else {
		m.fail(nil, err)
	}
	// What is under way is a dump of a process that goes on being watched, or
	// one that ctx has ended.
	close(m.quit)
	m.dumping.Wait()
	m.drain()
	if ctx.Err() != nil {
		m.note(context.Cause(ctx))
	}
	for _, w := range m.watched {
		m.letGo(w)
	}
	for t := range m.trees {
		m.helpers.Go(t.close)
	}
	cancel(nil)
	m.closeCounters()
	if m.Scope.Held != nil {
		m.Scope.Held.Abandon()
	}
	m.close()
	m.helpers.Wait()
	close(m.spares)
	for t := range m.spares {
		t.close()
	}
	m.outcome.Dumps = m.limits.WrittenTotal()
	// What others ended without does not matter where the count is of all.
	if m.ends && !m.limits.Done() && !(m.Scope.Tree && m.outcome.Dumps > 0) {
		m.outcome.Errors = append(m.outcome.Errors, ErrEnded)
	}
	return m.outcome
}

// drain runs what dumps that just ended have posted.
func (m *monitor) drain() {
	for {
		select {
		case f := <-m.posts:
			f()
		default:
			return
		}
	}
}

// isGone tells whether an error says that the process has ended.
func isGone(err error) bool {
	return errors.Is(err, ErrGone) || errors.Is(err, proc.ErrGone) || errors.Is(err, hang.ErrGone) || errors.Is(err, counter.ErrGone)
}

// begin watches the processes that are there.
func (m *monitor) begin() {
	if m.Scope.Child != nil {
		m.launched()
		return
	}
	if m.waiting && len(m.Scope.Processes) == 0 {
		m.Observer.Note(fmt.Sprintf("Waiting for process named %s...", m.Scope.Selector))
	}
	for _, p := range m.Scope.Processes {
		m.add(p, nil)
		if m.Scope.Tree {
			for _, pid := range target.Children(p.PID) {
				m.addPID(pid, nil)
			}
		}
	}
}

func (m *monitor) loop() {
	period := m.period()
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for !m.over() {
		select {
		case <-m.ctx.Done():
			return
		case f := <-m.posts:
			f()
		case <-ticker.C:
			m.sample()
			m.tellLost(time.Now(), false)
			m.show(time.Now())
			if next := m.period(); next != period {
				period = next
				ticker.Reset(period)
			}
		}
	}
}

// The periods of sampling: often where there are few processes, so that a burst
// is seen as long as it is.
const (
	fastPeriod = 250 * time.Millisecond
	slowPeriod = time.Second
	manyTasks  = 100 // processes from which on the slow one is used
)

func (m *monitor) period() time.Duration {
	switch {
	case m.Rules.Period > 0:
		return m.Rules.Period
	case len(m.watched) >= manyTasks:
		return slowPeriod
	}
	return fastPeriod
}

// over tells whether there is nothing left to do.
func (m *monitor) over() bool {
	if m.limits.Done() {
		return true
	}
	if len(m.watched) > 0 || len(m.trees) > 0 {
		return false
	}
	if m.waiting && (!m.Scope.Follow || !m.Scope.UntilEmpty) {
		return false
	}
	return true
}

// post makes the loop run f. It reports false when the loop is over.
func (m *monitor) post(f func()) bool {
	select {
	case m.posts <- f:
		return true
	case <-m.quit:
		return false
	}
}

// ask makes the loop run f and waits for it.
func (m *monitor) ask(f func()) bool {
	done := make(chan struct{})
	if !m.post(func() { f(); close(done) }) {
		return false
	}
	select {
	case <-done:
		return true
	case <-m.quit:
	}
	select {
	case <-done:
		return true // just before the end: what it has begun must be done
	default:
		return false
	}
}

// fail records an error and shows it.
func (m *monitor) fail(p *target.Process, err error) {
	m.Observer.Failed(p, err)
	m.note(err)
}

// note records an error that has been shown.
func (m *monitor) note(err error) {
	switch {
	case errors.Is(err, ErrEnded):
		m.ends = true
	case err != nil && (len(m.outcome.Errors) < maxErrors || errors.Is(err, ErrCancelled)):
		m.outcome.Errors = append(m.outcome.Errors, err)
	}
}

// launched watches the program that was launched, and lets it run.
func (m *monitor) launched() {
	p, err := target.Get(m.Scope.Child.PID)
	if err != nil && !errors.Is(err, target.ErrNotFound) {
		m.fail(nil, err)
		return
	}
	if err != nil {
		m.note(ErrEnded)
		m.Observer.Exited(target.Process{PID: m.Scope.Child.PID, Name: filepath.Base(m.Scope.Child.Program)}, "")
		return
	}
	h := m.Scope.Held
	if h != nil {
		p.Name, p.Exe, p.Args = filepath.Base(h.Program), h.Program, nil
	}
	w := m.add(p, nil)
	if h == nil || w == nil {
		return
	}
	w.standIn = true
	m.waiting = true // for the program itself
	m.helpers.Go(func() {
		// It returns when the program has been executed, which a tracer tells
		// before: not in the loop.
		err := h.Release()
		m.post(func() {
			m.waiting = false
			if err == nil {
				m.renamed(p.PID)
				return
			}
			if m.watched[p.PID] == w {
				delete(m.watched, p.PID)
				m.letGo(w)
			}
			m.fail(nil, err)
		})
	})
}

// addPID watches a process of which only the number is known.
func (m *monitor) addPID(pid int, t *tree) *watched {
	p, err := target.Get(pid)
	switch {
	case err == nil:
		return m.add(p, t)
	case !errors.Is(err, target.ErrNotFound): // else it has ended
		m.fail(&target.Process{PID: pid}, err)
	}
	return nil
}

// add begins to watch a process, with a tracer that follows it already or nil.
func (m *monitor) add(p target.Process, t *tree) *watched {
	if w := m.watched[p.PID]; w != nil {
		return w
	}
	if m.limits.ProcessDone(identify(p)) || t != nil && t.rootGone && p.PID == t.root {
		return nil // it has all its dumps, or ended before its turn
	}
	if execgate.IsKeeper(p.PID) {
		return nil // everybody would wait for it
	}
	if t == nil && m.Rules.Traced() {
		if _, again := m.arrivals.LoadOrStore(p.PID, true); again {
			return nil // it is being added since it appeared
		}
	}
	w, err := m.watch(p, t)
	if err != nil {
		if !isGone(err) {
			m.refused(p, err)
		} else if len(m.watched) == 0 && !m.waiting {
			m.Observer.Exited(p, "")
			m.note(ErrEnded)
		}
		return nil
	}
	m.watched[p.PID] = w
	if m.Scope.Wait && !m.Scope.Follow {
		m.waiting = false
		m.wanting.Store(false)
		m.helpers.Go(m.closeGate)
	}
	m.Observer.Watching(p)
	if !m.Rules.Any() {
		m.start(w, &Due{Reason: m.timedReason(w)})
	}
	return w
}

func (m *monitor) timedReason(w *watched) string {
	if m.Limits.PerProcess > 1 {
		return fmt.Sprintf("Timed: dump %d of %d, every %v", m.limits.Written(identify(w.p))+1, m.Limits.PerProcess, m.Rules.Interval)
	}
	return "Manual dump"
}

// ended forgets a process that is gone.
func (m *monitor) ended(w *watched, status string) {
	if m.watched[w.p.PID] != w {
		return
	}
	if w.dumping {
		w.gone, w.status = true, status
		return // told when the dump is done
	}
	delete(m.watched, w.p.PID)
	m.letGo(w)
	if w.standIn {
		return // the launch reports why
	}
	m.limits.Forget(identify(w.p))
	m.Observer.Exited(w.p, status)
	if !m.Scope.Follow {
		m.note(ErrEnded)
	}
}

// done stops watching a process that has all its dumps.
func (m *monitor) done(w *watched) {
	delete(m.watched, w.p.PID)
	m.letGo(w)
}
