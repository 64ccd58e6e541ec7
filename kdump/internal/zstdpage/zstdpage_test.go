package zstdpage

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	"procdump/kdump/internal/sample"
	"procdump/victims/need"
)

// pages are contents of all sorts, in pages of several sizes.
func pages() [][]byte {
	var all [][]byte
	_, m := sample.New()
	for pfn := uint64(0x400); pfn < 0x480; pfn++ {
		all = append(all, m.Contents(pfn))
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 400 {
		size := []int{256, 257, 4096, 4096, 16384, 65536}[i%6]
		b := make([]byte, size)
		// Repetitions of any length from anywhere, between literals of any length.
		for at := 0; at < size; {
			n := 1 + r.IntN(1<<r.IntN(12))
			if at > 0 && r.IntN(3) > 0 {
				from := at - 1 - r.IntN(min(at, 1<<r.IntN(17)))
				for k := 0; k < n && at < size; k++ {
					b[at] = b[from+k]
					at++
				}
				continue
			}
			for k := 0; k < n && at < size; k++ {
				b[at] = byte(r.IntN(1 << r.IntN(9)))
				at++
			}
		}
		all = append(all, b)
	}
	return append(all, make([]byte, 4096), bytes.Repeat([]byte{7}, 65536), bytes.Repeat([]byte("abc"), 4096/3))
}

func TestRoundTrip(t *testing.T) {
	d, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	smaller := 0
	e := &Encoder{}
	for i, p := range pages() {
		out, ok := e.Encode([]byte("before"), p)
		if !ok {
			if string(out) != "before" {
				t.Fatalf("page %d: %d bytes left", i, len(out))
			}
			continue
		}
		smaller++
		if len(out)-6 >= len(p) {
			t.Errorf("page %d: %d bytes of %d", i, len(out)-6, len(p))
		}
		got, err := d.DecodeAll(out[6:], nil)
		if err != nil || !bytes.Equal(got, p) {
			t.Fatalf("page %d of %d bytes: %v", i, len(p), err)
		}
	}
	if smaller < 250 {
		t.Errorf("%d pages became smaller", smaller)
	}
}

// TestReferenceDecoder gives the frames to the reference implementation.
func TestReferenceDecoder(t *testing.T) {
	tool := need.Tool(t, "zstd")
	var frames, want []byte
	e := &Encoder{}
	for _, p := range pages() {
		if out, ok := e.Encode(frames, p); ok {
			frames, want = out, append(want, p...)
		}
	}
	file := filepath.Join(t.TempDir(), "frames.zst")
	if err := os.WriteFile(file, frames, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := exec.Command(tool, "-dc", file).Output()
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("zstd: %d bytes, want %d: %v", len(got), len(want), err)
	}
}

func FuzzEncode(f *testing.F) {
	for _, p := range pages()[:20] {
		f.Add(p)
	}
	d, err := zstd.NewReader(nil)
	if err != nil {
		f.Fatal(err)
	}
	e := &Encoder{}
	f.Fuzz(func(t *testing.T, page []byte) {
		out, ok := e.Encode(nil, page)
		if !ok {
			return
		}
		if got, err := d.DecodeAll(out, nil); err != nil || !bytes.Equal(got, page) || len(out) >= len(page) {
			t.Fatalf("%d bytes, frame of %d: %v", len(page), len(out), err)
		}
	})
}

// BenchmarkEncode compresses the pages of a file, named by PAGES, and shows how
// much smaller they become.
func BenchmarkEncode(b *testing.B) {
	_, m := sample.New()
	var data []byte
	for pfn := uint64(0x400); pfn < 0x600; pfn++ {
		data = append(data, m.Contents(pfn)...)
	}
	if f := os.Getenv("PAGES"); f != "" {
		var err error
		if data, err = os.ReadFile(f); err != nil {
			b.Fatal(err)
		}
		data = data[:len(data)/4096*4096]
	}
	klaus := func(fast bool) func(dst, p []byte) []byte {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false),
			zstd.WithWindowSize(4096), zstd.WithSingleSegment(true), zstd.WithLowerEncoderMem(true), zstd.WithNoEntropyCompression(fast))
		if err != nil {
			b.Fatal(err)
		}
		return func(dst, p []byte) []byte { return e.EncodeAll(p, dst) }
	}
	own := func() func(dst, p []byte) []byte {
		e := &Encoder{}
		return func(dst, p []byte) []byte {
			if out, ok := e.Encode(dst, p); ok {
				return out
			}
			return append(dst, p...)
		}
	}
	for _, c := range []struct {
		name   string
		encode func(dst, p []byte) []byte
	}{{"general", klaus(false)}, {"general,fast", klaus(true)}, {"page", own()}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			dst, size := make([]byte, 0, 1<<16), 0
			for range b.N {
				size = 0
				for at := 0; at < len(data); at += 4096 {
					size += min(len(c.encode(dst[:0], data[at:at+4096])), 4096)
				}
			}
			b.ReportMetric(float64(size)/float64(len(data)), "ratio")
		})
	}
}
