package diskdump

import (
	"encoding/binary"
	"io"
	"math"
	"time"

	"procdump/kdump"
)

// header is disk_dump_header and kdump_sub_header together.
type header struct {
	version      uint32
	uts          kdump.Uname
	time         time.Time
	status       uint32
	blockSize    uint64
	subBlocks    uint64
	bitmapBlocks uint64 // of both bitmaps
	maxPFN       uint64 // page frames that the bitmaps cover
	nrCPUs       uint32

	physBase           int64
	dumpLevel          int32
	split              bool
	startPFN, endPFN   uint64 // of the part that a split dump's file holds
	infoOff, infoSize  uint64 // VMCOREINFO
	noteOff, notesSize uint64
}

// layout says where the fields lie that differ between kernels with 8-byte
// and with 4-byte longs. The sub header's fields from offset_vmcoreinfo on:
// off_t is 8 bytes in both, but i386 aligns it to 4.
type layout struct {
	time, status      int
	long              int
	split, start      int
	info, note, end64 int
	subSize           int
}

var (
	layout64 = layout{time: 408, status: 424, long: 8, split: 12, start: 16, info: 32, note: 48, end64: 80, subSize: 104}
	layout32 = layout{time: 404, status: 412, long: 4, split: 8, start: 12, info: 20, note: 32, end64: 56, subSize: 80}
)

const (
	utsOffset  = 12
	maxVersion = 6
	// maxNotes bounds what is read into memory of notes and of VMCOREINFO:
	// some thousands of CPUs.
	maxNotes = 64 << 20
	// minHeader is the smallest block.
	minHeader = 4096
)

// fields of disk_dump_header counted from status.
const (
	fBlockSize = 4
	fSubBlocks = 8
	fBitmap    = 12
	fMaxMapnr  = 16
	fTotalRAM  = 20
	fWritten   = 28
	fNrCPUs    = 36
)

// readHeader reads and checks the header of a file of the given size.
func readHeader(r io.ReaderAt, size int64) (*header, error) {
	b := make([]byte, minHeader)
	if size < minHeader {
		return nil, bad(size, "file is shorter than a header")
	}
	if _, err := r.ReadAt(b, 0); err != nil {
		return nil, err
	}
	if !Match(b) {
		return nil, kdump.ErrFormat
	}
	le := binary.LittleEndian
	l := &layout64
	if !kdump.ValidPageSize(uint64(le.Uint32(b[l.status+fBlockSize:]))) {
		l = &layout32
	}
	s := b[l.status:]
	h := &header{
		version:      le.Uint32(b[8:]),
		uts:          kdump.DecodeUname(b[utsOffset:]),
		status:       le.Uint32(s),
		blockSize:    uint64(le.Uint32(s[fBlockSize:])),
		subBlocks:    uint64(le.Uint32(s[fSubBlocks:])),
		bitmapBlocks: uint64(le.Uint32(s[fBitmap:])),
		maxPFN:       uint64(le.Uint32(s[fMaxMapnr:])),
		nrCPUs:       le.Uint32(s[fNrCPUs:]),
	}
	if sec, usec := l.word(b, l.time), l.word(b, l.time+l.long); sec > 0 && sec <= math.MaxInt32*4 && usec < 1e6 {
		h.time = time.Unix(int64(sec), int64(usec)*1000)
	}
	switch {
	case !kdump.ValidPageSize(h.blockSize):
		return nil, bad(int64(l.status+fBlockSize), "block size %d", h.blockSize)
	case h.version > maxVersion:
		return nil, bad(8, "header version %d, known are 1 to %d", h.version, maxVersion)
	case h.subBlocks > maxNotes/minHeader:
		return nil, bad(int64(l.status+fSubBlocks), "sub header of %d blocks", h.subBlocks)
	}
	if h.version >= 1 && h.subBlocks > 0 {
		if err := h.readSub(r, l); err != nil {
			return nil, err
		}
	}
	return h, h.check(size)
}

func (l *layout) word(b []byte, off int) uint64 {
	if l.long == 4 {
		return uint64(binary.LittleEndian.Uint32(b[off:]))
	}
	return binary.LittleEndian.Uint64(b[off:])
}

// readSub reads kdump_sub_header. Version 1 ends after dump_level, 2 adds the
// split fields, 3 VMCOREINFO, 4 the notes, 5 erase info, 6 64-bit page numbers.
func (h *header) readSub(r io.ReaderAt, l *layout) error {
	b := make([]byte, l.subSize)
	if _, err := r.ReadAt(b, int64(h.blockSize)); err != nil {
		return bad(int64(h.blockSize), "read sub header: %v", err)
	}
	le := binary.LittleEndian
	h.physBase = int64(l.word(b, 0))
	if l.long == 4 {
		h.physBase = int64(int32(h.physBase))
	}
	h.dumpLevel = int32(le.Uint32(b[l.long:]))
	if h.version >= 2 {
		h.split = le.Uint32(b[l.split:]) != 0
		h.startPFN, h.endPFN = l.word(b, l.start), l.word(b, l.start+l.long)
	}
	if h.version >= 3 {
		h.infoOff, h.infoSize = le.Uint64(b[l.info:]), l.word(b, l.info+8)
	}
	if h.version >= 4 {
		h.noteOff, h.notesSize = le.Uint64(b[l.note:]), l.word(b, l.note+8)
	}
	if h.version >= 6 {
		h.startPFN, h.endPFN = le.Uint64(b[l.end64:]), le.Uint64(b[l.end64+8:])
		if m := le.Uint64(b[l.end64+16:]); m != 0 {
			h.maxPFN = m
		}
	}
	return nil
}

// bitmapSize is the size of one bitmap in the file, in bytes.
func (h *header) bitmapSize() uint64 { return h.bitmapBlocks / 2 * h.blockSize }

// bitmapOffset is the file offset of bitmap 1.
func (h *header) bitmapOffset() uint64 { return (1 + h.subBlocks) * h.blockSize }

// descOffset is the file offset of the page descriptors.
func (h *header) descOffset() uint64 { return h.bitmapOffset() + h.bitmapBlocks*h.blockSize }

func (h *header) check(size int64) error {
	if h.descOffset() > uint64(size) {
		return bad(size, "file ends within the bitmaps, which reach to %#x", h.descOffset())
	}
	if h.maxPFN > 8*h.bitmapSize() {
		// Older files with a 32-bit max_mapnr and dumps of more pages than it
		// holds: the bitmap decides.
		h.maxPFN = 8 * h.bitmapSize()
	}
	if !h.split {
		h.startPFN, h.endPFN = 0, h.maxPFN
	}
	h.endPFN = min(h.endPFN, h.maxPFN)
	h.startPFN = min(h.startPFN, h.endPFN)
	return nil
}

// putWord writes a long.
func (l *layout) putWord(b []byte, v uint64) {
	if l.long == 4 {
		binary.LittleEndian.PutUint32(b, uint32(v))
		return
	}
	binary.LittleEndian.PutUint64(b, v)
}

// encode returns the blocks before the bitmaps: the header, the sub header and
// the notes behind it, which noteOff must point to.
func (h *header) encode(l *layout, notes []byte, ramPages, written uint64) []byte {
	le := binary.LittleEndian
	b := make([]byte, h.bitmapOffset())
	copy(b, Signature)
	le.PutUint32(b[8:], version)
	copy(b[utsOffset:], h.uts.Encode())
	if !h.time.IsZero() {
		l.putWord(b[l.time:], uint64(h.time.Unix()))
		l.putWord(b[l.time+l.long:], uint64(h.time.Nanosecond()/1000))
	}
	s := b[l.status:]
	le.PutUint32(s, h.status)
	le.PutUint32(s[fBlockSize:], uint32(h.blockSize))
	le.PutUint32(s[fSubBlocks:], uint32(h.subBlocks))
	le.PutUint32(s[fBitmap:], uint32(h.bitmapBlocks))
	le.PutUint32(s[fMaxMapnr:], uint32(min(h.maxPFN, math.MaxUint32)))
	le.PutUint32(s[fTotalRAM:], uint32(min(ramPages, math.MaxUint32)))
	le.PutUint32(s[fWritten:], uint32(min(written, math.MaxUint32)))
	le.PutUint32(s[fNrCPUs:], h.nrCPUs)

	sub := b[h.blockSize:]
	l.putWord(sub, uint64(h.physBase))
	le.PutUint32(sub[l.long:], uint32(h.dumpLevel))
	le.PutUint64(sub[l.info:], h.infoOff)
	l.putWord(sub[l.info+8:], h.infoSize)
	le.PutUint64(sub[l.note:], h.noteOff)
	l.putWord(sub[l.note+8:], h.notesSize)
	le.PutUint64(sub[l.end64+16:], h.maxPFN)
	copy(b[h.noteOff:], notes)
	return b
}
