package snapshot

import (
	"errors"
	"fmt"
)

// Memory reads the target's memory as it was at the snapshot's instant.
// Implementations may be used by several goroutines at once.
type Memory interface {
	// ReadMemory fills p from addr. If it cannot read all of it, it returns
	// the number of bytes read before the first unreadable one and a
	// *MemoryError with that address; it never invents bytes.
	ReadMemory(p []byte, addr uint64) (n int, err error)

	// Extents lists, in ascending order and clipped to r, the pages of r that
	// hold something and can be read without disturbing the target. In a
	// private anonymous region what is not listed is zero; elsewhere what is
	// not listed is not to be had from this source.
	Extents(r Range) ([]Extent, error)
}

// ExtentKind tells what stands behind the pages of an extent. The bits are
// those of PAGEMAP_SCAN (linux/fs.h, PAGE_IS_*).
type ExtentKind uint8

const (
	ExtentFile    ExtentKind = 1 << 2 // a file's page, or shared anonymous memory; clear: private anonymous
	ExtentPresent ExtentKind = 1 << 3 // in RAM
	ExtentSwapped ExtentKind = 1 << 4 // in swap
	ExtentZero    ExtentKind = 1 << 5 // the kernel's shared zero page: content is zero
)

// ExtentReader is a Memory that copies many extents at once, faster than by
// ReadMemory.
type ExtentReader interface {
	Memory
	// ReadExtents copies extents that Extents returned, back to back, into p,
	// which is as long as they are together. Pages that cannot be read become
	// zero and are listed in bad. An error means that the target is gone.
	ReadExtents(p []byte, xs []Extent) (bad []Range, err error)
}

// PartlySeen is a Memory that cannot see all there is.
type PartlySeen interface {
	Memory
	// Unknown lists memory for which Extents was asked and that may hold more
	// than it said.
	Unknown() []LeftOut
}

// Extent is a run of pages of one kind.
type Extent struct {
	Range
	Kind ExtentKind
}

// Anonymous tells whether the extent's bytes exist nowhere but in the process:
// private anonymous memory or a privately changed (copied on write) file page.
func (e Extent) Anonymous() bool { return e.Kind&(ExtentFile|ExtentZero) == 0 }

// ErrNotMapped is the cause of a MemoryError where the address belongs to no
// region or its bytes are not in the source.
var ErrNotMapped = errors.New("memory not available")

// MemoryError tells at which address a read stopped.
type MemoryError struct {
	Addr uint64
	Err  error
}

func (e *MemoryError) Error() string { return fmt.Sprintf("read memory at %#x: %v", e.Addr, e.Err) }
func (e *MemoryError) Unwrap() error { return e.Err }
