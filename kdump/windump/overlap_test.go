package windump

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"procdump/kdump"
)

// TestOverlappingRuns has runs that a damaged header could list.
func TestOverlappingRuns(t *testing.T) {
	x := newRunIndex([]fileRun{{10, 5, 0x1000}, {0, 0, 0}, {12, 10, 0x9000}, {13, 2, 0xf000}, {3, 2, 0x5000}})
	if want := (runIndex{{3, 2, 0x5000}, {10, 5, 0x1000}, {15, 7, 0xc000}}); !slices.Equal(x, want) {
		t.Errorf("%+v, want %+v", x, want)
	}
	if off, n, err := x.find(14); off != 0x5000 || n != 1 || err != nil {
		t.Errorf("page 14 at %#x, %d, %v", off, n, err)
	}
	if _, n, _ := x.find(5); n != 0 {
		t.Errorf("page 5: %d", n)
	}
}

// TestOverlappingBlocks has data blocks that share memory: the first in order of
// addresses wins.
func TestOverlappingBlocks(t *testing.T) {
	file := []byte("aaaaaaaabbbbbbbbcccccccc")
	r := &Reader{r: bytes.NewReader(file), size: int64(len(file)), layout: &layout64}
	d := &TriageDump{r: r, blocks: []Block{{0x1004, 8, 8}, {0x1000, 0, 8}, {0x1006, 16, 2}, {^uint64(0) - 3, 0, 8}, {0x100c, 16, 8}}}
	d.index()
	b := make([]byte, 30)
	n, err := d.ReadVirt(b, 0x1000)
	if string(b[:n]) != "aaaaaaaabbbbcccccccc" || !errors.Is(err, kdump.ErrExcluded) {
		t.Errorf("%q, %v", b[:n], err)
	}
	if n, err := d.ReadVirt(b, 0xfff); n != 0 || err == nil {
		t.Errorf("before the first: %d bytes, %v", n, err)
	}
}
