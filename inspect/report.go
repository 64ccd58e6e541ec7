package inspect

import (
	"encoding/hex"
	"strconv"
	"time"

	"procdump/snapshot"
)

// Version is that of the report's form in JSON. Fields are added without a new
// one; it changes when one goes or means something else.
const Version = 1

// Report is what a snapshot of a process tells.
type Report struct {
	Version   int        `json:"version"`
	Reason    string     `json:"reason"` // what happened, in a sentence
	Process   Process    `json:"process"`
	Exception *Exception `json:"exception,omitempty"`
	Dump      Dump       `json:"dump"`
	System    System     `json:"system"`

	ThreadCount int `json:"threadCount"`
	// Groups are the threads, those with equal stacks together: first the one
	// that the dump is about, then those that used most processor time.
	Groups []Group `json:"groups"`
	// Deadlocks are threads that wait for each other.
	Deadlocks []Deadlock `json:"deadlocks,omitempty"`
	// Goroutines are those of a Go program, nil of others.
	Goroutines *Goroutines `json:"goroutines,omitempty"`

	Modules  []Module  `json:"modules"`
	Memory   Memory    `json:"memory"`
	Files    []File    `json:"files,omitempty"`
	Samples  []Samples `json:"samples,omitempty"`  // what was watched, up to the dump
	Missing  []Missing `json:"missing,omitempty"`  // memory that the dump does not hold
	Warnings []string  `json:"warnings,omitempty"` // what could not be read
}

// Samples is a value that was watched before the dump, and Sample one look at it.
type (
	Samples = snapshot.Samples
	Sample  = snapshot.Sample
)

// Address is one of the target's. In JSON it is "0x…": numbers lose bits there.
type Address uint64

// MarshalText writes the address in hexadecimal.
func (a Address) MarshalText() ([]byte, error) {
	return strconv.AppendUint([]byte("0x"), uint64(a), 16), nil
}

// Process is whose dump it is.
type Process struct {
	PID       int        `json:"pid"`
	PPID      int        `json:"ppid,omitempty"`
	Name      string     `json:"name"`
	Exe       string     `json:"exe,omitempty"`
	Args      []string   `json:"args,omitempty"`
	Environ   []string   `json:"environ,omitempty"` // NAME=value, as the program got it
	UID       uint32     `json:"uid"`
	Machine   string     `json:"machine"`
	State     string     `json:"state,omitempty"` // letter as in proc(5)
	StartTime *time.Time `json:"startTime,omitempty"`
	// Processor time in microseconds; 0 if it is not known.
	UserMicros   int64 `json:"userMicros,omitempty"`
	SystemMicros int64 `json:"systemMicros,omitempty"`
}

func processOf(p *snapshot.Process) Process {
	q := Process{PID: p.PID, PPID: p.PPID, Name: p.Name, Exe: p.Exe, Args: p.Args, UID: p.UID, Machine: p.Machine().String(),
		StartTime: moment(p.StartTime), UserMicros: p.UserTime.Microseconds(), SystemMicros: p.SystemTime.Microseconds()}
	if p.State != 0 {
		q.State = string(rune(p.State))
	}
	return q
}

// moment is a time that is known, else nil.
func moment(t time.Time) *time.Time {
	if t.IsZero() || t.Unix() == 0 || t.Year() < 0 || t.Year() > 9999 {
		return nil
	}
	return &t
}

// Exception is what happened to the process.
type Exception struct {
	TID     int      `json:"tid"`
	Signal  string   `json:"signal,omitempty"` // "SIGSEGV"
	Code    string   `json:"code,omitempty"`   // "SEGV_MAPERR", or "0xc0000005"
	Address *Address `json:"address,omitempty"`
	// What is what happened in words, without the place.
	What string `json:"what"`
	// Access is what the instruction at a fault did, nil if it is not known.
	Access *Access `json:"access,omitempty"`
	// Thrown is the exception of C++ that ended the program.
	Thrown *Thrown `json:"thrown,omitempty"`
	// Message is what the program said before it gave up: a failed assertion,
	// what the allocator found.
	Message string `json:"message,omitempty"`
	Frame   *Frame `json:"frame,omitempty"` // where: the innermost that is not of the way to the end
}

// Dump is how the snapshot was made.
type Dump struct {
	Tool        string     `json:"tool,omitempty"`
	Kind        string     `json:"kind,omitempty"`
	Reason      string     `json:"reason,omitempty"`
	Comment     string     `json:"comment,omitempty"`
	Time        *time.Time `json:"time,omitempty"`
	PauseMicros int64      `json:"pauseMicros,omitempty"`
	// LeftOutBytes is memory that the dump's kind should hold and does not.
	LeftOutBytes uint64 `json:"leftOutBytes,omitempty"`
}

func dumpOf(p *snapshot.Process) Dump {
	i := &p.Info
	return Dump{i.Tool, i.Kind, i.Reason, i.Comment, moment(i.Time), max(i.PauseMicros, 0), i.LeftOutBytes}
}

// System is the machine that the process ran on.
type System struct {
	OS      string `json:"os,omitempty"`
	Host    string `json:"host,omitempty"`
	Release string `json:"release,omitempty"`
	Distro  string `json:"distro,omitempty"`
	CPUs    int    `json:"cpus,omitempty"`
	CPU     string `json:"cpu,omitempty"`
}

func systemOf(p *snapshot.Process) System {
	s := &p.System
	return System{s.OS, s.Host, s.Release, s.Distro, s.CPUs, s.CPUName}
}

// Group are threads that stand at the same place, called in the same way.
type Group struct {
	Threads []Thread `json:"threads"`
	Frames  []Frame  `json:"frames"` // the innermost first
	// Complete tells that the last frame is the outermost; if not, End says in
	// words why there is none below.
	Complete bool   `json:"complete"`
	End      string `json:"end,omitempty"`
}

// Thread is one thread.
type Thread struct {
	TID    int    `json:"tid"`
	Name   string `json:"name,omitempty"`
	State  string `json:"state,omitempty"`  // letter as in proc(5)
	Blamed bool   `json:"blamed,omitempty"` // the dump is about it
	Signal string `json:"signal,omitempty"`
	// Processor time in microseconds; 0 if it is not known.
	CPUMicros   int64  `json:"cpuMicros,omitempty"`
	WaitChannel string `json:"waitChannel,omitempty"` // where in the kernel it waits
	Wait        *Wait  `json:"wait,omitempty"`        // what for
	Goroutine   uint64 `json:"goroutine,omitempty"`   // that it runs
}

// Frame is a function on a stack. One that was inlined has the address of the
// frame that it is a part of, which follows.
type Frame struct {
	PC       Address `json:"pc"`
	SP       Address `json:"sp"`
	Function string  `json:"function,omitempty"`
	Linkage  string  `json:"linkage,omitempty"` // the name before it was demangled
	Offset   uint64  `json:"offset"`            // from the function's beginning, in bytes
	Module   string  `json:"module,omitempty"`  // path
	// ModuleOffset is the address in the module's file.
	ModuleOffset *Address `json:"moduleOffset,omitempty"`
	File         string   `json:"file,omitempty"`
	Line         int      `json:"line,omitempty"`
	// Language is that of a script's function, which has no address: "python".
	Language string `json:"language,omitempty"`
	Inlined  bool   `json:"inlined,omitempty"`
	Signal   bool   `json:"signal,omitempty"` // here a signal handler was called
	// How is what the frame was found by: "registers", "cfi", "go", "signal",
	// "call", "link-register", "code", "frame-pointer", "scan", "runtime".
	How string `json:"how"`
	// Guess tells that the frame may be none.
	Guess bool `json:"guess,omitempty"`
}

// Module is a program or library.
type Module struct {
	Path    string  `json:"path"`
	Address Address `json:"address"`
	Size    uint64  `json:"size"`
	BuildID string  `json:"buildID,omitempty"`
	Deleted bool    `json:"deleted,omitempty"` // the file is gone or replaced
}

func (c *Collected) modules() []Module {
	all := []Module{}
	for i := range c.p.Modules {
		m := &c.p.Modules[i]
		all = append(all, Module{m.Path, Address(m.Addr), m.Size, hex.EncodeToString(m.BuildID), m.Deleted})
	}
	return all
}

// File is an open file.
type File struct {
	FD     int    `json:"fd"`
	Target string `json:"target"`
}
