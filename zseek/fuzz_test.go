package zseek

import (
	"bytes"
	"io"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// FuzzReader: any bytes either fail to open or give a content that is the
// same whichever way it is read.
func FuzzReader(f *testing.F) {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		f.Fatal(err)
	}
	defer enc.Close()
	text := bytes.Repeat([]byte("a small dump "), 70)
	for _, size := range []int{100, 400, maxFrameSize} {
		m := newMemFile(1 << 20)
		w, err := NewWriter(m, 40, Options{FrameSize: size})
		if err != nil {
			f.Fatal(err)
		}
		w.Write(text)
		w.WriteZeros(int64(size) + 7)
		writeHead(w, text[:40])
		if err := w.Close(); err != nil {
			f.Fatal(err)
		}
		f.Add(m.b, uint32(100))
		f.Add(m.b[:len(m.b)*2/3], uint32(0))
	}
	f.Add(enc.EncodeAll(text, nil), uint32(3))
	f.Add(append(appendZeroFrame(nil, 3<<10), appendZeroFrame(nil, 5<<20)...), uint32(4<<20))
	f.Fuzz(func(t *testing.T, file []byte, at uint32) {
		z, err := NewReader(bytes.NewReader(file), int64(len(file)))
		if (z == nil) != (err != nil) {
			t.Fatalf("reader %v, error %v", z, err)
		}
		if err != nil {
			return
		}
		// A few bytes may stand for terabytes of zeros: only the start is read,
		// and one place further on.
		const start = 64 << 10
		all, err := io.ReadAll(io.NewSectionReader(z, 0, start))
		if err == nil && int64(len(all)) != min(z.Size(), start) {
			t.Fatalf("read %d of %d bytes without an error", len(all), z.Size())
		}
		off := int64(at % (16 << 20))
		p := make([]byte, 300)
		n, err := z.ReadAt(p, off)
		if n < len(p) && err == nil {
			t.Fatalf("short read of %d bytes without an error", n)
		}
		if off < int64(len(all)) {
			if m := min(n, len(all)-int(off)); !bytes.Equal(p[:m], all[off:int(off)+m]) {
				t.Fatalf("content at %d differs when read again", off)
			}
		}
	})
}
