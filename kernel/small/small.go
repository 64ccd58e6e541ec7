// Package small writes the small kind of kernel dump: an ELF core file of at
// most 64 KiB with what the first look at a crash needs, for gdb, drgn and
// crash --minimal.
//
//	PT_NOTE  VMCOREINFO; NT_PRSTATUS of the processors, in their order;
//	         "procdump": RAM ranges; "procdump": Note, as JSON
//	PT_LOAD  pieces of memory of any size, each at its virtual and its
//	         physical address: kernel stacks and the code at the instruction
//	         pointers, task_struct, globals, the way from a PID to its task,
//	         struct module of each module, the end of the kernel's log
//
// What comes first counts most: when there is no room for all of it, the log
// is cut to its last messages, of which a part of the room is kept for, then
// modules and the other processors' tasks go. The rest of the log's buffers is
// there as zeros that take no room in the file, because readers fetch these
// buffers whole.
//
// Of a kernel that crashed the task is the one that panicked. A running kernel
// has none, and a PID names the process whose kernel side is dumped. Memory is
// not trusted: what cannot be read is left out and told in the Note.
package small

import (
	"io"
	"time"

	"procdump/kernel/layout"
)

// MaxSize is the size in bytes that no small dump exceeds.
const MaxSize = 64 << 10

// NoteOwner and NoteType mark the ELF note that holds a Note.
const (
	NoteOwner = "procdump"
	NoteType  = 0x11
)

// Options say what a dump is about.
type Options struct {
	// PID is a process, or one thread of it, by its number in the initial
	// namespace: its kernel side is dumped. With 0 it is the task that
	// panicked, or in a running kernel one that a processor runs.
	PID int
	// Budget is the size in bytes that the dump must not exceed; 0, and what is
	// larger, is MaxSize. Below 16 KiB little of use remains.
	Budget int
	// Time is when the dump was taken; the zero time is the dump's own.
	Time time.Time
}

// Report is what a dump holds.
type Report struct {
	Size int // of the file in bytes
	// Note is what the dump says about itself.
	Note Note
	// Messages is how many messages of the log's end are in the dump, of Logged
	// that the kernel had kept.
	Messages, Logged int
}

// Note is what a dump says about itself, for a first look that takes no
// debugger. What is not known is empty.
type Note struct {
	Version int       `json:"version"` // 1
	Kind    string    `json:"kind"`    // "small"
	Live    bool      `json:"live"`    // of a running kernel
	Time    time.Time `json:"time,omitzero"`
	Release string    `json:"release"`
	Machine string    `json:"machine"`
	Host    string    `json:"host"`
	// UptimeSeconds is the time since boot.
	UptimeSeconds int64 `json:"uptimeSeconds,omitempty"`
	// Panic is the first message of the incident, NotSyncing what stands behind
	// "Kernel panic - not syncing: ", Oops the code behind "Oops: ", RIP the
	// instruction of the fault as the log has it, else as the registers have it:
	// "sysrq_handle_crash+0x16/0x20".
	Panic      string `json:"panic,omitempty"`
	NotSyncing string `json:"notSyncing,omitempty"`
	Oops       string `json:"oops,omitempty"`
	RIP        string `json:"rip,omitempty"`
	Tainted    uint64 `json:"tainted,omitempty"`
	// CPU is the processor that panicked, -1 if none did or it is not known.
	CPU int `json:"cpu"`
	// CPUs is the number of processors, Registers of how many the dump has them.
	CPUs      int `json:"cpus"`
	Registers int `json:"registers"`
	// Tasks are the tasks whose stacks are in the dump, the one that it is
	// about first.
	Tasks []NoteTask `json:"tasks"`
	// Modules are the loaded modules, the newest first, one a line: name, size
	// in bytes, address in hexadecimal, and taint flags in hexadecimal if there are any.
	Modules string `json:"modules"`
	// Unloaded are modules that tainted the kernel and were unloaded, one a
	// line: name, how often, taint flags in hexadecimal.
	Unloaded string `json:"unloaded,omitempty"`
	// Missing says what could not be had or found no room.
	Missing []string `json:"missing,omitempty"`
}

// NoteTask is a task in a Note.
type NoteTask struct {
	PID   int    `json:"pid"`
	TGID  int    `json:"tgid"`
	Comm  string `json:"comm"`
	State string `json:"state"` // the letter of ps(1)
	CPU   int    `json:"cpu"`
	Addr  string `json:"task"` // of its struct task_struct, in hexadecimal
	// Stack is how many bytes of its kernel stack are in the dump; 0 of a task
	// that ran in user mode, or that was running and did not stand still.
	Stack int `json:"stack"`
}

// Write writes the small dump of k to w, from its first byte to its last. It
// fails if PID names no task, or w fails; all else that goes wrong is told in
// the Note.
func Write(w io.Writer, k *layout.Kernel, o Options) (*Report, error) {
	b, err := newBuilder(k, o)
	if err != nil {
		return nil, err
	}
	b.fill()
	return b.write(w)
}
