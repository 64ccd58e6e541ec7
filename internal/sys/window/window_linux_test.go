package window

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// open makes a file of five and a half windows.
func open(t *testing.T) (*Reader, []byte) {
	t.Helper()
	content := make([]byte, 5*Size+Size/2+123)
	for i := range content {
		content[i] = byte(i*i>>7 ^ i)
	}
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	r := NewReader(f, int64(len(content)))
	t.Cleanup(func() { r.Close() })
	return r, content
}

func TestReadAt(t *testing.T) {
	r, content := open(t)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 2000 {
		if i == 1000 { // from now on by read(2)
			for base := int64(0); base < r.size; base += Size {
				r.plain[base] = true
			}
			for _, w := range r.open {
				w.off = -1
			}
		}
		off := random.Int64N(int64(len(content)))
		if i%3 == 0 {
			off = random.Int64N(6)*Size - random.Int64N(100)
			off = min(max(off, 0), int64(len(content)))
		}
		b := make([]byte, random.IntN(3*4096))
		n, err := r.ReadAt(b, off)
		want := content[off:min(off+int64(len(b)), int64(len(content)))]
		if !bytes.Equal(b[:n], want) || (n < len(b)) != errors.Is(err, io.EOF) {
			t.Fatalf("%d of %d bytes at %#x: %v", n, len(b), off, err)
		}
	}
	if len(r.open) > windows {
		t.Errorf("%d windows are open", len(r.open))
	}
}

// TestFault reads a page that is not in the file any more, as broken memory is
// not.
func TestFault(t *testing.T) {
	r, _ := open(t)
	b := make([]byte, 8)
	if _, err := r.ReadAt(b, Size+1); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(r.f.Name(), Size); err != nil {
		t.Fatal(err)
	}
	if n, err := r.ReadAt(b, Size+1<<20); !errors.Is(err, ErrFault) || n != 0 {
		t.Errorf("%d bytes of a page that is gone: %v", n, err)
	}
	if n, err := r.ReadAt(b, 4096); n != len(b) || err != nil {
		t.Errorf("afterwards: %d bytes, %v", n, err)
	}
}
