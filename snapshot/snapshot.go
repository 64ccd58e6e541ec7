// Package snapshot is the hub model of procdump: one process at one instant,
// with its threads, registers, modules, memory regions and what is known of
// the system round it.
//
// The model knows no operating system and no file format. Sources fill it (a
// stopped process, an ELF core, a minidump); writers, converters and reports
// consume it. A source fills what it knows and leaves the rest at its zero
// value. Addresses are the target's, always uint64; sizes are bytes.
package snapshot

import (
	"sort"
	"time"

	"procdump/arch"
)

// Process is a process at one instant.
type Process struct {
	System System

	PID, PPID, PGID, SID int // in the PID namespace of who took the snapshot
	UID, GID             uint32
	Name                 string   // the kernel's comm, at most 15 bytes
	Exe                  string   // path of the executable, without " (deleted)"
	ExeDeleted           bool     // the executable's file is gone or replaced
	Args                 []string // command line
	Environ              []string // NAME=value
	State                byte     // R, S, D, T, … (proc(5)) before it was stopped; 0 if unknown
	Nice                 int
	Flags                uint64 // the kernel's PF_* bits
	StartTime            time.Time
	UserTime, SystemTime time.Duration

	Threads   []Thread   // [0] is the blamed one: the crashed one, else the leader
	Modules   []Module   // [0] is the main executable if it is known
	Regions   []Region   // ascending, not overlapping
	Exception *Exception // nil: nothing happened to it, it was dumped on request
	Files     []File
	Linker    *Linker // the dynamic linker's list of modules; nil if static or unknown

	// Auxv is the auxiliary vector as in /proc/PID/auxv (words of the target's size).
	Auxv []byte

	// Texts holds operating-system texts that dumps carry verbatim, by name:
	// "status", "maps", "limits", "cgroup", "stat" (of /proc/PID), "cpuinfo",
	// "lsb-release", "uptime".
	Texts map[string][]byte

	Memory Memory
	Info   Info
}

// Machine is the instruction set of the process's threads.
func (p *Process) Machine() arch.Machine { return p.System.Machine }

// System describes the machine and the operating system.
type System struct {
	Machine   arch.Machine // of the target: I386 for a 32-bit process of an amd64 kernel
	OS        string       // "linux" or "windows"
	Host      string       // host name
	Release   string       // kernel release, "6.1.0-18-amd64"
	Version   string       // kernel version text, "#1 SMP …"
	Distro    string       // "Debian GNU/Linux 12 (bookworm)"
	CPUs      int          // online processors
	CPUVendor string       // x86: the 12-byte CPUID vendor
	CPUName   string
	// Family, model and stepping on x86; implementer-independent part number on arm64.
	CPUFamily, CPUModel, CPUStepping int
	CPUSignature, CPUFeatures        uint32 // x86: CPUID 1 EAX and EDX
	PageSize                         int    // bytes
	BootTime                         time.Time
	Memory                           uint64 // bytes of RAM
}

// Thread is one thread of the process.
type Thread struct {
	TID                  int
	Name                 string // comm
	State                byte   // as Process.State
	Registers            arch.Registers
	Siginfo              []byte // siginfo_t in the target's layout, 128 bytes; nil if no signal
	Signal               int    // current signal number; 0 if none
	Pending, Blocked     uint64 // signal sets, bit n-1 = signal n
	UserTime, SystemTime time.Duration
	StartTime            time.Time
	Nice                 int

	// Stack is the used part of the thread's stack: from the stack pointer
	// (less the red zone) to the end of its mapping. Size 0 if unknown.
	Stack Range

	// KernelStack, WaitChannel and Syscall are the texts of
	// /proc/PID/task/TID/{stack,wchan,syscall}; filled only when asked for (-mk).
	KernelStack, WaitChannel, Syscall string
}

// Module is an ELF or PE image mapped into the process.
type Module struct {
	Range          // from the image's header to the end of its last mapping
	Path    string // absolute, without " (deleted)"; "linux-gate.so" for the vdso
	Deleted bool   // the file is gone or replaced
	BuildID []byte // GNU build id; nil if none
	// TextHash identifies the file where it has no build id, for who has the
	// file, too (16 bytes, see elfimage.TextHash); nil if unknown.
	TextHash []byte
	SOName   string // DT_SONAME, "" if none
	Bias     uint64 // load address minus link address
	Dynamic  uint64 // address of the dynamic section, 0 if none
	ID       FileID // which file it was mapped from
}

// Linker is what the dynamic linker tells debuggers (struct r_debug, <link.h>).
type Linker struct {
	Version int
	Base    uint64    // r_ldbase: where the linker itself is loaded
	Brk     uint64    // r_brk: address of its breakpoint function
	Dynamic Range     // the executable's dynamic section
	Maps    []LinkMap // in link order, the executable first
	// Ranges are the bytes that a debugger reads to find all this: r_debug,
	// each struct link_map and each name.
	Ranges []Range
}

// LinkMap is one struct link_map.
type LinkMap struct {
	Addr uint64 // l_addr: load bias
	Name string // l_name, "" for the executable
	LD   uint64 // l_ld: address of the module's dynamic section
}

// FileID identifies the file behind a module so that an omitted image can be
// found again and checked.
type FileID struct {
	Dev     uint64    `json:"dev,omitempty"` // major<<32 | minor
	Inode   uint64    `json:"inode,omitempty"`
	Size    int64     `json:"size,omitempty"` // bytes
	ModTime time.Time `json:"mtime,omitzero"`
	Stamp   uint32    `json:"stamp,omitempty"` // of a PE image: TimeDateStamp of its header
}

// Perm is a region's protection.
type Perm uint8

const (
	Read Perm = 1 << iota
	Write
	Execute
	Shared // MAP_SHARED; clear: private, copied on write
)

// String writes the protection as /proc/PID/maps does: "rw-p".
func (p Perm) String() string {
	b := []byte("---p")
	for i, c := range "rwx" {
		if p&(1<<i) != 0 {
			b[i] = byte(c)
		}
	}
	if p&Shared != 0 {
		b[3] = 's'
	}
	return string(b)
}

// RegionFlags are the properties of a mapping that decide how it is dumped
// (VmFlags of /proc/PID/smaps, proc_pid_smaps(5)).
type RegionFlags uint32

const (
	DontDump   RegionFlags = 1 << iota // dd: MADV_DONTDUMP
	IO                                 // io: device memory, reading may have effects
	PFNMap                             // pf: pages without struct page
	DontFork                           // dc
	WipeOnFork                         // wf
	Userfault                          // um, uw, ui: registered with a userfaultfd
	HugeTLB                            // ht
	GrowsDown                          // gd: a stack
	Image                              // part of a Module
	RemoteFile                         // on a file system that may need another process: FUSE, NFS, …
)

// Region is one memory mapping.
type Region struct {
	Range
	Perm    Perm
	Flags   RegionFlags
	Offset  uint64 // in the file, bytes
	Dev     uint64 // major<<32 | minor; 0 with Inode 0: anonymous
	Inode   uint64
	Path    string // file, or "[heap]", "[stack]", "[vdso]", "[anon:NAME]", …; "" if none
	Deleted bool   // the file's name is gone

	// Bytes in RAM, of those private to the process, and in swap, as of
	// shortly before the snapshot; 0 if unknown.
	Resident, Private, Swapped uint64
	// Forked is how many of the private bytes other processes have, too, until
	// one of them writes to them (fork(2)). No dump holds it.
	Forked uint64
}

// Anonymous tells whether the region is private memory with no file behind it:
// pages of it that do not exist are zero. A dump may name a region's file
// without saying which one it was.
func (r *Region) Anonymous() bool {
	return r.Inode == 0 && r.Dev == 0 && r.Perm&Shared == 0 && (r.Path == "" || r.Path[0] == '[')
}

// FindRegion returns the index of the region that holds addr, or -1.
func (p *Process) FindRegion(addr uint64) int {
	i := sort.Search(len(p.Regions), func(i int) bool { return p.Regions[i].End() > addr })
	if i < len(p.Regions) && p.Regions[i].Contains(addr) {
		return i
	}
	return -1
}

// File is an open file descriptor.
type File struct {
	FD     int    `json:"fd"`
	Target string `json:"target"`          // what readlink says
	Mode   uint32 `json:"mode,omitempty"`  // st_mode
	Flags  uint32 `json:"flags,omitempty"` // open flags
	Pos    int64  `json:"pos,omitempty"`   // bytes
}

// Exception is why the process was dumped, if something happened to it.
type Exception struct {
	TID    int    // the thread it happened to
	Signal int    // Linux: signal number
	Code   uint32 // Linux: si_code; Windows: the exception code
	Addr   uint64 // faulting address, or the PC
	Params []uint64
}

// ExceptionError is a warning of a source: the dump says that something happened,
// and what it was cannot be read. A Process without an Exception did not crash
// otherwise.
type ExceptionError struct{ Err error }

func (e *ExceptionError) Error() string { return e.Err.Error() }

func (e *ExceptionError) Unwrap() error { return e.Err }
