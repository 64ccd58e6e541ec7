package windump

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"procdump/arch"
	"procdump/kdump"
)

// Reader reads a Windows crash dump. Its methods may be used by several
// goroutines at once if the underlying io.ReaderAt allows that.
//
// An accessor returns an error that wraps ErrNotThere if a dump of this type
// does not hold what is asked for. A *kdump.FormatError says that the dump is
// damaged, a *PageFault that memory which leads there is not in the dump.
type Reader struct {
	Header Header

	r      io.ReaderAt
	size   int64
	layout *layout
	raw    []byte // the header

	pages    pageIndex // nil if there are none
	pagesErr error     // why

	triage    *TriageDump
	triageErr error

	space    sync.Once
	virt     *addressSpace
	debugger sync.Once
	kdbg     *DebuggerData
	kdbgErr  error
}

// Is tells whether b, the first bytes of a file, are of a Windows crash dump:
// "PAGEDU64" or "PAGEDUMP".
func Is(b []byte) bool {
	return len(b) >= 8 && (string(b[:8]) == "PAGEDU64" || string(b[:8]) == "PAGEDUMP")
}

// NewReader reads the header of the dump of size bytes in r, and where its
// pages lie. It does not close r, which must stay usable as long as the Reader
// is. The error wraps kdump.ErrFormat if the file is no Windows crash dump; it
// is a *kdump.FormatError if the file ends within the header.
func NewReader(r io.ReaderAt, size int64) (*Reader, error) {
	d := &Reader{r: r, size: size}
	magic, err := d.bytes(0, 8)
	if err != nil {
		return nil, fmt.Errorf("read header: %w", err)
	}
	if !Is(magic) {
		return nil, fmt.Errorf("%w: no header of a Windows crash dump", kdump.ErrFormat)
	}
	d.layout = &layout64
	if binary.LittleEndian.Uint32(magic[4:]) == magicDUMP {
		d.layout = &layout32
	}
	if d.raw, err = d.bytes(0, d.layout.size); err != nil {
		return nil, fmt.Errorf("read header: %w", err)
	}
	if len(d.raw) < d.layout.size {
		return nil, damaged(0, "header of %d bytes in a file of %d", d.layout.size, size)
	}
	d.Header = parseHeader(d.raw, d.layout)
	d.findMemory()
	return d, nil
}

// findMemory reads what the type of the dump says about its memory.
func (r *Reader) findMemory() {
	r.pagesErr = fmt.Errorf("%w: a %v holds no physical memory", ErrNotThere, r.Header.Type)
	r.triageErr = fmt.Errorf("%w: a %v has no triage block", ErrNotThere, r.Header.Type)
	if r.Header.Attributes&EncryptedDumpData != 0 && r.Header.Attributes&DecryptedDump == 0 {
		r.pagesErr, r.triageErr = ErrEncrypted, ErrEncrypted
		return
	}
	head, err := r.bytes(int64(r.layout.size), 12)
	if err != nil {
		r.pagesErr = fmt.Errorf("read memory's header: %w", err)
		return
	}
	head = append(head, make([]byte, 12-len(head))...)
	bitmap := binary.LittleEndian.Uint32(head[4:]) == magicDUMP &&
		(binary.LittleEndian.Uint32(head) == magicSDMP || binary.LittleEndian.Uint32(head) == magicFDMP)
	switch t := r.Header.Type; t {
	case Full:
		r.pages, r.pagesErr = r.runPages()
	case KernelSummary, BitmapFull, BitmapKernel, Automatic:
		r.pages, r.pagesErr = r.bitmapPages(bitmap)
	case RangesKernel, RangesKernelAndUser, RangesComplete:
		r.pages, r.pagesErr = r.rangePages()
	case Triage:
		r.triage, r.triageErr = r.readTriage()
	case HeaderOnly:
	default:
		if bitmap {
			r.pages, r.pagesErr = r.bitmapPages(bitmap)
		} else {
			r.pagesErr = damaged(int64(r.layout.dumpType), "%v", t)
		}
	}
}

// bytes returns up to n bytes at off: fewer only where the file ends. It
// allocates no more than the file holds.
func (r *Reader) bytes(off int64, n int) ([]byte, error) {
	if off < 0 || off >= r.size || n <= 0 {
		return nil, nil
	}
	b := make([]byte, min(int64(n), r.size-off))
	k, err := r.r.ReadAt(b, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return b[:k], err
	}
	return b[:k], nil
}

// exactly returns n bytes at off, or an error.
func (r *Reader) exactly(off int64, n int, what string) ([]byte, error) {
	b, err := r.bytes(off, n)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	if len(b) < n {
		return nil, damaged(off, "%s of %d bytes is cut off", what, n)
	}
	return b, nil
}

// Context returns the registers of the thread that crashed, as the header holds
// them: those of the call to KeBugCheckEx, or of the exception.
func (r *Reader) Context() (arch.Registers, error) {
	b := r.raw[r.layout.context : r.layout.context+r.layout.contextSize]
	if binary.LittleEndian.Uint32(b) == magicPAGE {
		return arch.Registers{}, fmt.Errorf("%w: the header holds no context", ErrNotThere)
	}
	regs, err := r.registers(b)
	if err != nil {
		return arch.Registers{}, damaged(int64(r.layout.context), "%v", err)
	}
	return regs, nil
}

// Sizes of the CONTEXT structures of winnt.h, in bytes.
const (
	contextAMD64 = 1232
	contextARM64 = 912
	contextI386  = 716
)

// contextSize is the size of the CONTEXT of the dump's machine, 0 if unknown.
func (r *Reader) contextSize() int {
	switch r.Header.Machine() {
	case arch.AMD64:
		return contextAMD64
	case arch.ARM64:
		return contextARM64
	case arch.I386:
		return contextI386
	}
	return 0
}

// registers decodes a CONTEXT.
func (r *Reader) registers(b []byte) (arch.Registers, error) {
	m := r.Header.Machine()
	if n := r.contextSize(); len(b) > n {
		b = b[:n]
	}
	regs, err := arch.FromContext(m, b)
	if err == nil && m == arch.AMD64 {
		// The bytes that procdump's own contexts use for the segment bases are
		// reserved here. In the kernel they come from MSRs.
		regs.SetGP("fs_base", 0)
		regs.SetGP("gs_base", 0)
	}
	return regs, err
}

// Exception is EXCEPTION_RECORD64 or EXCEPTION_RECORD32.
type Exception struct {
	Code        uint32 // NTSTATUS, for instance 0xc0000005
	Flags       uint32
	Record      uint64 // virtual address of the exception it happened in, 0 if none
	Address     uint64 // of the instruction
	Information []uint64
}

const maxExceptionInformation = 15 // EXCEPTION_MAXIMUM_PARAMETERS

// Exception returns the exception record of the header. Dumps of a bug check
// that was called say 0x80000003 (breakpoint) here, in KeBugCheckEx.
func (r *Reader) Exception() (*Exception, error) {
	off := r.layout.exception
	e := r.exception(r.raw[off : off+r.layout.exceptionSize])
	if e == nil {
		return nil, fmt.Errorf("%w: the header holds no exception", ErrNotThere)
	}
	return e, nil
}

// exception decodes an exception record, or returns nil where there is none.
func (r *Reader) exception(b []byte) *Exception {
	f := fields{b, r.layout.ptr}
	e := &Exception{Code: f.u32(0), Flags: f.u32(4), Record: f.pointer(8), Address: f.pointer(8 + f.ptr)}
	if e.Code == 0 {
		return nil
	}
	n := f.u32(8 + 2*f.ptr)
	if n > maxExceptionInformation {
		n = 0
	}
	off := 8 + 3*f.ptr // after the count, and padding to a pointer
	for i := range int(n) {
		e.Information = append(e.Information, f.pointer(off+i*f.ptr))
	}
	return e
}
