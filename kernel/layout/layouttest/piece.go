package layouttest

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"procdump/arch"
	"procdump/kdump"
)

// Piece is what a test needs of a real kernel dump: the bytes that were read
// while it was recorded, and extracts of its symbols and types.
type Piece struct {
	Machine  arch.Machine
	PageSize int
	Info     string // VMCOREINFO
	Runs     []kdump.Run
	Segments []kdump.Segment
	Symbols  map[string]uint64
	BTF      []byte
	Memory   *Memory `json:"-"`
}

// Dump is the piece as a dump.
func (p *Piece) Dump() *kdump.Dump {
	return &kdump.Dump{Arch: p.Machine, PageSize: p.PageSize, VMCoreInfo: []byte(p.Info), Runs: p.Runs, Segments: p.Segments, Memory: p.Memory}
}

// Symbol looks a symbol up in the extract.
func (p *Piece) Symbol(name string) (uint64, bool) {
	a, ok := p.Symbols[name]
	return a, ok
}

// Encode writes the piece.
func (p *Piece) Encode(w io.Writer) error {
	head, err := json.Marshal(p)
	if err != nil {
		return err
	}
	z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	b.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(head))))
	b.Write(head)
	for _, c := range slices.Sorted(maps.Keys(p.Memory.chunks)) {
		b.Write(binary.LittleEndian.AppendUint64(nil, c*chunkSize))
		b.Write(p.Memory.chunks[c][:])
	}
	if _, err := z.Write(b.Bytes()); err != nil {
		return err
	}
	return z.Close()
}

// DecodePiece reads what Encode has written.
func DecodePiece(r io.Reader) (*Piece, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(z)
	if err != nil {
		return nil, err
	}
	if len(b) < 4 || uint64(len(b)-4) < uint64(binary.LittleEndian.Uint32(b)) {
		return nil, fmt.Errorf("layouttest: piece of %d bytes", len(b))
	}
	n := binary.LittleEndian.Uint32(b)
	p := &Piece{Memory: &Memory{}}
	if err := json.Unmarshal(b[4:4+n], p); err != nil {
		return nil, err
	}
	for b = b[4+n:]; len(b) >= 8+chunkSize; b = b[8+chunkSize:] {
		p.Memory.Write(binary.LittleEndian.Uint64(b), b[8:8+chunkSize])
	}
	return p, nil
}

// Recorder is memory that remembers what was read of it.
type Recorder struct {
	Source kdump.Memory
	mu     sync.Mutex
	seen   map[uint64]bool
	Off    bool // reads are not remembered
}

// ReadPhys implements kdump.Memory.
func (r *Recorder) ReadPhys(b []byte, addr uint64) (n int, err error) {
	n, err = r.Source.ReadPhys(b, addr)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = make(map[uint64]bool)
	}
	for at := addr / chunkSize; !r.Off && n > 0 && at <= (addr+uint64(n)-1)/chunkSize; at++ {
		r.seen[at] = true
	}
	return n, err
}

// Memory returns what was read.
func (r *Recorder) Memory() (*Memory, error) {
	m := &Memory{}
	for c := range r.seen {
		var b [chunkSize]byte
		if _, err := r.Source.ReadPhys(b[:], c*chunkSize); err != nil {
			return nil, err
		}
		m.Write(c*chunkSize, b[:])
	}
	return m, nil
}
