/*
Package windump reads the crash dumps of the Windows kernel: what MEMORY.DMP
and the files in the Minidump folder hold, and what a live kernel dump of Task
Manager or of NtSystemDebugControl is.

A dump is a header and, depending on its type, memory. Everything is little
endian. Fields that the writer did not know hold the text "PAGE".

	0     DUMP_HEADER64  0x2000 bytes: "PAGEDU64", see Header
	2000  by DumpType:
	      1 full            the pages of the header's physical runs, back to back
	      2 kernel summary  bitmap, below
	      3 header          nothing
	      4 triage          TRIAGE_DUMP64, see Triage
	      5 bitmap full     bitmap
	      6 bitmap kernel   bitmap
	      8, 9, A           page ranges, below (the .dump /k, /ka, /f of WinDbg)

	bitmap: one bit a page, the pages of the set bits in order
	+00  "SDMP" or "FDMP", "DUMP"
	+20  u64 file offset of the first page
	+28  u64 number of set bits
	+30  u64 number of bits
	+38  bits
	older form (type 2, up to Windows 7), which has no number at +20:
	+0c  u32 file offset of the first page
	+10  u32 number of bits
	+14  u32 number of set bits
	+28  bits (+20 in a 32-bit dump)

	page ranges
	+00  u32 0x40, "RDMP", "DUMP"
	+10  u64 bytes of the metadata
	+18  u64 file offset of the first page
	+28  u64 number of pages (type A)
	+30  {u64 first page, u64 number of pages}, ends with a zero page number

A 32-bit dump begins with "PAGEDUMP"; its DUMP_HEADER32 has 0x1000 bytes.

NewReader needs the header only; whatever else is damaged is an error of the
accessor that needs it. Reader.ReadPhys reads physical memory, Reader.ReadVirt
kernel memory by the page tables of the dump, or from the blocks that a small
dump holds.

Dumps of Itanium and Alpha, dumps whose pages Windows 11 compressed, and
secondary data are not read.

The layouts are those of the public tools that read these dumps: Volatility 3
(crash64.json, crash_common.json), kdmp-parser (kdmp-parser-structs.h), Rizin
(dmp_specs.h), WinDbg's SDK (wdbgexts.h, KDDEBUGGER_DATA64). The header and the
small dump were checked with dumps that Windows wrote on x64 and arm64. Complete
dumps, bitmaps and page ranges are such as kdmp-parser reads in the same way;
32-bit dumps, the older bitmap and the page tables of arm64 follow the
descriptions alone.
*/
package windump

import (
	"errors"
	"fmt"

	"procdump/kdump"
)

// Format is what kdump.Dump.Format says of a Windows dump, before its type.
const Format = "Windows crash dump"

// Sizes of the headers and the structures in them, in bytes.
const (
	headerSize64 = 0x2000
	headerSize32 = 0x1000

	physBlockSize = 700 // PhysicalMemoryBlockBuffer
	contextSize64 = 3000
	contextSize32 = 1200
	versionSize   = 32
	commentSize   = 128
)

const (
	pageShift = 12
	pageSize  = 1 << pageShift
)

// Magic numbers, as u32.
const (
	magicPAGE = 0x45474150
	magicDU64 = 0x34365544
	magicDUMP = 0x504d5544
	magicSDMP = 0x504d4453
	magicFDMP = 0x504d4446
	magicRDMP = 0x504d4452
	magicTRGD = 0x44475254
	magicKDBG = 0x4742444b
)

// Values of Header.MachineImageType (IMAGE_FILE_MACHINE_*, winnt.h).
const (
	MachineI386  = 0x14c
	MachineAMD64 = 0x8664
	MachineARM64 = 0xaa64
)

// Limits on what a damaged dump can make the reader do.
const (
	maxModules    = 1 << 14 // entries of a list of modules
	maxProcesses  = 1 << 16
	maxBlocks     = 1 << 18 // data blocks of a small dump
	maxProcessors = 2048    // Windows Server 2022's limit
	maxText       = 1 << 15 // bytes of one string
	maxTexts      = 4 << 20 // bytes of all strings of a list
	maxStruct     = 1 << 18 // bytes of a KPRCB, an EPROCESS or an ETHREAD
	maxStack      = 1 << 20 // bytes of a kernel stack
)

// ErrNotThere is the cause of the errors for what a dump of this type does not
// hold, for instance physical memory in a small dump.
var ErrNotThere = errors.New("windump: not in a dump of this type")

// ErrNotMapped is the cause of a PageFault where Windows itself would have had
// a page fault: nothing is mapped, or the page is not in memory.
var ErrNotMapped = errors.New("windump: no page at this virtual address")

// ErrEncoded is returned for a debugger data block that Windows keeps encoded
// while it runs, and that was dumped so.
var ErrEncoded = errors.New("windump: the debugger data block is encoded; it can only be decoded with the kernel's symbols")

// ErrEncrypted is the cause of the errors for the memory of a dump whose contents
// are encrypted. It is decrypted with the private key of the certificate that the
// machine was set up with.
var ErrEncrypted = errors.New("windump: the dump is encrypted: decrypt it first, with the key of the machine's dump certificate")

// damaged returns the error for bytes at a file offset that are not what they
// should be.
func damaged(off int64, format string, args ...any) error {
	return &kdump.FormatError{Format: Format, Off: off, What: fmt.Sprintf(format, args...)}
}

// PageFault says why a virtual address could not be translated. It wraps
// ErrNotMapped, or the error of the page table that could not be read.
type PageFault struct {
	Addr   uint64 // virtual address
	Level  string // the table that ended the walk: "PML4", "PTE", …
	Entry  uint64 // its entry
	Reason string
	Err    error
}

// Error implements error.
func (e *PageFault) Error() string {
	s := fmt.Sprintf("windump: virtual address %#x: %s %#x: %s", e.Addr, e.Level, e.Entry, e.Reason)
	if e.Err != nil && e.Err != ErrNotMapped {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *PageFault) Unwrap() error { return e.Err }
