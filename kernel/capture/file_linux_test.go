package capture

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"procdump/kdump/diskdump"
	"procdump/kernel/pages"
)

// TestFile writes pieces of any alignment, and as a stream.
func TestFile(t *testing.T) {
	for _, direct := range []bool{true, false} {
		dir := t.TempDir()
		f, err := createFile(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Discard()
		if direct && f.direct == nil {
			t.Log("no direct writes here")
		}
		if !direct && f.direct != nil {
			f.direct.Close()
			f.direct = nil
		}
		want := make([]byte, 5<<20+777)
		rand.NewChaCha8([32]byte{1}).Read(want)
		whole := len(want) &^ 4095
		for _, r := range [][2]int{{4096, 8192}, {0, 4096}, {3 << 20, whole}, {8192, 3 << 20}} {
			if n, err := f.WriteAt(want[r[0]:r[1]], int64(r[0])); n != r[1]-r[0] || err != nil {
				t.Fatal(n, err)
			}
		}
		unaligned := append([]byte{0}, want[whole:]...)[1:]
		if n, err := f.WriteAt(unaligned, int64(whole)); n != len(unaligned) || err != nil {
			t.Fatal(n, err)
		}
		path := filepath.Join(dir, "x")
		if err := f.Link(path, false); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != string(want) {
			t.Errorf("direct %v: %d bytes are not what was written: %v", direct, len(got), err)
		}

		g, err := createFile(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer g.Discard()
		s := newStream(g)
		for b, n := want, 1; len(b) > 0; n = n*3%100_003 + 1 {
			part := b[:min(n, len(b))]
			if _, err := s.Write(part); err != nil {
				t.Fatal(err)
			}
			b = b[len(part):]
		}
		if err := s.flush(); err != nil {
			t.Fatal(err)
		}
		path = filepath.Join(dir, "y")
		if err := g.Link(path, false); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != string(want) {
			t.Errorf("stream, direct %v: %d bytes are not what was written: %v", direct, len(got), err)
		}
	}
}

// TestNoSpace: what does not fit is refused, before or, where the estimate errs,
// in the end, and leaves nothing behind.
func TestNoSpace(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4M"); err != nil {
		t.Skipf("mount: %v", err) // not root
	}
	defer syscall.Unmount(dir, 0)
	m := newMachine(4096, pages.Slab)
	for _, known := range []bool{true, false} {
		step := uint64(4096 / samplePages)
		if !known {
			// The pages that are compressed for the estimate are of zeros.
			m.zero = func(pfn uint64) bool { return (pfn-16)%step == 0 }
		}
		for _, format := range []Format{KDump, ELF} {
			name, e := ParseName(dir, format)
			if e != nil {
				t.Fatal(e)
			}
			j := NewJob(m, Options{Name: name, Format: format, Compression: diskdump.Stored})
			e = j.Prepare(context.Background())
			refused := e != nil
			if !refused {
				_, e = j.Run(context.Background())
			}
			j.Discard()
			if !errors.Is(e, ErrNoSpace) || refused != (known || format == ELF) {
				t.Errorf("%v: refused before: %v, %v", format, refused, e)
			}
			if left, e := os.ReadDir(dir); e != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, e)
			}
		}
	}
}
