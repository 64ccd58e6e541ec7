// Package kdump is the model of a kernel dump: physical memory, the CPUs'
// registers, and what the kernel says about itself in VMCOREINFO.
//
// The model knows no file format and no operating system. The packages below
// it read and write one format each:
//
//	diskdump  kdump-compressed ("KDUMP   "), as makedumpfile and QEMU write it
//	vmcore    ELF: /proc/vmcore, makedumpfile -E, QEMU's dump-guest-memory
//	flat      flattened (makedumpfile -F): either of the above through a pipe
//	lime      LiME and AVML images of physical memory (read only)
//	windump   crash dumps of Windows
//	open      recognises a file and opens it with the right package
//
// A source of memory (a file, or a running kernel) fills a Dump; a writer
// takes a Dump and the pages that are wanted of it. So a conversion is a
// reader joined to a writer.
package kdump

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"procdump/arch"
)

// Why a byte of physical memory cannot be read. Errors of Memory wrap one of
// these; other errors come from the underlying file.
var (
	ErrAbsent   = errors.New("kdump: no RAM at this physical address")
	ErrExcluded = errors.New("kdump: page was left out of the dump")
	ErrDamaged  = errors.New("kdump: page is damaged in the dump")
)

// ErrFormat says that a file is not a dump of the format asked for.
var ErrFormat = errors.New("kdump: not a dump of this format")

// Memory is physical memory.
//
// ReadPhys reads up to len(b) bytes from physical address addr on and may
// cross pages. If n < len(b), the error says why byte n could not be read. An
// implementation is safe for use by several goroutines.
type Memory interface {
	ReadPhys(b []byte, addr uint64) (n int, err error)
}

// Run is a range of physical RAM.
type Run struct {
	Addr, Size uint64
}

// End is the address behind the run's last byte.
func (r Run) End() uint64 { return r.Addr + r.Size }

// CPU is one processor at the time of the dump.
type CPU struct {
	Number int
	// PRStatus is the descriptor of the CPU's NT_PRSTATUS note, struct
	// elf_prstatus of the dumped kernel's machine (336 bytes on x86-64). It is
	// nil if the dump knows of the CPU, but not its registers.
	PRStatus []byte
}

// Note is an ELF note.
type Note struct {
	Name string // owner, without the terminating zero
	Type uint32
	Desc []byte
}

// Uname is struct new_utsname of the dumped kernel.
type Uname struct {
	Sysname, Nodename, Release, Version, Machine, Domainname string
}

// Segment is a PT_LOAD program header: a mapping of virtual to physical
// addresses. Direct map and kernel image are found by these.
type Segment struct {
	VirtAddr uint64
	PhysAddr uint64 // NoPhysAddr if the format does not tell
	FileSize uint64 // bytes that are in the file; the rest reads as zeros
	MemSize  uint64
	Flags    uint32 // PF_R, PF_W, PF_X
}

// NoPhysAddr is the physical address of a segment that has none: the vmalloc
// area of /proc/kcore, for one.
const NoPhysAddr = ^uint64(0)

// Dump is a kernel dump, or a running kernel seen as one.
type Dump struct {
	Format   string // "kdump-compressed v6", "ELF", "flattened ELF", "LiME", …
	Arch     arch.Machine
	PageSize int // bytes
	// Runs is the RAM of the machine, in ascending order and disjoint. Pages
	// within may be left out of the dump.
	Runs []Run
	// VMCoreInfo is the text of the VMCOREINFO note, nil if there is none.
	VMCoreInfo []byte
	CPUs       []CPU // in CPU order
	Notes      []Note
	Uname      Uname     // empty if the format does not hold it
	Time       time.Time // of the crash or the dump; zero if unknown
	// PhysBase is the physical address that the kernel image was linked at
	// address zero of: virtual address - __START_KERNEL_map + PhysBase.
	PhysBase int64
	// DumpLevel is makedumpfile's -d: 1 zero, 2 cache, 4 private cache, 8 user,
	// 16 free pages left out.
	DumpLevel int
	// Incomplete says that the writer ran out of space or was stopped, or that
	// the end of the file is missing.
	Incomplete bool
	Segments   []Segment
	// Memory is the contents. It may implement PageMap.
	Memory Memory
}

// Info returns the value of a line KEY=VALUE of VMCOREINFO, for instance
// Info("OSRELEASE") or Info("SYMBOL(init_uts_ns)").
func (d *Dump) Info(key string) (value string, ok bool) {
	for line := range strings.Lines(string(d.VMCoreInfo)) {
		if k, v, found := strings.Cut(line, "="); found && k == key {
			return strings.TrimRight(v, "\n\x00"), true
		}
	}
	return "", false
}

// Pages is the number of pages of RAM, present in the dump or not.
func (d *Dump) Pages() uint64 {
	var n uint64
	for _, r := range d.Runs {
		n += r.Size / uint64(max(d.PageSize, 1))
	}
	return n
}

// MaxPFN is the number of the page behind the last page of RAM.
func (d *Dump) MaxPFN() uint64 {
	if len(d.Runs) == 0 || d.PageSize <= 0 {
		return 0
	}
	end := d.Runs[len(d.Runs)-1].End()
	return (end + uint64(d.PageSize) - 1) / uint64(d.PageSize)
}

// FormatError says what is wrong with a file and where.
type FormatError struct {
	Format string
	Off    int64 // file offset, -1 if it does not apply
	What   string
}

// Error implements error.
func (e *FormatError) Error() string {
	if e.Off < 0 {
		return fmt.Sprintf("kdump: %s: %s", e.Format, e.What)
	}
	return fmt.Sprintf("kdump: %s: %s at file offset %#x", e.Format, e.What, e.Off)
}
