package kernel

import (
	"slices"
	"strings"

	"procdump/internal/printable"
	"procdump/kernel/layout"
	"procdump/kernel/unwind"
)

// maxProcessors bounds the processors of a report; the largest machines have
// some thousand.
const maxProcessors = 8192

// processors tells what each processor did.
func (l *linux) processors() {
	regs := make(map[int]*unwind.Regs)
	numbers := l.numbers()
	for _, c := range l.dump.CPUs {
		regs[c.Number] = unwind.FromPRStatus(l.dump.Arch, c.PRStatus)
	}
	missing := 0
	for _, n := range numbers[:min(len(numbers), maxProcessors)] {
		p := Processor{Number: n, Crashed: n == l.crashed, Doing: "unknown"}
		var t layout.Task
		if l.k != nil {
			var err error
			if t, err = l.k.CurrentTask(n); err == nil {
				p.Task = refOf(t)
			}
		}
		if r := regs[n]; r != nil {
			l.running(&p, r, t)
		} else {
			missing++
		}
		l.r.Processors = append(l.r.Processors, p)
	}
	if missing > 0 && missing == len(numbers) {
		l.r.warn("the dump has no registers of the processors: what they did is not known")
	} else if missing > 0 {
		l.r.warn("the dump has no registers of %d of %d processors", missing, len(numbers))
	}
}

// numbers lists the processors: those of the notes, and those that were online.
// A panic marks the processors that it stops as not online.
func (l *linux) numbers() []int {
	var all []int
	if l.k != nil {
		all, _ = l.k.CPUs()
	}
	for _, c := range l.dump.CPUs {
		all = append(all, c.Number)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// idleFunctions begin the names of what an idle processor does.
var idleFunctions = []string{"default_idle", "cpu_startup_entry", "do_idle", "cpuidle_enter", "arch_cpu_idle"}

// running fills in what a processor did, by its registers.
func (l *linux) running(p *Processor, r *unwind.Regs, t layout.Task) {
	if l.u == nil {
		p.Frames = []Frame{{PC: Hex(r.PC()), SP: Hex(r.SP()), Exact: true, Registers: registersOf(r)}}
		if r.User() {
			p.Doing, p.UserPC, p.Frames = "user mode", Hex(r.PC()), nil
		}
		return
	}
	tr := l.u.Registers(r, t, p.Number)
	p.Trace = traceOf(tr)
	p.Doing = "kernel"
	if tr.User != nil {
		p.UserPC = Hex(tr.User.PC())
	}
	if len(tr.Frames) == 0 {
		p.Doing = "user mode"
	}
	if !p.Crashed && isIdle(p.Frames) {
		p.Doing = "idle"
	}
}

// isIdle tells whether a processor had nothing to do. What an interrupt that
// stopped it interrupted is what it did.
func isIdle(frames []Frame) bool {
	idle := false
	for i, f := range frames {
		if f.Exact || i == 0 {
			idle = false
		}
		for _, name := range idleFunctions {
			idle = idle || strings.HasPrefix(f.Symbol, name)
		}
	}
	return idle
}

// traceOf turns a trace into one of the report.
func traceOf(tr unwind.Trace) Trace {
	out := Trace{Broken: tr.Broken}
	for _, f := range tr.Frames {
		g := Frame{PC: Hex(f.PC), Symbol: f.Symbol, Offset: f.Offset, Module: f.Module, SP: Hex(f.SP),
			Unreliable: !f.Reliable, Exact: f.Exact, Stack: f.Stack}
		if f.Regs != nil {
			g.Registers = registersOf(f.Regs)
		}
		out.Frames = append(out.Frames, g)
	}
	return out
}

func registersOf(r *unwind.Regs) []Register {
	var all []Register
	r.All(func(name string, v uint64) { all = append(all, Register{name, Hex(v)}) })
	return all
}

func refOf(t layout.Task) *TaskRef {
	r := &TaskRef{PID: t.PID, TGID: t.TGID, Comm: printable.Text(t.Comm), State: string(t.State), CPU: t.CPU, Kernel: t.Kernel}
	if r.TGID == r.PID {
		r.TGID = 0
	}
	return r
}
