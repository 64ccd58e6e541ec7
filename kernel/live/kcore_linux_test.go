package live

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// TestKcoreFile: no two readers have one open file at a time, and files are used
// again.
func TestKcoreFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "kcore")
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<12)
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	k := newKcoreFile(f)
	a, b := k.take(), k.take()
	if a == b || a.Fd() == b.Fd() || a != f {
		t.Errorf("files %v and %v for two readers", a, b)
	}
	k.give(b)
	if c := k.take(); c != b {
		t.Error("a free file is not used again")
	}
	// With no more files to be had a reader waits.
	k.name = filepath.Join(t.TempDir(), "none")
	got := make(chan *os.File)
	go func() { got <- k.take() }()
	k.give(a)
	if c := <-got; c != a {
		t.Errorf("got %v", c)
	}
	k.give(a)
	k.give(b)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			p := make([]byte, 1<<12)
			for j := range 50 {
				off := int64((i*50 + j) * 16 % (len(data) - len(p)))
				if n, err := k.ReadAt(p, off); n != len(p) || !bytes.Equal(p, data[off:][:n]) {
					t.Errorf("read %d bytes at %d: %v", n, off, err)
				}
			}
		})
	}
	wg.Wait()
	if len(k.all) != 2 {
		t.Errorf("%d files are open", len(k.all))
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	if _, err := a.Stat(); err == nil {
		t.Error("a file is open after Close")
	}
}
