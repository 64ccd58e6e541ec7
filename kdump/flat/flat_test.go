package flat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"procdump/kdump"
)

// stream makes a flattened file of records at offsets, without the Writer.
func stream(end bool, records ...[]byte) []byte {
	b := make([]byte, headerSize)
	copy(b, "makedumpfile")
	b[23], b[31] = 1, 1
	for _, r := range records {
		b = append(b, r...)
	}
	if end {
		b = append(b, bytes.Repeat([]byte{0xff}, 16)...)
	}
	return b
}

func record(off int64, data []byte) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(off))
	return append(binary.BigEndian.AppendUint64(b, uint64(len(data))), data...)
}

func open(t testing.TB, b []byte) *Reader {
	t.Helper()
	r, err := NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestOverlaps compares random records that overlap with writing them to a
// slice in turn.
func TestOverlaps(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		var want []byte
		var records [][]byte
		for range r.IntN(12) {
			off, data := r.IntN(300), make([]byte, r.IntN(90))
			for i := range data {
				data[i] = byte(r.Uint32())
			}
			records = append(records, record(int64(off), data))
			if n := off + len(data); n > len(want) {
				want = append(want, make([]byte, n-len(want))...)
			}
			copy(want[off:], data)
		}
		f := open(t, stream(true, records...))
		got := make([]byte, len(want))
		if n, err := f.ReadAt(got, 0); n < len(want) && err != io.EOF || !bytes.Equal(got, want) || f.Size() != int64(len(want)) || !f.Whole() {
			t.Fatalf("got %x, %v\nwant %x", got, err, want)
		}
		if len(want) > 10 {
			off := r.IntN(len(want))
			n, err := f.ReadAt(got, int64(off))
			if n != len(want)-off || (err == io.EOF) != (off > 0) || !bytes.Equal(got[:n], want[off:]) {
				t.Fatalf("read at %d: %d bytes, %v", off, n, err)
			}
		}
	}
}

// TestWriter writes pieces of all sizes in any order and reads them back.
func TestWriter(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	want := make([]byte, 5<<20)
	for i := range want {
		want[i] = byte(r.Uint32())
	}
	var b bytes.Buffer
	w := NewWriter(&b)
	var pieces [][2]int
	for off := 0; off < len(want); {
		n := min([]int{1, 100, 4096, 70000, 600000, 1 << 20, 3 << 19}[r.IntN(7)], len(want)-off)
		pieces = append(pieces, [2]int{off, n})
		off += n
	}
	// Two halves by turns, as data and descriptors of a dump come.
	half := len(pieces) / 2
	for i := range half {
		pieces[i], pieces[half+i] = pieces[half+i], pieces[i]
	}
	for _, p := range pieces {
		if n, err := w.WriteAt(want[p[0]:p[0]+p[1]], int64(p[0])); n != p[1] || err != nil {
			t.Fatalf("write: %d, %v", n, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f := open(t, b.Bytes())
	got := make([]byte, len(want))
	if n, err := f.ReadAt(got, 0); n != len(want) || err != nil || !bytes.Equal(got, want) || !f.Whole() {
		t.Fatalf("read %d bytes, %v, or contents differ", n, err)
	}
}

type failing struct{ left int }

func (f *failing) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, io.ErrShortWrite
	}
	return len(b), nil
}

func TestWriterFails(t *testing.T) {
	w := NewWriter(&failing{10_000})
	var err error
	for i := range 5 {
		_, err = w.WriteAt(make([]byte, 600_000), int64(i*600_000))
	}
	if !errors.Is(err, io.ErrShortWrite) || !errors.Is(w.Close(), io.ErrShortWrite) {
		t.Errorf("write to a broken pipe: %v", err)
	}
}

// TestCut reads streams that end too early: what is missing is no zeros.
func TestCut(t *testing.T) {
	whole := stream(true, record(0, []byte("0123456789")), record(20, []byte("abcdefghij")))
	for _, n := range []int{headerSize + 16 + 4, headerSize + 26 + 16 + 3} {
		f := open(t, whole[:n])
		b := make([]byte, 30)
		got, err := f.ReadAt(b[:f.Size()], 0)
		if !errors.Is(err, io.ErrUnexpectedEOF) || f.Whole() || got >= int(f.Size()) {
			t.Errorf("stream of %d bytes: read %d bytes, %v", n, got, err)
		}
		if got, err := f.ReadAt(b[:3], 1); got != 3 || err != nil || string(b[:3]) != "123" {
			t.Errorf("stream of %d bytes: %q, %v", n, b[:3], err)
		}
	}
	for _, b := range [][]byte{nil, whole[:20], []byte("ELF"), bytes.Replace(whole, []byte{0, 1}, []byte{0, 2}, 1)} {
		if _, err := NewReader(bytes.NewReader(b), int64(len(b))); err == nil {
			t.Errorf("% x… is no error", b[:min(8, len(b))])
		}
	}
	if _, err := NewReader(bytes.NewReader([]byte("no flattened file, certainly not by its first bytes")), 50); !errors.Is(err, kdump.ErrFormat) {
		t.Errorf("another file: %v", err)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(stream(true, record(0, []byte("0123456789")), record(5, []byte("abcdefghij")), record(3, []byte("ABC"))))
	f.Add(stream(false, record(1<<62, []byte("x")), record(0, nil)))
	f.Add(stream(true, record(-2, []byte("x"))))
	f.Add(stream(true)[:headerSize+5])
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := NewReader(bytes.NewReader(b), int64(len(b)))
		if (r == nil) == (err == nil) {
			t.Fatalf("reader %v, error %v", r, err)
		}
		if err != nil {
			return
		}
		if r.Size() < 0 || len(r.pieces) > 2*len(b)/recordSize {
			t.Fatalf("%d bytes gave %d pieces, size %d", len(b), len(r.pieces), r.Size())
		}
		p := make([]byte, 300)
		for _, off := range []int64{0, 7, r.Size() / 2, r.Size() - 10} {
			if n, err := r.ReadAt(p, max(off, 0)); n < len(p) && err == nil {
				t.Fatalf("read %d bytes without an error", n)
			}
		}
	})
}
