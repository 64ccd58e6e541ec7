package snapshot

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

const page = 4096

// fakeMemory is memory of known bytes: byte i is mix(i).
type fakeMemory struct {
	extents []Extent        // ascending
	bad     map[uint64]bool // pages that cannot be read
	gone    error           // what every read returns, if not nil
}

func mix(addr uint64) byte { return byte(addr>>12*31 ^ addr*7 ^ 0x5a) }

func (m *fakeMemory) ReadMemory(p []byte, addr uint64) (int, error) {
	if m.gone != nil {
		return 0, m.gone
	}
	for i := range p {
		at := addr + uint64(i)
		if m.bad[at/page] {
			return i, &MemoryError{at, errors.New("bad page")}
		}
		p[i] = mix(at)
	}
	return len(p), nil
}

func (m *fakeMemory) Extents(r Range) ([]Extent, error) {
	var out []Extent
	for _, x := range m.extents {
		if c := x.Range.Intersect(r); c.Size > 0 {
			out = append(out, Extent{c, x.Kind})
		}
	}
	return out, nil
}

// fastMemory is the same with ReadExtents.
type fastMemory struct{ *fakeMemory }

func (m fastMemory) ReadExtents(p []byte, xs []Extent) (bad []Range, err error) {
	for _, x := range xs {
		miss, err := ReadExtent(m.fakeMemory, p[:x.Size], x)
		if err != nil {
			return nil, err
		}
		bad, p = append(bad, miss...), p[x.Size:]
	}
	if len(p) != 0 {
		return nil, errors.New("buffer is longer than the extents")
	}
	return bad, nil
}

// randomMemory has extents of all kinds, and ranges that begin and end
// anywhere, some very far apart.
func randomMemory(rnd *rand.Rand) (*fakeMemory, []Range) {
	m := &fakeMemory{bad: map[uint64]bool{}}
	kinds := []ExtentKind{ExtentPresent, ExtentPresent | ExtentFile, ExtentSwapped, ExtentPresent | ExtentZero, ExtentFile}
	var ranges []Range
	at := uint64(0x10000)
	for range 1 + rnd.IntN(30) {
		at += page * rnd.Uint64N(4)
		if rnd.IntN(8) == 0 {
			at += 8 << 20
		}
		x := Extent{Range{at, page * (1 + rnd.Uint64N(6))}, kinds[rnd.IntN(len(kinds))]}
		m.extents = append(m.extents, x)
		if rnd.IntN(3) == 0 {
			m.bad[(x.Addr+rnd.Uint64N(x.Size))/page] = true
		}
		at = x.End()
	}
	low := uint64(0x10000)
	for low < at && len(ranges) < 600 {
		low += rnd.Uint64N(4) * uint64(rnd.IntN(3000))
		r := Range{low, 1 + rnd.Uint64N(5*page)}
		if rnd.IntN(2) == 0 {
			r.Addr, r.Size = r.Addr&^(page-1), page*(1+rnd.Uint64N(3))
			if n := len(ranges); n > 0 && r.Addr < ranges[n-1].End() {
				r.Addr += page * 4
			}
		}
		if n := len(ranges); n > 0 && r.Addr < ranges[n-1].End() {
			r.Addr = ranges[n-1].End()
		}
		ranges = append(ranges, r)
		low = r.End()
	}
	return m, ranges
}

func TestExtentsOfModel(t *testing.T) {
	for seed := range uint64(300) {
		m, ranges := randomMemory(rand.New(rand.NewPCG(seed, 1)))
		var want []Extent
		for _, r := range ranges { // one question each
			xs, _ := m.Extents(r)
			for _, x := range xs {
				if x.Kind&ExtentZero == 0 {
					want = append(want, x)
				}
			}
		}
		got, err := ExtentsOf(m, ranges)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: %d extents, %v; want %d", seed, len(got), err, len(want))
		}
	}
}

// model is what a copy of r must hold and cannot read, found page by page.
func (m *fakeMemory) model(r Range) (want []byte, bad []Range) {
	want = make([]byte, r.Size)
	for at := r.Addr; at < r.End(); {
		part := Range{at, min(page-at%page, r.End()-at)}
		x, _ := m.Extents(part)
		switch {
		case len(x) == 0 || x[0].Kind&ExtentZero != 0:
		case m.bad[at/page]:
			bad = append(bad, part)
		default:
			for i := range part.Size {
				want[at-r.Addr+i] = mix(at + i)
			}
		}
		at = part.End()
	}
	return want, bad
}

func TestCopyMemoryModel(t *testing.T) {
	for seed := range uint64(150) {
		m, ranges := randomMemory(rand.New(rand.NewPCG(seed, 2)))
		given := slices.Clone(ranges)
		for name, src := range map[string]Memory{"by ReadMemory": m, "by ReadExtents": fastMemory{m}} {
			img, bad, err := CopyMemory(src, ranges)
			if err != nil {
				t.Fatal(err)
			}
			var wantBad []Range
			for _, r := range ranges {
				want, miss := m.model(r)
				wantBad = append(wantBad, miss...)
				got := make([]byte, r.Size)
				if n, err := img.ReadMemory(got, r.Addr); n != len(got) || err != nil || !bytes.Equal(got, want) {
					t.Fatalf("seed %d %s: copy of %v differs, or %d, %v", seed, name, r, n, err)
				}
			}
			if got, want := MergeRanges(bad, 0), MergeRanges(wantBad, 0); !slices.Equal(got, want) {
				t.Fatalf("seed %d %s: unreadable %v, want %v", seed, name, got, want)
			}
			img.Add(&MemoryImage{ranges: []Range{{1, 1}}, bytes: [][]byte{{9}}})
			if !slices.Equal(ranges, given) {
				t.Fatal("CopyMemory keeps and changes its caller's slice")
			}
		}
	}
}

func TestCopyMemoryGone(t *testing.T) {
	gone := errors.New("gone")
	m := &fakeMemory{gone: gone, extents: []Extent{{Range{page, page}, ExtentPresent}}}
	for _, src := range []Memory{m, fastMemory{m}} {
		if _, _, err := CopyMemory(src, []Range{{page, page}}); !errors.Is(err, gone) {
			t.Errorf("%T: error %v; the process is gone, that is no unreadable page", src, err)
		}
	}
}

func TestMemoryImage(t *testing.T) {
	img := &MemoryImage{
		ranges: []Range{{0x1000, 0x10}, {0x1010, 0x10}, {0x1800, 0}, {0x2000, 0x10}},
		bytes:  [][]byte{bytes.Repeat([]byte{1}, 16), bytes.Repeat([]byte{2}, 16), nil, bytes.Repeat([]byte{3}, 16)},
	}
	b := make([]byte, 64)
	n, err := img.ReadMemory(b, 0x1008)
	var me *MemoryError
	if n != 24 || !errors.As(err, &me) || me.Addr != 0x1020 || !errors.Is(err, ErrNotMapped) || b[7] != 1 || b[8] != 2 {
		t.Errorf("read over the end: %d, %v", n, err)
	}
	for _, addr := range []uint64{0, 0xfff, 0x1020, 0x1fff, 0x2010, 1<<64 - 1} {
		if n, err := img.ReadMemory(b[:1], addr); n != 0 || !errors.As(err, &me) || me.Addr != addr {
			t.Errorf("read at %#x: %d, %v", addr, n, err)
		}
	}
	xs, err := img.Extents(Range{0x1018, 0x1000})
	want := []Extent{{Range{0x1018, 8}, ExtentPresent}, {Range{0x2000, 0x10}, ExtentPresent}}
	if err != nil || !slices.Equal(xs, want) {
		t.Errorf("extents %v, %v; want %v", xs, err, want)
	}
	if img.Bytes(0x1020) != nil || len(img.Bytes(0x200f)) != 1 {
		t.Error("Bytes returns another piece")
	}
}

// TestExtentAnonymous pins which extents count as held by no file.
func TestExtentAnonymous(t *testing.T) {
	for kind, want := range map[ExtentKind]bool{ExtentPresent: true, ExtentSwapped: true, ExtentPresent | ExtentFile: false, ExtentPresent | ExtentZero: false} {
		if (Extent{Kind: kind}).Anonymous() != want {
			t.Errorf("kind %#x: anonymous %v", kind, !want)
		}
	}
}
