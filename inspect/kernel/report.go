// Package kernel turns a dump of a kernel into a Report: what happened, in a
// sentence, and the evidence. It needs no debug symbols.
//
// Of Linux everything comes from the dump: symbols (kallsyms), types (BTF) and
// the tables to unwind stacks (ORC) are part of the kernel. Of Windows the
// report holds what the dump's header, lists and stacks say; functions have no
// names there, because those are not part of the dump.
//
// Reading is lenient: what is damaged or was left out of the dump becomes a
// warning, and the rest of the report is there.
package kernel

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Hex is an address or another number that is written in hexadecimal; in JSON
// it is a string, because JSON's numbers end at 2^53.
type Hex uint64

// String returns the number as "0x1f".
func (h Hex) String() string { return fmt.Sprintf("%#x", uint64(h)) }

// MarshalJSON implements json.Marshaler.
func (h Hex) MarshalJSON() ([]byte, error) { return []byte(`"` + h.String() + `"`), nil }

// UnmarshalJSON implements json.Unmarshaler.
func (h *Hex) UnmarshalJSON(b []byte) error {
	v, err := strconv.ParseUint(strings.Trim(string(b), `"`), 0, 64)
	if err != nil {
		return fmt.Errorf("hexadecimal number %s: %w", b, err)
	}
	*h = Hex(v)
	return nil
}

// Report is what a dump tells. What is not known is empty or left out.
type Report struct {
	// Format is that of the file, System "Linux" or "Windows".
	Format string `json:"format"`
	System string `json:"system"`
	// Kind is what the dump holds: "complete", "active", "kernel", "small"; of
	// Windows, the kind in the words of its settings; "" if that is not known.
	Kind string `json:"kind,omitempty"`
	// Crash tells a dump of a crash from one of a machine that ran on.
	Crash bool `json:"crash"`
	// CrashUnknown says that it could not be read whether the machine crashed.
	CrashUnknown bool `json:"crashUnknown,omitempty"`
	// Reason is the conclusion, in a sentence.
	Reason string `json:"reason"`
	// Incident is what the sentence was made of; nil without a crash.
	Incident *Incident `json:"incident,omitempty"`
	// Incomplete says that the writer of the dump ran out of space or was
	// stopped, or that the end of the file is missing.
	Incomplete bool `json:"incomplete,omitempty"`

	Release string `json:"release,omitempty"` // "6.1.0-56-amd64", "10.0.19041"
	Version string `json:"version,omitempty"` // "#1 SMP …", the build of Windows
	Machine string `json:"machine,omitempty"`
	Host    string `json:"host,omitempty"`
	// Time is when the machine crashed or was dumped.
	Time *time.Time `json:"time,omitempty"`
	// UptimeSeconds is the time since boot, 0 if unknown.
	UptimeSeconds int64   `json:"uptimeSeconds,omitempty"`
	CPUs          int     `json:"cpus,omitempty"`
	MemoryBytes   uint64  `json:"memoryBytes,omitempty"`
	Taints        []Taint `json:"taints,omitempty"`

	Processors []Processor `json:"processors,omitempty"`
	Tasks      *Tasks      `json:"tasks,omitempty"`
	Modules    []Module    `json:"modules,omitempty"`
	Unloaded   []Unloaded  `json:"unloadedModules,omitempty"`
	Memory     *Memory     `json:"memory,omitempty"`
	// VirtualMachines are those of KVM that ran on the machine.
	VirtualMachines []VirtualMachine `json:"virtualMachines,omitempty"`
	Log             *Log             `json:"log,omitempty"`
	Windows         *Windows         `json:"windows,omitempty"`

	// Warnings say what could not be read.
	Warnings []string `json:"warnings,omitempty"`

	// cause is an error that much else follows from; it is told once.
	cause string
}

func (r *Report) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if slices.Contains(r.Warnings, text) {
		return
	}
	hasCause := func(s string) bool { return r.cause != "" && strings.Contains(s, r.cause) }
	if what, _, ok := strings.Cut(text, ": "); ok && hasCause(text) && slices.ContainsFunc(r.Warnings, hasCause) {
		text = what + ": for the same reason as above"
	}
	if !slices.Contains(r.Warnings, text) {
		r.Warnings = append(r.Warnings, text)
	}
}

// Incident is why a kernel crashed.
type Incident struct {
	// Type is one of nullDereference, pageFault, protectionFault, invalidOpcode,
	// divideError, bug, stackOverflow, hungTask, softLockup, hardLockup, stall,
	// outOfMemory, sysrq, machineCheck, nmi, noInit, rootFS, warning, oops,
	// panic, and bugCheck of Windows.
	Type string `json:"type"`
	// Message is the kernel's own: the first line of the oops, or the panic's.
	Message string `json:"message,omitempty"`
	// Panic is the message of the panic where Message is that of an oops.
	Panic string `json:"panic,omitempty"`
	// Address is what was accessed, nil if none is told.
	Address *Hex `json:"address,omitempty"`
	// Where is the function in which it happened, Callers those that called it,
	// the nearest first.
	Where   *Frame  `json:"where,omitempty"`
	Callers []Frame `json:"callers,omitempty"`
	// CPU is the processor, -1 if unknown.
	CPU int `json:"cpu"`
	// PID and Process are those of the task that the processor ran.
	PID     int    `json:"pid,omitempty"`
	Process string `json:"process,omitempty"`
	// Subject is the task that an incident is about, if that is another one:
	// the one that hung.
	Subject *TaskRef `json:"subject,omitempty"`
	// Blocked are the function in which the subject waited, and its callers.
	Blocked []Frame `json:"blocked,omitempty"`
}

// Frame is a function on a stack.
type Frame struct {
	PC     Hex    `json:"pc"`
	Symbol string `json:"symbol,omitempty"`
	Offset uint64 `json:"offset,omitempty"` // bytes from the function's, or of Windows from the module's beginning
	Module string `json:"module,omitempty"` // "" is the kernel itself
	SP     Hex    `json:"sp,omitempty"`
	// Unreliable marks a word of the stack that is a return address, but perhaps
	// one of an earlier call.
	Unreliable bool `json:"unreliable,omitempty"`
	// Exact says that PC is the instruction itself, and no return address: an
	// interrupt or exception happened there, or the processor was stopped.
	Exact bool `json:"exact,omitempty"`
	// Stack is "irq", "nmi", "exception", "entry" where it is not the task's own.
	Stack string `json:"stack,omitempty"`
	// Registers are those at an interrupt or exception.
	Registers []Register `json:"registers,omitempty"`
}

// String is the frame in one line.
func (f Frame) String() string {
	s := f.Symbol
	switch {
	case s != "" && f.Offset != 0:
		s = fmt.Sprintf("%s+%#x", s, f.Offset)
	case s == "" && f.Module == "":
		return f.PC.String()
	case s == "":
		return fmt.Sprintf("%s+%#x", f.Module, f.Offset)
	}
	if f.Module != "" {
		s += " [" + f.Module + "]"
	}
	return s
}

// Register is a register of a processor.
type Register struct {
	Name  string `json:"name"`
	Value Hex    `json:"value"`
}

// TaskRef names a task.
type TaskRef struct {
	PID   int    `json:"pid"`
	TGID  int    `json:"tgid,omitempty"` // of its process, if that is another number
	Comm  string `json:"comm"`
	State string `json:"state,omitempty"` // the letter of ps(1)
	CPU   int    `json:"cpu"`             // that it ran on last; -1 if unknown
	// Kernel marks a thread of the kernel.
	Kernel bool `json:"kernel,omitempty"`
}

// Processor is what one processor did.
type Processor struct {
	Number int `json:"number"`
	// Crashed marks the one that the kernel crashed on.
	Crashed bool `json:"crashed,omitempty"`
	// Doing is "idle", "user mode", "kernel", or "unknown": the dump has no
	// registers of it.
	Doing string   `json:"doing"`
	Task  *TaskRef `json:"task,omitempty"`
	Trace
	// UserPC is the program counter of user mode, 0 if unknown.
	UserPC Hex `json:"userPC,omitempty"`
}

// Trace is a stack, the innermost frame first.
type Trace struct {
	Frames []Frame `json:"frames,omitempty"`
	// Broken says why the stack could not be followed to its end.
	Broken string `json:"broken,omitempty"`
	// FromLog says that the kernel itself wrote this stack to its log, because
	// the dump does not have what is needed to find it.
	FromLog bool `json:"fromLog,omitempty"`
}

// Tasks are the tasks that did not run on a processor, grouped by state and stack.
type Tasks struct {
	// Total counts all tasks but the idle ones, States by state.
	Total  int            `json:"total"`
	States map[string]int `json:"states"`
	// Groups has the tasks in state D first, then those that could run, then
	// the others; bigger groups first.
	Groups []TaskGroup `json:"groups"`
	// Running are the tasks that a processor ran: see Processors.
	Running []TaskRef `json:"running,omitempty"`
}

// TaskGroup is the tasks of one state that have the same stack.
type TaskGroup struct {
	State string    `json:"state"`
	Tasks []TaskRef `json:"tasks"`
	Trace
}

// Module is a kernel module, or a driver.
type Module struct {
	Name    string  `json:"name"`
	Addr    Hex     `json:"address"`
	Size    uint64  `json:"size"`            // bytes
	State   string  `json:"state,omitempty"` // "loading", "unloading"
	Version string  `json:"version,omitempty"`
	Taints  []Taint `json:"taints,omitempty"`
	Path    string  `json:"path,omitempty"` // Windows
	PDB     string  `json:"pdb,omitempty"`
	PDBID   string  `json:"pdbID,omitempty"`
}

// Unloaded is a module that was unloaded: of Linux, one that had tainted the kernel.
type Unloaded struct {
	Name   string  `json:"name"`
	Count  uint64  `json:"count,omitempty"`
	Taints []Taint `json:"taints,omitempty"`
	Start  Hex     `json:"start,omitempty"`
	End    Hex     `json:"end,omitempty"`
}

// Taint is a flag by which a kernel says that it is not in its plain state.
type Taint struct {
	Letter  string `json:"letter"`
	Meaning string `json:"meaning"`
}

// Memory is what the machine's memory was used for.
type Memory struct {
	// Classes are the uses by kernel/pages' classes; nil if they are not known.
	Classes []MemoryClass `json:"classes,omitempty"`
	// InDump and LeftOut are the bytes of memory that the dump has and lacks.
	InDump  uint64 `json:"inDumpBytes"`
	LeftOut uint64 `json:"leftOutBytes"`
}

// MemoryClass is a use of memory.
type MemoryClass struct {
	Name   string `json:"name"`
	Bytes  uint64 `json:"bytes"`
	InDump uint64 `json:"inDumpBytes"`
}

// VirtualMachine is a guest of the machine.
type VirtualMachine struct {
	PID   int    `json:"pid"`
	Bytes uint64 `json:"bytes"`
}

// Log is the end of the kernel's log.
type Log struct {
	// Messages is how many the dump has, Lines the last of them as dmesg(1)
	// prints them.
	Messages int      `json:"messages"`
	Lines    []string `json:"lines"`
	// Incident is the number of the line with which the crash begins, from 1 on;
	// 0 if that is not among the lines.
	Incident int `json:"incident,omitempty"`
}
