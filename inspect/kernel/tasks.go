package kernel

import (
	"cmp"
	"slices"
	"strings"

	"procdump/kernel/layout"
)

const (
	// maxTasks bounds the tasks of a report.
	maxTasks = 100_000
	// maxStacks bounds the different stacks that are kept.
	maxStacks = 5000
)

// stateOrder is the order in which groups of tasks are shown: those that hang
// first. States that it does not name come last.
const stateOrder = "DRTtSZPIX"

// tasks lists the tasks that do not run, grouped by state and stack.
func (l *linux) tasks() {
	t := &Tasks{States: make(map[string]int)}
	groups := make(map[string]*TaskGroup)
	l.hung = make(map[int]*TaskGroup)
	current := make(map[int]bool) // PIDs of what the processors ran
	for _, p := range l.r.Processors {
		if p.Task != nil && p.Task.PID != 0 {
			current[p.Task.PID] = true
		}
	}
	err := l.k.Tasks(func(task layout.Task) bool {
		if t.Total >= maxTasks {
			l.r.warn("there are more than %d tasks: the others are left out", maxTasks)
			return false
		}
		t.Total++
		ref := refOf(task)
		t.States[ref.State]++
		if current[task.PID] {
			t.Running = append(t.Running, *ref)
			return true
		}
		trace := Trace{Broken: "its stack is not looked at: there are too many tasks"}
		switch {
		case task.OnCPU:
			trace.Broken = "it ran when the dump was taken"
		case task.State == 'Z' || task.State == 'X':
			trace.Broken = ""
		case len(groups) < maxStacks:
			trace = traceOf(l.u.Task(task))
		}
		key := signature(ref.State, trace)
		g := groups[key]
		if g == nil {
			g = &TaskGroup{State: ref.State, Trace: trace}
			groups[key] = g
		}
		g.Tasks = append(g.Tasks, *ref)
		if ref.State == "D" {
			l.hung[ref.PID] = g
		}
		return true
	})
	if err != nil && l.note == nil {
		l.r.warn("the tasks: %v", err)
	}
	for _, g := range groups {
		t.Groups = append(t.Groups, *g)
	}
	slices.SortFunc(t.Groups, func(a, b TaskGroup) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(len(b.Tasks), len(a.Tasks)), cmp.Compare(a.Tasks[0].PID, b.Tasks[0].PID))
	})
	if t.Total > 0 {
		l.r.Tasks = t
	}
}

// rank is the order of groups: by state, of one state threads of the kernel last.
func rank(g TaskGroup) int {
	at := strings.Index(stateOrder, g.State)
	if at < 0 || g.State == "" {
		at = len(stateOrder)
	}
	if g.Tasks[0].Kernel {
		return 2*at + 1
	}
	return 2 * at
}

// signature is what tasks of one group have in common.
func signature(state string, t Trace) string {
	var b strings.Builder
	b.WriteString(state)
	for _, f := range t.Frames {
		b.WriteByte('\n')
		b.WriteString(f.PC.String())
		if f.Unreliable {
			b.WriteByte('?')
		}
	}
	if len(t.Frames) == 0 { // why there is none tells them apart, not where it broke off
		b.WriteString(t.Broken)
	}
	return b.String()
}
