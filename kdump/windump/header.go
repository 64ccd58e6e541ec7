package windump

import (
	"bytes"
	"encoding/binary"
	"time"

	"procdump/arch"
	"procdump/kdump"
)

// Header is DUMP_HEADER64 or DUMP_HEADER32. A field that the writer did not
// fill in is zero. Addresses are virtual unless their comment says otherwise.
type Header struct {
	Bits                int    // 64 or 32
	MajorVersion        uint32 // 15: free build, 12: checked build
	MinorVersion        uint32 // build number of Windows, for instance 19041
	DirectoryTableBase  uint64 // physical address of the page tables (CR3, TTBR0_EL1)
	PfnDatabase         uint64
	PsLoadedModuleList  uint64
	PsActiveProcessHead uint64
	MachineImageType    uint32 // MachineAMD64, …
	NumberProcessors    int
	BugCheckCode        uint32
	BugCheckParameters  [4]uint64
	VersionUser         string
	PAE                 bool // page tables of a 32-bit dump have 8-byte entries
	KdDebuggerDataBlock uint64
	NumberOfPages       uint64 // of RAM
	// Runs is the RAM, in ascending order and disjoint; nil if the header does
	// not hold it, as in small dumps.
	Runs               []kdump.Run
	Type               DumpType
	RequiredDumpSpace  uint64    // bytes
	SystemTime         time.Time // of the crash; zero if unknown
	SystemUpTime       time.Duration
	Comment            string
	MiniDumpFields     uint32
	SecondaryDataState uint32
	ProductType        uint32 // 1 workstation, 2 domain controller, 3 server
	SuiteMask          uint32
	WriterStatus       uint32
	KdSecondaryVersion uint8
	Attributes         Attributes
	BootID             uint32
	// Warning says what is odd about the header; "" if nothing is.
	Warning string
	runs    []fileRun // as listed, where the pages lie in a full dump
}

// Machine returns the machine of the dump, arch.Unknown if procdump does not
// know it.
func (h *Header) Machine() arch.Machine {
	switch h.MachineImageType {
	case MachineAMD64:
		return arch.AMD64
	case MachineARM64:
		return arch.ARM64
	case MachineI386:
		return arch.I386
	}
	return arch.Unknown
}

// Product returns ProductType in words, "" if it is unknown.
func (h *Header) Product() string {
	switch h.ProductType {
	case 1:
		return "workstation"
	case 2:
		return "domain controller"
	case 3:
		return "server"
	}
	return ""
}

// layout says where the fields of a header lie. Fields of one size for both
// widths, and of a pointer's size, are read by fields.
type layout struct {
	size                                                                 int
	ptr                                                                  int
	dtb, pfn, modules, processes, machine, processors, code, params      int
	version, kdbg, phys, context, exception, comment, dumpType           int
	space, systemTime, upTime, fields, secondary, product, suite, writer int
	kdSecondary, attributes, bootID, contextSize, exceptionSize          int
}

// none is the place of a field that a header does not have.
const none = -1

var layout64 = layout{
	size: headerSize64, ptr: 8,
	dtb: 0x10, pfn: 0x18, modules: 0x20, processes: 0x28, machine: 0x30, processors: 0x34, code: 0x38, params: 0x40,
	version: 0x60, kdbg: 0x80, phys: 0x88, context: 0x348, exception: 0xf00, dumpType: 0xf98,
	space: 0xfa0, systemTime: 0xfa8, comment: 0xfb0, upTime: 0x1030, fields: 0x1038, secondary: 0x103c,
	product: 0x1040, suite: 0x1044, writer: 0x1048, kdSecondary: 0x104d, attributes: 0x1050, bootID: 0x1054,
	contextSize: contextSize64, exceptionSize: 0x98,
}

var layout32 = layout{
	size: headerSize32, ptr: 4,
	dtb: 0x10, pfn: 0x14, modules: 0x18, processes: 0x1c, machine: 0x20, processors: 0x24, code: 0x28, params: 0x2c,
	version: 0x3c, kdbg: 0x60, phys: 0x64, context: 0x320, exception: 0x7d0, comment: 0x820, dumpType: 0xf88,
	fields: 0xf8c, secondary: 0xf90, product: 0xf94, suite: 0xf98, writer: 0xf9c,
	space: 0xfa0, upTime: 0xfb8, systemTime: 0xfc0, kdSecondary: 0x5d, attributes: none, bootID: none,
	contextSize: contextSize32, exceptionSize: 0x50,
}

const pae32 = 0x5c // u8 PaeEnabled of DUMP_HEADER32

// fields reads the fields of a header and takes the filler "PAGE" for zero.
type fields struct {
	b   []byte
	ptr int
}

func (f fields) u32(off int) uint32 {
	if off == none {
		return 0
	}
	v := binary.LittleEndian.Uint32(f.b[off:])
	if v == magicPAGE {
		return 0
	}
	return v
}

func (f fields) u8(off int) uint8 {
	// Some writers fill in the first byte of the word alone.
	if f.b[off] == "PAGE"[off%4] {
		return 0
	}
	return f.b[off]
}

func (f fields) u64(off int) uint64 {
	v := binary.LittleEndian.Uint64(f.b[off:])
	if v == magicPAGE<<32|magicPAGE {
		return 0
	}
	return v
}

func (f fields) pointer(off int) uint64 {
	if f.ptr == 8 {
		return f.u64(off)
	}
	return uint64(f.u32(off))
}

func (f fields) text(off, size int) string {
	b := f.b[off : off+size]
	if bytes.HasPrefix(b, []byte("PAGEPAGE")) {
		return ""
	}
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(bytes.ToValidUTF8(b, []byte("?")))
}

// parseHeader reads the header in b, which is as long as l.size.
func parseHeader(b []byte, l *layout) Header {
	f := fields{b, l.ptr}
	h := Header{
		Bits:                l.ptr * 8,
		MajorVersion:        binary.LittleEndian.Uint32(b[8:]),
		MinorVersion:        binary.LittleEndian.Uint32(b[12:]),
		DirectoryTableBase:  f.pointer(l.dtb),
		PfnDatabase:         f.pointer(l.pfn),
		PsLoadedModuleList:  f.pointer(l.modules),
		PsActiveProcessHead: f.pointer(l.processes),
		MachineImageType:    f.u32(l.machine),
		NumberProcessors:    int(f.u32(l.processors)),
		BugCheckCode:        f.u32(l.code),
		VersionUser:         f.text(l.version, versionSize),
		KdDebuggerDataBlock: f.pointer(l.kdbg),
		Type:                DumpType(f.u32(l.dumpType)),
		RequiredDumpSpace:   f.u64(l.space),
		SystemTime:          filetime(f.u64(l.systemTime)),
		SystemUpTime:        interval(f.u64(l.upTime)),
		Comment:             f.text(l.comment, commentSize),
		MiniDumpFields:      f.u32(l.fields),
		SecondaryDataState:  f.u32(l.secondary),
		ProductType:         f.u32(l.product),
		SuiteMask:           f.u32(l.suite),
		WriterStatus:        f.u32(l.writer),
		KdSecondaryVersion:  f.u8(l.kdSecondary),
		Attributes:          Attributes(f.u32(l.attributes)),
		BootID:              f.u32(l.bootID),
		PAE:                 l.ptr == 4 && b[pae32] == 1,
	}
	for i := range h.BugCheckParameters {
		h.BugCheckParameters[i] = f.pointer(l.params + i*l.ptr)
	}
	h.physicalMemory(b[l.phys:l.phys+physBlockSize], l)
	return h
}

// physicalMemory reads PHYSICAL_MEMORY_DESCRIPTOR:
//
//	0  u32  number of runs
//	8  u64  number of pages (4, u32 in a 32-bit dump)
//	10 {u64 first page, u64 number of pages} (8, u32 in a 32-bit dump)
func (h *Header) physicalMemory(b []byte, l *layout) {
	f := fields{b, l.ptr}
	word, pages, runs := l.ptr, 8, 16
	if word == 4 {
		pages, runs = 4, 8
	}
	n := binary.LittleEndian.Uint32(b)
	if n == magicPAGE || n == 0 {
		return
	}
	h.NumberOfPages = f.pointer(pages)
	if room := uint32((len(b) - runs) / (2 * word)); n > room {
		h.Warning = "the header has room for fewer runs of memory than it announces"
		n = room
	}
	var all []kdump.Run
	off := int64(l.size)
	for ; n > 0; n-- {
		base, count := f.pointer(runs), f.pointer(runs+word)
		runs += 2 * word
		if base >= maxPFN || count > maxPFN-base {
			h.Warning = "the header lists memory beyond the physical address space"
			break
		}
		h.runs = append(h.runs, fileRun{base, count, off})
		off += int64(count << pageShift)
		if off < 0 || off > maxFile {
			h.Warning = "the header lists more memory than any machine has"
			break
		}
		all = append(all, kdump.Run{Addr: base << pageShift, Size: count << pageShift})
	}
	h.Runs = kdump.NormalizeRuns(all)
}

const (
	maxPFN  = kdump.MaxPhysAddr >> pageShift
	maxFile = 1 << 54 // bytes: keeps sums of file offsets from overflowing
)

// filetime converts a FILETIME: 100 ns since 1601-01-01 UTC.
func filetime(v uint64) time.Time {
	const to1970 = 116444736000000000
	if v < to1970 || v > to1970+1<<62 {
		return time.Time{}
	}
	v -= to1970
	return time.Unix(int64(v/1e7), int64(v%1e7)*100).UTC()
}

// interval converts a number of 100 ns.
func interval(v uint64) time.Duration {
	if v > 1<<63/100-1 {
		return 0
	}
	return time.Duration(v) * 100
}
