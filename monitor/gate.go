package monitor

import (
	"os"
	"time"

	"procdump/probe/execgate"
	"procdump/target"
)

// executeWithin is how long a process that was about to execute a program is
// traced before it does: most of the time execve(2) has failed then.
const executeWithin = 3 * time.Second

// executeSoon is after how long such a process is looked at as it is: its
// tracer may have come too late for the event (see linux.BeginExecuting).
const executeSoon = 100 * time.Millisecond

// openGate begins to hold the programs that may be waited for, before their
// first instruction. Without it they are noticed just after.
func (m *monitor) openGate() {
	g, err := execgate.Open(execgate.Options{Words: m.Scope.Selector.Words(), Handle: m.held,
		Failed: func(err error) {
			m.Observer.Warning(nil, err.Error()+"; until it is there again they run before they are watched")
		}})
	if err != nil {
		m.Observer.Warning(nil, "new processes are watched within about a millisecond, not from their first instruction on: "+err.Error())
		return
	}
	m.gate = g
}

// closeGate ends the holding. It must not run in the loop.
func (m *monitor) closeGate() {
	if m.gate != nil {
		m.gate.Close()
	}
}

// held handles a process that waits at the gate, on the gate's thread: it is
// attached to and let go on. Whether it is waited for is to be seen when it has
// executed the program, before the first instruction.
func (m *monitor) held(n execgate.Newcomer) {
	if !m.wanting.Load() {
		n.Allow()
		return
	}
	if _, again := m.arrivals.LoadOrStore(n.PID, true); again {
		n.Allow() // it is traced
		return
	}
	m.attach(n.PID, n.Allow, func(t *tree, err error) { m.early(n.PID, t, err) })
}

// early notes that a tracer waits for a process to execute a program.
func (m *monitor) early(pid int, t *tree, err error) {
	if err != nil {
		m.arrivals.Delete(pid) // arrived will look at it again
		if t != nil {
			m.helpers.Go(t.close)
		}
		return
	}
	m.trees[t] = true
	t.expects = true
	look := func(expects bool) {
		m.post(func() {
			if t.expects && t.root == pid && m.trees[t] && !m.executed(pid, t) {
				if t.expects = expects; !expects {
					m.helpers.Go(func() { m.dismiss(pid, t) })
				}
			}
		})
	}
	time.AfterFunc(executeSoon, func() { look(true) })
	time.AfterFunc(executeWithin, func() { look(false) })
}

// dismiss lets a process go that turned out not to be waited for. It may
// execute another program. It must not run in the loop.
func (m *monitor) dismiss(pid int, t *tree) {
	m.release(t, pid)
	m.arrivals.Delete(pid)
}

// ours tells whether a newcomer belongs to a procdump: a child of this one, its
// keeper, or somebody else's, for which others wait.
func ours(pid int) bool { return target.Parent(pid) == os.Getpid() || execgate.IsKeeper(pid) }

// executed looks at a process that has just executed a program and has not run
// any of it. It tells whether its tracer keeps it.
func (m *monitor) executed(pid int, t *tree) bool {
	if m.watched[pid] != nil {
		m.renamed(pid)
		return true
	}
	if !t.expects || pid != t.root {
		return true
	}
	t.expects = false
	w := m.adopt(pid, t)
	return w != nil && w.tree == t
}
