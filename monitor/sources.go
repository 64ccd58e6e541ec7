package monitor

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"procdump/probe/execgate"
	"procdump/probe/images"
	"procdump/probe/output"
	"procdump/probe/procevent"
	"procdump/target"
)

// sources are what all processes share.
type sources struct {
	output     *output.Source
	lostOutput uint64 // writes that it lost, as told
	missed     uint64 // of these, those that were not looked at
	lostTold   time.Time
	processes  *procevent.Source
	gate       *execgate.Gate  // holds programs that appear; nil: none
	spares     chan *tree      // tracers that trace nothing yet
	matcher    *target.Matcher // of processes that appear
	arrivals   sync.Map        // PIDs of processes that are, or were, traced
}

// spareTrees is how many tracers are kept ready for processes that appear: to
// start a thread takes longer than some of them live.
const spareTrees = 64

// spareProcessors is how many of its processors Go must have beside those that
// dumps keep busy: the threads that notice and attach to new processes wait for
// none then.
const spareProcessors = 12

// open opens what the rules and the scope need, so that what cannot work is
// said at the start.
func (m *monitor) open(ctx context.Context) error {
	if m.Rules.Output {
		o, err := output.Open()
		if err != nil {
			return fmt.Errorf("-l: %w", err)
		}
		m.output = o
		m.helpers.Go(m.readOutput)
	}
	// Of a traced tree its tracer tells what is new.
	if m.waiting || m.Scope.Tree && !m.Rules.Traced() {
		return m.openProcesses()
	}
	return nil
}

func (m *monitor) close() {
	if m.output != nil {
		m.tellLost(time.Now(), true)
		m.output.Close()
	}
	m.closeGate()
	if m.processes != nil {
		_ = m.processes.Close()
	}
}

// openProcesses begins to notice new processes. Those that came between the
// listing and now are looked for once.
func (m *monitor) openProcesses() error {
	m.matcher = m.Scope.Selector.Matcher()
	early := m.waiting && m.Rules.Begins()
	p, err := procevent.Open(procevent.Options{Fork: m.Scope.Tree || m.Scope.Follow, Exit: early || m.Rules.Traced(), Handle: m.appeared})
	if err != nil {
		return err
	}
	m.processes = p
	if early || m.Rules.Traced() {
		runtime.GOMAXPROCS(runtime.NumCPU() + spareProcessors)
		m.helpers.Go(m.keepSpares)
	}
	if method := p.Method(); strings.HasPrefix(method, "polling") {
		m.Observer.Warning(nil, "new processes are noticed by "+method)
	}
	if early {
		m.openGate()
	}
	m.helpers.Go(m.follow)
	return nil
}

// appeared handles an event on the thread that listens for them: a process that
// has to be traced is attached to at once, wherever other goroutines are. It
// tells whether the event also goes to follow.
func (m *monitor) appeared(e procevent.Event) bool {
	switch {
	case e.Kind == procevent.Exit:
		m.arrivals.Delete(e.PID)
	case e.Kind == procevent.Exec && m.Rules.Traced():
		m.arrived(e.PID)
	case e.Kind == procevent.Fork && m.Rules.Traced() && m.Scope.Follow:
		m.arrived(e.PID)
	default:
		return true
	}
	return e.Kind == procevent.Exec
}

// follow watches processes as they appear.
func (m *monitor) follow() {
	m.rescan()
	for e := range m.processes.Events() {
		switch e.Kind {
		case procevent.Lost:
			m.rescan()
		case procevent.Fork:
			if m.Rules.Traced() {
				break // appeared has seen to it, or the parent's tracer
			}
			if m.Scope.Follow {
				m.arrived(e.PID)
			}
			if m.Scope.Tree {
				m.post(func() {
					if m.watched[e.Parent] != nil {
						m.addPID(e.PID, nil)
					}
				})
			}
		case procevent.Exec:
			if !m.Rules.Traced() {
				m.arrived(e.PID)
			}
			m.post(func() { m.renamed(e.PID) })
		}
	}
}

// rescan looks at every process there is.
func (m *monitor) rescan() {
	if m.Scope.Tree && !m.Rules.Traced() {
		m.post(func() {
			for pid := range m.watched {
				for _, child := range target.Children(pid) {
					m.addPID(child, nil)
				}
			}
		})
	}
	if !m.Scope.Follow && !m.Scope.Wait {
		return
	}
	found, err := m.matcher.Find()
	if err != nil {
		return // none, at present
	}
	for _, p := range found {
		m.arrived(p.PID)
	}
}

// arrived watches a process if it is one that is waited for.
func (m *monitor) arrived(pid int) {
	if !m.wanting.Load() || !m.matcher.Possible(pid) || ours(pid) {
		return
	}
	if !m.Rules.Traced() {
		m.post(func() { m.adopt(pid, nil) })
		return
	}
	if _, again := m.arrivals.LoadOrStore(pid, true); !again {
		// Then the loop looks whether it is one that is waited for.
		m.attach(pid, nil, func(t *tree, err error) { m.seized(pid, t, err) })
	}
}

// adopt watches a process that has appeared, if it is one that is waited for;
// t traces it already, or is nil.
func (m *monitor) adopt(pid int, t *tree) *watched {
	if w := m.watched[pid]; w != nil || !m.waiting {
		return w
	}
	p, ok := m.matcher.Match(pid)
	if !ok {
		return nil
	}
	return m.add(p, t)
}

// seized adopts a process that has been attached to because it might be one that
// is waited for. It is let go if it is none.
func (m *monitor) seized(pid int, t *tree, err error) {
	if err != nil {
		m.arrivals.Delete(pid)
		if p, ok := m.matcher.Match(pid); ok && !isGone(err) {
			m.refused(p, err)
		}
		if t != nil {
			m.helpers.Go(t.close)
		}
		return
	}
	if w := m.adopt(pid, t); w == nil || w.tree != t {
		if w == nil {
			m.arrivals.Delete(pid) // it may execute another program
		}
		if t.users == 0 && !m.trees[t] {
			m.trees[t] = true
			m.helpers.Go(func() { m.release(t, pid) })
		}
	}
}

// refused reports a process that cannot be watched, unless it has just ended, is
// not wanted any more, or is followed by its parent's tracer already.
func (m *monitor) refused(p target.Process, err error) {
	if m.Scope.newcomers() {
		if now, gerr := target.Get(p.PID); errors.Is(gerr, target.ErrNotFound) || now.Zombie || !m.waiting && !m.Scope.Tree {
			return
		}
	}
	if m.Rules.Traced() && tracedByUs(p.PID) {
		return
	}
	m.fail(&p, err)
}

// readOutput shows what processes write, and takes the dumps that are due for it.
func (m *monitor) readOutput() {
	const most = 256
	lines := m.output.Lines()
	for line := range lines {
		batch := append(make([]output.Line, 0, min(most, len(lines)+1)), line)
		for len(batch) < most && len(lines) > 0 {
			if line, ok := <-lines; ok {
				batch = append(batch, line)
			}
		}
		m.post(func() {
			for _, line := range batch {
				m.wrote(line)
			}
		})
	}
}

// lostEvery is how often output that could not be shown is told at most.
const lostEvery = 5 * time.Second

// tellLost says how much output was not shown since it was said last.
func (m *monitor) tellLost(now time.Time, always bool) {
	if m.output == nil || !always && now.Sub(m.lostTold) < lostEvery {
		return
	}
	m.lostTold = now
	if lost, missed := m.output.Lost(), m.output.Missed(); lost > m.lostOutput {
		m.Observer.Warning(nil, lostText(lost-m.lostOutput, missed-min(missed, m.missed)))
		m.lostOutput, m.missed = lost, missed
	}
}

// lostText says how many writes were lost, of which some were not looked at.
func lostText(lost, missed uint64) string {
	text := fmt.Sprintf("%d writes are not shown: more came than is read of a process", lost)
	if missed > 0 {
		text += fmt.Sprintf("; %d of them, to whatever file, were not looked at, so as not to slow it down", missed)
	}
	return text
}

func (m *monitor) wrote(line output.Line) {
	w := m.watched[line.PID]
	if w == nil || w.standIn {
		return
	}
	stream := map[int]string{1: "stdout", 2: "stderr"}[line.FD]
	if line.Syslog {
		stream = "syslog"
	}
	text := fmt.Sprintf("Output (%s): %s", stream, line.Text)
	m.Observer.Event(w.p, text)
	if m.Rules.filtered() && m.Rules.Filter.Match(line.Text) {
		m.start(w, &Due{Reason: text, Code: "OUTPUT", Shown: true})
	}
}

// watchImages begins to notice the images that a process maps and unmaps.
func (m *monitor) watchImages(w *watched) error {
	if !m.Rules.Mapped && !m.Rules.Unmapped {
		return nil
	}
	i, err := images.Open(w.p.PID)
	if err != nil {
		return err
	}
	w.closers = append(w.closers, i.Close)
	m.helpers.Go(func() {
		for e := range i.Events() {
			m.post(func() { m.mapped(w, e) })
		}
	})
	return nil
}

func (m *monitor) mapped(w *watched, e images.Event) {
	what, code := "Image mapped: ", "IMAGE_MAPPED"
	if e.Kind == images.Unmapped {
		what, code = "Image unmapped: ", "IMAGE_UNMAPPED"
	}
	if m.watched[w.p.PID] != w || w.standIn || e.Kind == images.Unmapped && !m.Rules.Unmapped || e.Kind == images.Mapped && !m.Rules.Mapped {
		return
	}
	text := fmt.Sprintf("%s%s at %#x", what, e.Path, e.Addr)
	m.Observer.Event(w.p, text)
	if m.Rules.Filter.Match(e.Path) {
		m.start(w, &Due{Reason: text, Code: code, Shown: true})
	}
}
