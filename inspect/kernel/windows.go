package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"procdump/arch"
	"procdump/internal/printable"
	"procdump/kdump/windump"
)

// Windows is what only a dump of Windows has.
type Windows struct {
	BugCheck *BugCheck `json:"bugCheck,omitempty"`
	Build    string    `json:"build,omitempty"`
	Product  string    `json:"product,omitempty"`
	Comment  string    `json:"comment,omitempty"`
	// Attributes are the dump's own flags in words.
	Attributes string `json:"attributes,omitempty"`
	// BlamedDriver is the one that Windows blames.
	BlamedDriver string     `json:"blamedDriver,omitempty"`
	Exception    *Exception `json:"exception,omitempty"`
	// Registers are those of the crashed thread: at the exception where the bug
	// check tells of one, else at the call to KeBugCheckEx.
	Registers []Register `json:"registers,omitempty"`
	// At is the code at the program counter of these registers.
	At *Frame `json:"at,omitempty"`
	// Stack are the words of the crashed thread's stack that lie in modules:
	// return addresses among them, but not all of them are.
	Stack []Frame `json:"stack,omitempty"`
}

// BugCheck is why Windows stopped.
type BugCheck struct {
	Code       Hex            `json:"code"`
	Name       string         `json:"name,omitempty"`
	Meaning    string         `json:"meaning,omitempty"`
	Parameters []BugParameter `json:"parameters"`
}

// BugParameter is a parameter of a bug check.
type BugParameter struct {
	Value   Hex    `json:"value"`
	Meaning string `json:"meaning,omitempty"`
}

// Exception is an exception record.
type Exception struct {
	Code    Hex    `json:"code"`
	Name    string `json:"name,omitempty"`
	Address Hex    `json:"address"`
	// Information are its parameters; of an access violation, how and what was
	// accessed.
	Information []Hex `json:"information,omitempty"`
}

// windows is the inspection of one dump of Windows.
type windows struct {
	r    *Report
	w    *windump.Reader
	mods []windump.Module
}

// windowsReport inspects a crash dump of Windows.
func windowsReport(rd *windump.Reader) *Report {
	h := &rd.Header
	x := &windows{w: rd, r: &Report{
		Format: windump.Format + " (" + h.Type.String() + ")", System: "Windows", Kind: h.Kind(), Machine: h.Machine().String(),
		CPUs: h.NumberProcessors, MemoryBytes: h.NumberOfPages << 12, UptimeSeconds: int64(h.SystemUpTime.Seconds()),
		Windows: &Windows{Product: h.Product(), Comment: printable.Text(strings.TrimSpace(h.Comment)), Attributes: h.Attributes.String()},
	}}
	x.inspect()
	return x.r
}

func (x *windows) inspect() {
	h, out := &x.w.Header, x.r.Windows
	x.r.Release = fmt.Sprintf("build %d", h.MinorVersion)
	if h.MinorVersion >= 10240 { // the first of Windows 10
		x.r.Release = fmt.Sprintf("10.0.%d", h.MinorVersion)
	}
	if !h.SystemTime.IsZero() {
		t := h.SystemTime.UTC()
		x.r.Time = &t
	}
	x.r.Incomplete = h.Attributes&windump.InsufficientDumpfileSize != 0
	if h.Warning != "" {
		x.r.warn("%s", h.Warning)
	}
	var err error
	if out.Build, err = x.w.Build(); err != nil {
		x.missing("the build", err)
	}
	x.r.Version = out.Build
	if x.mods, err = x.w.Modules(); err != nil {
		x.missing("the modules", err)
	}
	for _, m := range x.mods {
		x.r.Modules = append(x.r.Modules, Module{Name: printable.Text(m.Name), Addr: Hex(m.Base), Size: m.Size, Path: printable.Text(m.Path), PDB: printable.Text(m.PDB), PDBID: m.PDBID})
	}
	gone, err := x.w.UnloadedModules()
	if err != nil {
		x.missing("the unloaded modules", err)
	}
	for _, m := range gone {
		x.r.Unloaded = append(x.r.Unloaded, Unloaded{Name: printable.Text(m.Name), Start: Hex(m.Start), End: Hex(m.End)})
	}
	x.memory()
	x.processors()
	x.crash()
}

// missing warns of what could not be read, except what a dump of this type
// never holds.
func (x *windows) missing(what string, err error) {
	if !errors.Is(err, windump.ErrNotThere) {
		x.r.warn("%s: %v", what, err)
	}
}

func (x *windows) memory() {
	d, err := x.w.Dump()
	if err != nil {
		return // a small dump
	}
	x.r.Memory = new(Memory)
	x.r.Memory.count(d)
	x.r.Incomplete = x.r.Incomplete || d.Incomplete
}

func (x *windows) processors() {
	all, err := x.w.Processors()
	if err != nil {
		x.missing("the processors", err)
	}
	for _, c := range all[:min(len(all), maxProcessors)] {
		p := Processor{Number: c.Number, Doing: "unknown"}
		if c.RegistersErr == nil && c.Registers.PC() != 0 {
			p.Doing = "kernel"
			if c.Registers.PC()>>63 == 0 {
				p.Doing, p.UserPC = "user mode", Hex(c.Registers.PC())
			} else {
				f := x.at(c.Registers.PC())
				f.SP, f.Exact, f.Registers = Hex(c.Registers.SP()), true, named(&c.Registers)
				p.Frames = []Frame{f}
			}
		}
		x.r.Processors = append(x.r.Processors, p)
	}
}

// at names the code at an address: a module and the offset in it.
func (x *windows) at(addr uint64) Frame {
	f := Frame{PC: Hex(addr)}
	if m, ok := windump.ModuleAt(x.mods, addr); ok {
		f.Module, f.Offset = printable.Text(m.Name), addr-m.Base
	}
	return f
}

func named(r *arch.Registers) []Register {
	var all []Register
	for i, v := range r.Values() {
		if names := r.Machine.GPNames(); i < len(names) {
			all = append(all, Register{names[i], Hex(v)})
		}
	}
	return all
}

// crash says why the machine crashed.
func (x *windows) crash() {
	b, h, out := x.w.BugCheck(), &x.w.Header, x.r.Windows
	live := b.Code == 0 || h.Attributes&windump.LiveDumpGeneratedDump != 0
	x.r.Crash = !live
	check := &BugCheck{Code: Hex(b.Code), Name: b.Name, Meaning: b.Meaning}
	for i, v := range b.Values {
		check.Parameters = append(check.Parameters, BugParameter{Hex(v), b.Params[i]})
	}
	if b.Code != 0 {
		out.BugCheck = check
	}
	if t, err := x.w.Triage(); err == nil {
		if !t.Valid {
			x.r.warn("the small dump ends without its mark: its writer did not get to the end")
		}
		if out.BlamedDriver, err = t.BrokenDriver(); err != nil {
			x.missing("the driver that Windows blames", err)
		}
	}
	e, err := x.w.BugCheckException()
	if err != nil {
		e, err = x.w.Exception()
	}
	if err == nil && e.Code != 0 {
		ex := &Exception{Code: Hex(e.Code), Name: ntStatus[e.Code], Address: Hex(e.Address)}
		for _, v := range e.Information {
			ex.Information = append(ex.Information, Hex(v))
		}
		out.Exception = ex
	}
	regs, err := x.w.BugCheckContext()
	if err != nil {
		regs, err = x.w.Context()
	}
	if err != nil {
		x.missing("the registers of the crashed thread", err)
	} else if regs.PC() != 0 {
		out.Registers = named(&regs)
		f := x.at(regs.PC())
		f.SP, f.Exact = Hex(regs.SP()), true
		out.At = &f
		out.Stack = x.scan(&regs)
	}
	x.conclude(check, live)
}

// conclude makes the sentence.
func (x *windows) conclude(check *BugCheck, live bool) {
	out := x.r.Windows
	in := &Incident{Type: "bugCheck", Message: x.w.BugCheck().String(), CPU: -1}
	var b strings.Builder
	switch {
	case live && check.Code == 0:
		b.WriteString("The machine did not crash: the dump was taken while it ran")
	case live:
		fmt.Fprintf(&b, "The machine did not crash: Windows took the dump while it ran, for bug check %s", nameOf(check))
	default:
		fmt.Fprintf(&b, "Windows stopped with bug check %s", nameOf(check))
	}
	where := out.At
	if e := out.Exception; e != nil && e.Code != statusBreakpoint {
		f := x.at(uint64(e.Address))
		where = &f
		name := e.Name
		if name == "" {
			name = "exception " + e.Code.String()
		}
		b.WriteString(": " + name)
		if e.Code == statusAccessViolation && len(e.Information) >= 2 {
			how, ok := map[Hex]string{0: "read of", 1: "write of", 8: "execution of"}[e.Information[0]]
			if !ok {
				how = "access to"
			}
			fmt.Fprintf(&b, " (%s address %v)", how, e.Information[1])
			in.Address = &e.Information[1]
		}
	}
	if where != nil && where.Module != "" {
		fmt.Fprintf(&b, " in %v", *where)
		in.Where = where
	}
	if out.BlamedDriver != "" && (where == nil || !strings.EqualFold(where.Module, out.BlamedDriver)) {
		fmt.Fprintf(&b, "; Windows blames %s", printable.Text(out.BlamedDriver))
	}
	if p, err := x.w.CrashedProcess(); err == nil && p.Name != "" {
		in.PID, in.Process = int(p.PID), printable.Text(p.Name)
		fmt.Fprintf(&b, "; process %s (PID %d)", in.Process, in.PID)
	} else if err != nil {
		x.missing("the process", err)
	}
	if c, err := x.w.CrashedProcessor(); err == nil {
		in.CPU = c.Number
		fmt.Fprintf(&b, ", CPU %d", c.Number)
		for i := range x.r.Processors {
			if p := &x.r.Processors[i]; p.Number == c.Number {
				p.Crashed = !live
				if in.Process != "" {
					p.Task = &TaskRef{PID: in.PID, Comm: in.Process, CPU: c.Number}
				}
			}
		}
	} else {
		x.missing("the processor that crashed", err)
	}
	b.WriteByte('.')
	if check.Meaning != "" {
		b.WriteString(" " + check.Meaning)
	}
	x.r.Reason = b.String()
	if !live {
		x.r.Incident = in
	}
}

func nameOf(c *BugCheck) string {
	if c.Name == "" {
		return c.Code.String()
	}
	return c.Name + " (" + c.Code.String() + ")"
}

const (
	statusAccessViolation = 0xc0000005
	statusBreakpoint      = 0x80000003
)

// ntStatus are exceptions that crash a kernel (ntstatus.h).
var ntStatus = map[uint32]string{
	0x80000003: "breakpoint", 0x80000004: "single step", 0x80000002: "misaligned access",
	0xc0000005: "access violation", 0xc0000006: "page that could not be read in", 0xc000001d: "illegal instruction",
	0xc0000094: "division by zero", 0xc0000095: "integer overflow", 0xc0000096: "privileged instruction",
	0xc00000fd: "stack overflow", 0xc0000409: "failed check of a stack or list (fail fast)", 0xc000009c: "device data error",
	0xc0000420: "failed assertion",
}

const (
	// stackSpan is how much of a stack is searched, and maxScanned how many
	// words of it are kept.
	stackSpan  = 24 << 10
	maxScanned = 64
)

// scan lists the words on the stack that lie in modules.
func (x *windows) scan(regs *arch.Registers) []Frame {
	size := regs.Machine.PointerSize()
	sp := regs.SP()
	if size == 0 || sp == 0 {
		return nil
	}
	b := make([]byte, stackSpan)
	n, err := x.w.ReadVirt(b, sp)
	if t, terr := x.w.Triage(); terr == nil && n == 0 {
		if stack, serr := t.CallStack(); serr == nil {
			n, sp = copy(b, stack), t.TopOfStack
		}
	}
	if n == 0 && err != nil {
		x.missing("the stack of the crashed thread", err)
	}
	var all []Frame
	for at := 0; at+size <= n && len(all) < maxScanned; at += size {
		v := uint64(binary.LittleEndian.Uint32(b[at:]))
		if size == 8 {
			v = binary.LittleEndian.Uint64(b[at:])
		} else {
			v = uint64(int64(int32(v))) // kernel addresses of 32-bit dumps are sign-extended
		}
		f := x.at(v)
		if f.Module == "" || f.Offset == 0 {
			continue
		}
		f.SP, f.Unreliable = Hex(sp+uint64(at)), true
		all = append(all, f)
	}
	return all
}
