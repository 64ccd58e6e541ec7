package windump

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"procdump/kdump"
)

// Block is memory that a small dump holds by virtual address.
type Block struct {
	Addr uint64 // virtual address
	Off  int64  // in the file
	Size uint64 // bytes
}

// TriageDump is TRIAGE_DUMP64 or TRIAGE_DUMP32, which follows the header of a
// small dump. An offset is that of a structure in the file, 0 if it is missing.
type TriageDump struct {
	ServicePackBuild                     uint32
	SizeOfDump                           uint32 // bytes
	Valid                                bool   // the writer reached the end ("TRGD")
	ContextOffset, ExceptionOffset       uint32
	MmOffset, UnloadedDriversOffset      uint32
	PrcbOffset, ProcessOffset            uint32 // KPRCB and EPROCESS of the crash
	ThreadOffset                         uint32 // its ETHREAD
	CallStackOffset, SizeOfCallStack     uint32
	DriverListOffset, DriverCount        uint32
	StringPoolOffset, StringPoolSize     uint32
	BrokenDriverOffset                   uint32
	TriageOptions                        uint32
	TopOfStack                           uint64 // virtual address of the first byte of the call stack
	DataPageAddress                      uint64
	DataPageOffset, DataPageSize         uint32
	DebuggerDataOffset, DebuggerDataSize uint32
	DataBlocksOffset, DataBlocksCount    uint32
	blocks                               []Block // the data blocks, as listed
	memory                               []Block // all memory, ascending and disjoint
	r                                    *Reader
}

const (
	triageSize64 = 0x80
	triageSize32 = 0x68
)

// Triage returns the head of a small dump.
func (r *Reader) Triage() (*TriageDump, error) {
	if r.triage == nil {
		return nil, r.triageErr
	}
	return r.triage, nil
}

// readTriage reads the head and the list of blocks.
func (r *Reader) readTriage() (*TriageDump, error) {
	size := triageSize64
	if r.layout.ptr == 4 {
		size = triageSize32
	}
	b, err := r.exactly(int64(r.layout.size), size, "head of the small dump")
	if err != nil {
		return nil, err
	}
	t := &TriageDump{r: r}
	word := func() uint32 {
		v := fields{b, 4}.u32(0)
		b = b[4:]
		return v
	}
	pointer := func() uint64 {
		v := fields{b, r.layout.ptr}.pointer(0)
		b = b[r.layout.ptr:]
		return v
	}
	var validOffset uint32
	for _, f := range []*uint32{
		&t.ServicePackBuild, &t.SizeOfDump, &validOffset, &t.ContextOffset, &t.ExceptionOffset, &t.MmOffset,
		&t.UnloadedDriversOffset, &t.PrcbOffset, &t.ProcessOffset, &t.ThreadOffset, &t.CallStackOffset, &t.SizeOfCallStack,
		&t.DriverListOffset, &t.DriverCount, &t.StringPoolOffset, &t.StringPoolSize, &t.BrokenDriverOffset, &t.TriageOptions,
	} {
		*f = word()
	}
	t.TopOfStack = pointer()
	if r.layout.ptr == 8 {
		b = b[16:] // Itanium's register stack
	}
	t.DataPageAddress = pointer()
	for _, f := range []*uint32{&t.DataPageOffset, &t.DataPageSize, &t.DebuggerDataOffset, &t.DebuggerDataSize, &t.DataBlocksOffset, &t.DataBlocksCount} {
		*f = word()
	}
	if v, err := r.bytes(int64(validOffset), 4); err == nil && len(v) == 4 {
		t.Valid = binary.LittleEndian.Uint32(v) == magicTRGD
	}
	return t, t.readBlocks()
}

// readBlocks reads the list of data blocks: {pointer address, u32 offset, u32
// size}. A list that the end of the file cuts off is taken as far as it goes.
func (t *TriageDump) readBlocks() error {
	ptr := t.r.layout.ptr
	entry := ptr + 8
	n := 0
	if t.DataBlocksOffset != 0 {
		n = int(min(t.DataBlocksCount, maxBlocks))
	}
	b, err := t.r.bytes(int64(t.DataBlocksOffset), n*entry)
	if err != nil {
		return fmt.Errorf("read data blocks: %w", err)
	}
	for ; len(b) >= entry; b = b[entry:] {
		t.blocks = append(t.blocks, Block{
			fields{b, ptr}.pointer(0), int64(binary.LittleEndian.Uint32(b[ptr:])), uint64(binary.LittleEndian.Uint32(b[ptr+4:])),
		})
	}
	t.index()
	return nil
}

// index puts all memory of the dump in order.
func (t *TriageDump) index() {
	all := slices.Clone(t.blocks)
	for _, b := range []Block{
		{t.TopOfStack, int64(t.CallStackOffset), uint64(t.SizeOfCallStack)},
		{t.DataPageAddress, int64(t.DataPageOffset), uint64(t.DataPageSize)},
		{t.r.Header.KdDebuggerDataBlock, int64(t.DebuggerDataOffset), uint64(t.DebuggerDataSize)},
	} {
		if b.Addr != 0 && b.Off != 0 {
			all = append(all, b)
		}
	}
	slices.SortStableFunc(all, func(a, b Block) int { return cmp.Compare(a.Addr, b.Addr) })
	var end uint64
	for _, b := range all {
		if b.Addr+b.Size < b.Addr {
			continue
		}
		if b.Addr < end {
			skip := min(end-b.Addr, b.Size)
			b = Block{b.Addr + skip, b.Off + int64(skip), b.Size - skip}
		}
		if b.Size > 0 {
			t.memory, end = append(t.memory, b), b.Addr+b.Size
		}
	}
}

// Blocks returns the data blocks in the order of the dump.
func (t *TriageDump) Blocks() []Block { return slices.Clone(t.blocks) }

// ReadVirt reads memory from the data blocks, the call stack, the data page and
// the debugger data block.
func (t *TriageDump) ReadVirt(b []byte, addr uint64) (n int, err error) {
	if t.r.layout.ptr == 4 && addr>>32 == 0xffffffff {
		addr &= 0xffffffff // the debugger data block's addresses are sign-extended
	}
	for n < len(b) {
		at := addr + uint64(n)
		i, ok := slices.BinarySearchFunc(t.memory, at, func(b Block, at uint64) int { return cmp.Compare(b.Addr, at) })
		if !ok {
			i--
		}
		if i < 0 || at-t.memory[i].Addr >= t.memory[i].Size {
			return n, fmt.Errorf("%w: the small dump does not hold virtual address %#x", kdump.ErrExcluded, at)
		}
		m := t.memory[i]
		in := at - m.Addr
		k, err := t.r.readFile(b[n:n+int(min(uint64(len(b)-n), m.Size-in))], m.Off+int64(in))
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// CallStack returns the kernel stack of the thread that crashed, from the stack
// pointer TopOfStack on.
func (t *TriageDump) CallStack() ([]byte, error) {
	return t.piece("call stack", t.CallStackOffset, t.SizeOfCallStack, maxStack)
}

// Prcb returns the KPRCB of the processor that crashed, in the length that the
// debugger data block says.
func (t *TriageDump) Prcb() ([]byte, error) {
	return t.structure("KPRCB", t.PrcbOffset, func(d *DebuggerData) uint16 { return d.SizePrcb })
}

// Process returns the EPROCESS; see Prcb.
func (t *TriageDump) Process() ([]byte, error) {
	return t.structure("EPROCESS", t.ProcessOffset, func(d *DebuggerData) uint16 { return d.SizeProcess })
}

// Thread returns the ETHREAD; see Prcb.
func (t *TriageDump) Thread() ([]byte, error) {
	return t.structure("ETHREAD", t.ThreadOffset, func(d *DebuggerData) uint16 { return d.SizeThread })
}

func (t *TriageDump) structure(what string, off uint32, size func(*DebuggerData) uint16) ([]byte, error) {
	d, err := t.r.DebuggerData()
	if err != nil {
		return nil, err
	}
	return t.piece(what, off, uint32(size(d)), maxStruct)
}

// piece returns a structure of the dump.
func (t *TriageDump) piece(what string, off, size, limit uint32) ([]byte, error) {
	if off == 0 || size == 0 {
		return nil, fmt.Errorf("%w: no %s", ErrNotThere, what)
	}
	if size > limit {
		return nil, damaged(int64(t.r.layout.size), "%s of %d bytes", what, size)
	}
	return t.r.exactly(int64(off), int(size), what)
}

// BrokenDriver returns the name of the driver that Windows blames, "" if it
// blames none.
func (t *TriageDump) BrokenDriver() (string, error) {
	if t.BrokenDriverOffset == 0 {
		return "", nil
	}
	return t.poolString(t.BrokenDriverOffset)
}

// poolString reads a string of the pool: u32 length in UTF-16 units, text.
func (t *TriageDump) poolString(off uint32) (string, error) {
	pool := uint64(t.StringPoolOffset) + uint64(t.StringPoolSize)
	if off < t.StringPoolOffset || uint64(off)+4 > pool {
		return "", damaged(int64(off), "string outside of the pool")
	}
	b, err := t.r.exactly(int64(off), 4, "string")
	if err != nil {
		return "", err
	}
	n := binary.LittleEndian.Uint32(b)
	if n > maxText/2 || uint64(off)+4+2*uint64(n) > pool {
		return "", damaged(int64(off), "string of %d characters", n)
	}
	if b, err = t.r.exactly(int64(off)+4, int(2*n), "string"); err != nil {
		return "", err
	}
	return text16(b), nil
}
