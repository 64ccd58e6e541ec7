package windump

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"procdump/kdump"
)

// sparseFile is a dump whose pages hold their own offset in the file.
type sparseFile struct {
	head []byte
	size int64
}

func (f *sparseFile) ReadAt(b []byte, off int64) (int, error) {
	n := 0
	for n < len(b) && off+int64(n) < f.size {
		at := off + int64(n)
		if at < int64(len(f.head)) {
			n += copy(b[n:], f.head[at:])
			continue
		}
		var w [8]byte
		binary.LittleEndian.PutUint64(w[:], uint64(at&^7))
		n += copy(b[n:], w[at&7:])
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// TestBigBitmap compares a bitmap of several blocks with a list of its bits.
func TestBigBitmap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	const count = 3*blockPages + 12345
	bits := make([]byte, (count+7)/8)
	var pfns []uint64
	set := func(pfn uint64) {
		bits[pfn/8] |= 1 << (pfn % 8)
		pfns = append(pfns, pfn)
	}
	for pfn := uint64(0); pfn < count; {
		// Runs of all lengths, none in the second block.
		n := min(rnd.Uint64N([]uint64{2, 70, 3000}[rnd.IntN(3)])+1, count-pfn)
		if rnd.IntN(2) == 0 {
			for i := range n {
				if b := (pfn + i) / blockPages; b != 1 {
					set(pfn + i)
				}
			}
		}
		pfn += n
	}
	m := machineX64(t)
	m.context = m.regs(0)
	head := m.header(6, false)
	sum := make([]byte, 0x38)
	first := uint64(len(head) + len(sum) + len(bits))
	copy(sum, "SDMPDUMP")
	binary.LittleEndian.PutUint64(sum[0x20:], first)
	binary.LittleEndian.PutUint64(sum[0x28:], uint64(len(pfns)))
	binary.LittleEndian.PutUint64(sum[0x30:], count)
	f := &sparseFile{head: append(append(head, sum...), bits...), size: int64(first) + int64(len(pfns))*0x1000}
	r, err := NewReader(f, f.size)
	if err != nil || r.pagesErr != nil || r.Header.Warning != "" {
		t.Fatal(err, r.pagesErr, r.Header.Warning)
	}
	rank := map[uint64]int{}
	for i, pfn := range pfns {
		rank[pfn] = i
	}
	check := func(pfn uint64) {
		b := make([]byte, 8)
		n, err := r.ReadPhys(b, pfn<<12+8)
		i, there := rank[pfn]
		if there != (err == nil) || there != (n == 8) {
			t.Fatalf("page %#x there %v: %d bytes, %v", pfn, there, n, err)
		}
		if want := first + uint64(i)*0x1000 + 8; there && binary.LittleEndian.Uint64(b)&^7 != want&^7 {
			t.Fatalf("page %#x at %#x, want %#x", pfn, binary.LittleEndian.Uint64(b), want)
		}
	}
	for pfn := range uint64(300) {
		check(pfn)
	}
	for range 20000 {
		check(rnd.Uint64N(count + 100))
	}
	var got []uint64
	for run := range r.PageRuns(0, count+1000) {
		if run.State == kdump.PagePresent {
			for i := range run.Count {
				got = append(got, run.PFN+i)
			}
		}
	}
	if !slices.Equal(got, pfns) {
		t.Errorf("%d pages present, want %d", len(got), len(pfns))
	}
	if _, err := r.ReadPhys(make([]byte, 1), (count+1)<<12); !errors.Is(err, kdump.ErrAbsent) {
		t.Errorf("behind the bitmap: %v", err)
	}
}

func TestDamagedBitmap(t *testing.T) {
	m := machineX64(t).fill()
	good := m.bitmap(6, "SDMP", true)
	le := binary.LittleEndian
	for name, damage := range map[string]func(b []byte){
		"magic":        func(b []byte) { b[0x2000] = 'X' },
		"first page":   func(b []byte) { le.PutUint64(b[0x2020:], 1<<60) },
		"first at 0":   func(b []byte) { le.PutUint64(b[0x2020:], 0) },
		"no bits":      func(b []byte) { le.PutUint64(b[0x2030:], 0) },
		"many bits":    func(b []byte) { le.PutUint64(b[0x2030:], 1<<63) },
		"bits in data": func(b []byte) { le.PutUint64(b[0x2030:], 0x9000) },
	} {
		b := slices.Clone(good)
		damage(b)
		r := open(t, b)
		var format *kdump.FormatError
		if _, err := r.Dump(); !errors.As(err, &format) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The count of pages is only a hint.
	b := slices.Clone(good)
	le.PutUint64(b[0x2028:], 7)
	if r := open(t, b); r.pagesErr != nil || r.Header.Warning == "" {
		t.Errorf("count: %v, %q", r.pagesErr, r.Header.Warning)
	}
}
