package kernel

import (
	"fmt"
	"strings"

	"procdump/internal/printable"
)

// maxCallers bounds the callers that an incident names.
const maxCallers = 3

// incident says why the machine crashed, by the log and by the stack of the
// processor that crashed.
func (l *linux) incident() {
	g := l.readLog()
	if g == nil && l.note != nil && l.note.Panic != "" {
		g = &logged{cpu: l.note.CPU, message: printable.Text(l.note.Panic)}
		for _, c := range causes {
			if strings.HasPrefix(g.message, c.prefix) && g.kind == "" {
				g.kind = c.kind
			}
		}
	}
	if g != nil && g.panic != "" {
		l.r.Crash = true
	}
	if !l.r.Crash {
		l.r.Reason = l.calm()
		return
	}
	if g == nil {
		g = &logged{cpu: -1}
	}
	in := &Incident{Type: g.kind, Message: g.message, Panic: g.panic, Address: g.address, CPU: g.cpu, PID: g.pid, Process: g.comm, Subject: g.hung}
	if in.Message == "" {
		in.Message, in.Panic = in.Panic, ""
	}
	if in.Type == "" {
		in.Type = "panic"
	}
	if l.crashed < 0 {
		l.crashed = g.cpu
	}
	if t := l.r.Log; t != nil && len(l.log) > 0 {
		t.Incident = max(0, g.begin-(len(l.log)-len(t.Lines))+1)
	}
	l.byStack(in, g)
	l.hungTask(in)
	l.r.Incident = in
	l.r.Reason = in.sentence(g.seconds)
}

// calm is the sentence for a machine that did not crash.
func (l *linux) calm() string {
	s := "The machine did not crash: the dump was taken while it ran."
	if !l.certain && (l.note == nil || l.noNote) {
		l.r.CrashUnknown = true
		return "Whether the machine crashed is not known: the kernel's log and its variables cannot be read."
	}
	if l.r.Tasks != nil {
		if n := l.r.Tasks.States["D"]; n == 1 {
			s += " 1 task waited without being interruptible."
		} else if n > 1 {
			s += fmt.Sprintf(" %d tasks waited without being interruptible.", n)
		}
	}
	return s
}

// machinery are the functions by which a kernel crashes; what called them is
// where it crashed.
var machinery = map[string]bool{
	"panic": true, "vpanic": true, "nmi_panic": true, "delay_tsc": true, "__delay": true, "__const_udelay": true, "__udelay": true,
	"crash_kexec": true, "__crash_kexec": true, "machine_kexec": true, "crash_setup_regs": true, "machine_crash_shutdown": true,
	"native_machine_crash_shutdown": true, "dump_stack": true, "dump_stack_lvl": true, "oops_end": true, "die": true, "__die": true, "make_task_dead": true, "panic_smp_self_stop": true,
	"crash_save_cpu": true, "crash_smp_send_stop": true, "relocate_kernel": true, "arm64_exit_nohz": true, "__warn": true, "report_bug": true,
}

func isMachinery(f Frame) bool {
	name, _, _ := strings.Cut(f.Symbol, ".") // "oops_end.cold"
	return machinery[name]
}

// byStack finds where it happened on the stack of the processor that crashed:
// at an exception, or else where panic was called.
func (l *linux) byStack(in *Incident, g *logged) {
	in.Where = g.place
	for i := range l.r.Processors {
		p := &l.r.Processors[i]
		if p.Number != l.crashed {
			continue
		}
		p.Crashed, in.CPU = true, p.Number
		if p.Doing == "idle" {
			p.Doing = "kernel"
		}
		if p.Task != nil {
			in.PID, in.Process = p.Task.PID, p.Task.Comm
		}
		l.useLog(p, g)
		at := placeOf(p.Frames, in.Type)
		if at < 0 {
			return
		}
		f := p.Frames[at]
		// A stack that was guessed is worth less than what the kernel said.
		if f.Unreliable && in.Where != nil || f.Symbol == "" {
			return
		}
		in.Where = bare(f)
		for _, c := range p.Frames[at+1:] {
			if len(in.Callers) == maxCallers || c.Unreliable {
				break
			}
			if c.Symbol != "" {
				in.Callers = append(in.Callers, *bare(c))
			}
		}
		return
	}
}

// useLog takes the stack from the log where the dump has no symbols. With a hung
// task the log has the stack of that.
func (l *linux) useLog(p *Processor, g *logged) {
	for _, f := range p.Frames {
		if f.Symbol != "" {
			return
		}
	}
	frames := l.loggedStack(g)
	if len(frames) == 0 || g.hung != nil {
		return
	}
	if g.place != nil {
		frames = append([]Frame{*g.place}, frames...)
	}
	p.Trace = Trace{Frames: frames, FromLog: true}
}

// faults are the incidents that an exception begins.
var faults = map[string]bool{
	"nullDereference": true, "pageFault": true, "protectionFault": true, "invalidOpcode": true, "divideError": true, "bug": true,
	"oops": true, "hardLockup": true, "softLockup": true, "stackOverflow": true,
}

// placeOf returns the number of the frame in which it happened, or -1.
func placeOf(frames []Frame, kind string) int {
	last := -1 // the last frame of the crash itself
	for i, f := range frames {
		if isMachinery(f) {
			last = i
		}
	}
	if faults[kind] {
		for i, f := range frames {
			if i > last && f.Exact {
				return i
			}
		}
	}
	if last+1 < len(frames) {
		return last + 1
	}
	return -1
}

// bare is a frame without what only a stack needs.
func bare(f Frame) *Frame {
	f.Registers, f.SP = nil, 0
	return &f
}

// waiting begin the names of functions by which a task waits; what called them
// is what it waits in.
var waiting = []string{"__schedule", "schedule", "io_schedule", "preempt_schedule", "__switch_to", "context_switch", "__cond_resched"}

// hungTask finds where the task that hung waits.
func (l *linux) hungTask(in *Incident) {
	if in.Type != "hungTask" {
		return
	}
	if in.Subject == nil && l.r.Tasks != nil {
		for _, g := range l.r.Tasks.Groups {
			if g.State == "D" && len(g.Tasks) == 1 && in.Subject == nil {
				in.Subject = &g.Tasks[0]
			}
		}
	}
	if in.Subject == nil {
		return
	}
	g := l.hung[in.Subject.PID]
	if g == nil {
		return
	}
	for _, f := range g.Frames {
		wait := false
		for _, name := range waiting {
			wait = wait || strings.HasPrefix(f.Symbol, name)
		}
		if len(in.Blocked) > maxCallers {
			return
		}
		if f.Symbol != "" && !f.Unreliable && (!wait || in.Blocked != nil) {
			in.Blocked = append(in.Blocked, *bare(f))
		}
	}
}

// sentences are the beginnings by type; what they lack, the message tells.
var sentences = map[string]string{
	"nullDereference": "Null pointer dereference",
	"pageFault":       "Access to memory that is not mapped, or may not be accessed so",
	"protectionFault": "General protection fault (often a pointer that is no address)",
	"invalidOpcode":   "Invalid instruction",
	"divideError":     "Division by zero",
	"bug":             "A check in the kernel's code failed",
	"stackOverflow":   "The kernel stack of a task overflowed",
	"softLockup":      "A processor did not schedule for too long (soft lockup)",
	"hardLockup":      "A processor did not answer interrupts for too long (hard lockup)",
	"stall":           "A processor kept RCU waiting for too long",
	"outOfMemory":     "Out of memory, and the kernel was set to panic then",
	"sysrq":           "A crash was asked for through SysRq",
	"machineCheck":    "The hardware reported an error that cannot be corrected",
	"nmi":             "A non-maskable interrupt, from hardware or an administrator, made the kernel panic",
	"noInit":          "The first process (init) ended or could not be started",
	"rootFS":          "The root file system could not be mounted",
	"warning":         "A warning, and the kernel was set to panic on warnings",
	"oops":            "An exception in the kernel (oops)",
	"panic":           "The kernel panicked",
}

// unplaced are incidents of which it does not matter in which function of the
// kernel they were noticed.
var unplaced = map[string]bool{"hungTask": true, "sysrq": true, "outOfMemory": true, "noInit": true, "rootFS": true, "machineCheck": true}

// sentence puts the incident into words.
func (in *Incident) sentence(seconds string) string {
	var b strings.Builder
	if in.Type == "hungTask" {
		in.hungSentence(&b, seconds)
	} else {
		b.WriteString(sentences[in.Type])
		if in.Address != nil && in.Type != "outOfMemory" {
			fmt.Fprintf(&b, " at address %v", *in.Address)
		}
	}
	if in.Where != nil && !unplaced[in.Type] {
		b.WriteString(" in " + functionText(*in.Where))
		for _, c := range in.Callers {
			if c.Symbol != in.Where.Symbol {
				b.WriteString(", called by " + c.Symbol)
				break
			}
		}
	}
	switch {
	case in.Process != "" && in.Type == "hungTask":
		fmt.Fprintf(&b, "; found by %s (PID %d)", in.Process, in.PID)
	case in.Process != "" && in.PID != 0:
		fmt.Fprintf(&b, "; process %s (PID %d)", in.Process, in.PID)
	case in.Process != "":
		b.WriteString("; idle task")
	}
	if in.CPU >= 0 {
		fmt.Fprintf(&b, ", CPU %d", in.CPU)
	}
	b.WriteByte('.')
	if in.Type == "panic" || in.Type == "bug" || in.Type == "oops" || in.Type == "machineCheck" || in.Type == "warning" {
		if in.Message != "" {
			b.WriteString(" The kernel said: " + in.Message + ".")
		}
	}
	return b.String()
}

func (in *Incident) hungSentence(b *strings.Builder, seconds string) {
	b.WriteString("A task was blocked for too long, and the kernel was set to panic then")
	if in.Subject == nil {
		return
	}
	fmt.Fprintf(b, ": %s (PID %d)", in.Subject.Comm, in.Subject.PID)
	if seconds != "" {
		fmt.Fprintf(b, " waited more than %s seconds", seconds)
	} else {
		b.WriteString(" waited")
	}
	if len(in.Blocked) > 0 {
		b.WriteString(" in " + functionText(in.Blocked[0]))
		if len(in.Blocked) > 1 {
			b.WriteString(", called by " + in.Blocked[1].Symbol)
		}
	}
}

// functionText names a function: "function msr_read of module msr".
func functionText(f Frame) string {
	s := "function " + f.Symbol
	if f.Symbol == "" {
		s = "code at " + f.PC.String()
	}
	if f.Module != "" {
		s += " of module " + f.Module
	}
	return s
}
