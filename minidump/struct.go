/*
Package minidump reads and writes minidumps: the dump format of Windows, which
Breakpad, Crashpad and LLDB also use for Linux processes.

A minidump is a header, a directory, and streams in any order:

	0  Header      32 bytes: "MDMP", version, number of streams, directory RVA, …
	   Directory   12 bytes a stream: u32 type, u32 size, u32 RVA
	   streams     each of the layout its type says; they point with RVAs
	               (file offsets) to strings, contexts, memory, …

Everything is little endian and packed to 4 bytes. An RVA is a u32; only the
payload of a Memory64List may lie beyond the first 4 GiB. Text is
MINIDUMP_STRING: u32 length in bytes, UTF-16, NUL.

NewLayout and Layout.WriteHead write a dump of a snapshot.Process; the caller puts
the memory where Layout.Placements says, in any order, so that a sparse file is
possible. Write does all of it in sequence. A dump holds exactly one stream of
each type: some readers reject duplicates.

NewReader reads the dumps of Linux and Windows processes on amd64, i386 and
arm64, whoever wrote them. It needs header and directory; a stream is parsed
when asked for, so that a damaged dump gives what is left of it.

Three kinds of things have no standard stream. They go into streams of our own,
which other readers skip: snapshot.InfoStream (JSON, see snapshot.WriteNote)
and NotesStream (see Notes).

Not supported: writing dumps of Windows processes, full-memory dumps that
Windows compresses, user streams, and the machines other than those above.

Specifications: Microsoft's minidumpapiset.h
(https://learn.microsoft.com/windows/win32/api/minidumpapiset/), Breakpad's
minidump_format.h, Crashpad's minidump_extensions.h.
*/
package minidump

import (
	"errors"
	"fmt"
)

// Sizes of the structures in a minidump, in bytes.
const (
	headerSize       = 32
	directorySize    = 12
	systemInfoSize   = 56
	threadSize       = 48
	threadNameSize   = 12
	threadInfoSize   = 64
	moduleSize       = 108
	unloadedSize     = 24
	memorySize       = 16
	memory64Size     = 16
	memoryInfoSize   = 48
	handleSize       = 32
	exceptionSize    = 168
	miscInfoSize     = 832 // MINIDUMP_MISC_INFO_4
	breakpadInfoSize = 12
)

const (
	signature = 0x504d444d // "MDMP"
	version   = 0xa793     // the low 16 bits of Header.Version
)

// Flags of Header.Flags (MINIDUMP_TYPE). They inform; no reader depends on them.
const (
	MiniDumpWithFullMemory         = 0x2
	MiniDumpWithHandleData         = 0x4
	MiniDumpWithUnloadedModules    = 0x20
	MiniDumpWithIndirectlyRefMem   = 0x40
	MiniDumpWithFullMemoryInfo     = 0x800
	MiniDumpWithThreadInfo         = 0x1000
	headerFlags                    = MiniDumpWithHandleData | MiniDumpWithUnloadedModules | MiniDumpWithIndirectlyRefMem | MiniDumpWithFullMemoryInfo | MiniDumpWithThreadInfo
	maxRVA                         = 1<<32 - 1
	maxRegion                      = 64 << 20 // bytes of a region that Breakpad reads
	maxRegions                     = 4096     // regions in a MemoryList that Breakpad reads
	maxNameUnits                   = 1024     // UTF-16 units of a string that Breakpad reads
	maxStreams                     = 1 << 12  // directory entries that Reader reads
	maxDirectory                   = maxStreams * directorySize
	maxStream                      = 1 << 30  // bytes of a stream that Reader reads
	maxEntries                     = 1 << 20  // entries of a list that Reader reads
	maxText                        = 16 << 20 // bytes of all strings of a stream that Reader reads
	maxContext                     = 16 << 10 // bytes of a CONTEXT with all XSAVE components that Reader reads
	maxCodeView                    = 32 << 10 // bytes of a CodeView record that Reader reads
	stringHeader, stringTerminator = 4, 2
)

// ErrFormat is the cause of every error that says that bytes are not a
// minidump or not the structure that the directory promises.
var ErrFormat = errors.New("minidump: bad format")

// ErrNoStream is returned for a stream that the dump does not have.
var ErrNoStream = errors.New("minidump: no such stream")

// ErrTooLarge is returned by NewLayout where the dump without Options.Full
// would pass 4 GiB, which RVAs cannot express.
var ErrTooLarge = errors.New("minidump: memory does not fit into 4 GiB without a Memory64List")

// ErrChanged is returned by Layout.WriteHead where the process has more to say than
// when the layout was made.
var ErrChanged = errors.New("minidump: process has changed since the layout was made")

// FormatError tells which bytes of a dump are bad. It wraps ErrFormat, and Err
// if that is set.
type FormatError struct {
	Off  int64  // file offset of the structure
	What string // the structure and what is wrong with it
	Err  error  // the cause, may be nil
}

func (e *FormatError) Error() string {
	s := fmt.Sprintf("minidump: %s at byte %#x", e.What, e.Off)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *FormatError) Unwrap() []error {
	if e.Err != nil {
		return []error{ErrFormat, e.Err}
	}
	return []error{ErrFormat}
}

// Header is the start of a minidump (MINIDUMP_HEADER).
type Header struct {
	Version   uint32 // low 16 bits 0xa793, the rest is the writer's
	Checksum  uint32
	Timestamp uint32 // seconds since 1970
	Flags     uint64 // MiniDumpWith…
}

// Directory locates one stream (MINIDUMP_DIRECTORY).
type Directory struct {
	Type StreamType
	Location
}

// Location is a piece of the file (MINIDUMP_LOCATION_DESCRIPTOR).
type Location struct {
	Size uint32 // bytes
	RVA  uint32 // file offset
}
