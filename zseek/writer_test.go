package zseek

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/klauspost/compress/zstd"
)

// memFile is an io.WriterAt that fails once limit bytes would be exceeded.
type memFile struct {
	limit int64
	ch    chan struct{} // serialises writes; a channel, so that synctest sees it
	b     []byte
}

// writeHead stores the whole head.
func writeHead(w *Writer, head []byte) error {
	h := w.Head()
	if _, err := h.Write(head); err != nil {
		return err
	}
	return h.Close()
}

func newMemFile(limit int64) *memFile { return &memFile{limit: limit, ch: make(chan struct{}, 1)} }

func (m *memFile) WriteAt(p []byte, off int64) (int, error) {
	m.ch <- struct{}{}
	defer func() { <-m.ch }()
	end := off + int64(len(p))
	if end > m.limit {
		return 0, syscall.ENOSPC
	}
	if end > int64(len(m.b)) {
		m.b = append(m.b, make([]byte, end-int64(len(m.b)))...)
	}
	return copy(m.b[off:], p), nil
}

// content mixes what memory holds: text, pointers, noise, zeros.
func content(r *rand.Rand, n int) []byte {
	p := make([]byte, 0, n+8)
	for len(p) < n {
		k := r.IntN(30000) + 1
		switch r.IntN(4) {
		case 0:
			p = append(p, bytes.Repeat([]byte("the quick brown fox; "), k/21+1)...)
		case 1:
			for range k / 8 {
				p = binary.LittleEndian.AppendUint64(p, 0x7f0000000000|r.Uint64N(1<<24))
			}
		case 2:
			for range k / 8 {
				p = binary.LittleEndian.AppendUint64(p, r.Uint64())
			}
		case 3:
			p = append(p, make([]byte, k)...)
		}
	}
	return p[:n]
}

// script is a seekable file made by random calls, and what it should hold.
type script struct{ file, want []byte }

func makeScript(t testing.TB, seed uint64, head int, steps int, opts Options) script {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	f := newMemFile(1 << 40)
	w, err := NewWriter(f, int64(head), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	h := content(r, head)
	want := bytes.Clone(h)
	for range steps {
		n := r.IntN(300_000)
		if r.IntN(3) == 0 {
			n = r.IntN(500)
		}
		if r.IntN(20) == 0 {
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		if r.IntN(3) == 0 {
			if r.IntN(8) == 0 {
				n *= 20
			}
			if err := w.WriteZeros(int64(n)); err != nil {
				t.Fatal(err)
			}
			want = append(want, make([]byte, n)...)
			continue
		}
		p := content(r, n)
		if k, err := w.Write(p); err != nil || k != n {
			t.Fatalf("Write: %d of %d, %v", k, n, err)
		}
		want = append(want, p...)
		clear(p) // the Writer must not have kept it
	}
	if err := writeHead(w, make([]byte, head)); err != nil { // to be replaced
		t.Fatal(err)
	}
	hw := w.Head()
	for rest := h; len(rest) > 0; { // in pieces
		n := min(len(rest), r.IntN(300_000))
		if k, err := hw.Write(rest[:n]); err != nil || k != n {
			t.Fatalf("write head: %d of %d, %v", k, n, err)
		}
		rest = rest[n:]
	}
	if err := hw.Close(); err != nil {
		t.Fatal(err)
	}
	if w.Size() != int64(len(want)) {
		t.Errorf("Size() = %d, want %d", w.Size(), len(want))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return script{f.b, want}
}

func scripts(t testing.TB) map[string]script {
	return map[string]script{
		"empty":        makeScript(t, 1, 0, 0, Options{}),
		"head only":    makeScript(t, 2, 5000, 0, Options{}),
		"payload only": makeScript(t, 3, 0, 40, Options{}),
		"one worker":   makeScript(t, 4, 70_000, 60, Options{Workers: 1}),
		"many workers": makeScript(t, 5, 4096, 200, Options{Workers: 8, FrameSize: 100_000}),
		"tiny frames":  makeScript(t, 6, 1000, 10, Options{FrameSize: 997}),
		"big head":     makeScript(t, 7, 9<<20, 20, Options{}),
		"level 3":      makeScript(t, 8, 64, 40, Options{Level: 3}),
	}
}

func TestRoundTrip(t *testing.T) {
	for name, s := range scripts(t) {
		t.Run(name, func(t *testing.T) {
			z, err := NewReader(bytes.NewReader(s.file), int64(len(s.file)))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(io.NewSectionReader(z, 0, z.Size()+1))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, s.want) {
				t.Errorf("content of %d bytes differs from the %d written", len(got), len(s.want))
			}
		})
	}
}

// TestZstdTool lets the reference implementation judge.
func TestZstdTool(t *testing.T) {
	tool, err := exec.LookPath("zstd")
	if err != nil {
		t.Skip("no zstd tool")
	}
	for name, s := range scripts(t) {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f.zst")
			if err := os.WriteFile(path, s.file, 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(tool, "-t", path).CombinedOutput(); err != nil {
				t.Fatalf("zstd -t: %v\n%s", err, out)
			}
			got, err := exec.Command(tool, "-dcq", path).Output()
			if err != nil || !bytes.Equal(got, s.want) {
				t.Errorf("zstd -dc: %v, %d bytes, want %d", err, len(got), len(s.want))
			}
		})
	}
}

// TestSeekTable reads the table without the package's own code, and each frame
// by itself.
func TestSeekTable(t *testing.T) {
	s := makeScript(t, 9, 150_000, 100, Options{FrameSize: 1 << 20})
	u32 := func(off int) int { return int(binary.LittleEndian.Uint32(s.file[off:])) }
	end := len(s.file)
	if u32(end-4) != 0x8F92EAB1 || s.file[end-5] != 0 {
		t.Fatalf("footer % x", s.file[end-9:])
	}
	n := u32(end - 9)
	table := end - 9 - 8*n
	if u32(table-8) != 0x184D2A5E || u32(table-4) != end-table {
		t.Fatalf("table header % x, %d frames", s.file[table-8:table], n)
	}
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	file, content := 0, 0
	for i := range n {
		c, d := u32(table+8*i), u32(table+8*i+4)
		if d == 0 || d > 1<<20 {
			t.Errorf("frame %d: %d bytes", i, d)
		}
		got, err := dec.DecodeAll(s.file[file:file+c], nil)
		if err != nil || !bytes.Equal(got, s.want[content:content+d]) {
			t.Fatalf("frame %d: %v, %d bytes, want %d", i, err, len(got), d)
		}
		file += c
		content += d
	}
	if file != table-8 || content != len(s.want) {
		t.Errorf("frames end at %d, %d of content; want %d, %d", file, content, table-8, len(s.want))
	}
}

func TestTerabyteOfZeros(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "hole.zst"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := NewWriter(f, 8, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	w.Write([]byte("before"))
	if err := w.WriteZeros(1 << 40); err != nil {
		t.Fatal(err)
	}
	w.Write([]byte("after"))
	if err := writeHead(w, []byte("the head")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if fi.Size() > 40<<20 {
		t.Errorf("file has %d bytes", fi.Size())
	}
	z, err := NewReader(f, fi.Size())
	if err != nil {
		t.Fatal(err)
	}
	for off, want := range map[int64]string{
		0: "the headbefore\x00\x00", 1 << 39: "\x00\x00\x00", 14 + 1<<40 - 2: "\x00\x00after",
	} {
		got := make([]byte, len(want))
		if _, err := z.ReadAt(got, off); err != nil || string(got) != want {
			t.Errorf("at %#x: %q, %v; want %q", off, got, err, want)
		}
	}
	if z.Size() != 1<<40+19 {
		t.Errorf("Size() = %d", z.Size())
	}
}

// TestDiskFull: synctest reports a deadlock if any goroutine is left waiting.
func TestDiskFull(t *testing.T) {
	for _, workers := range []int{1, 2, 5} {
		for _, limit := range []int64{0, 1, 200_000, 1_000_000} {
			synctest.Test(t, func(t *testing.T) {
				w, err := NewWriter(newMemFile(limit), 16, Options{Workers: workers, FrameSize: 50_000})
				if err != nil {
					t.Fatal(err)
				}
				noise := make([]byte, 10_000)
				random := rand.NewChaCha8([32]byte{})
				taken := int64(0)
				for err == nil && taken < 100<<20 {
					random.Read(noise)
					_, err = w.Write(noise)
					taken += int64(len(noise))
				}
				if !errors.Is(err, syscall.ENOSPC) {
					t.Errorf("limit %d: Write: %v after %d bytes", limit, err, taken)
				}
				if most := limit + int64(workers+3)*50_000; taken > most {
					t.Errorf("limit %d: the error came after %d bytes, expected before %d", limit, taken, most)
				}
				for what, err := range map[string]error{
					"Close": w.Close(), "WriteZeros": w.WriteZeros(1 << 40), "head": writeHead(w, make([]byte, 16)),
				} {
					if !errors.Is(err, syscall.ENOSPC) {
						t.Errorf("%s: %v", what, err)
					}
				}
				w.Abort()
			})
		}
	}
}

// TestDiskFullAtEnd: what fits the buffers fails no later than in Close.
func TestDiskFullAtEnd(t *testing.T) {
	p := content(rand.New(rand.NewPCG(11, 1)), 2<<20)
	write := func(t *testing.T, f io.WriterAt) error {
		w, err := NewWriter(f, 16, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Abort()
		if _, err = w.Write(p); err == nil {
			err = writeHead(w, p[:16])
		}
		if err == nil {
			err = w.Close()
		}
		return err
	}
	full := newMemFile(1 << 40)
	if err := write(t, full); err != nil {
		t.Fatal(err)
	}
	for _, limit := range []int{0, 40, len(full.b) / 2, len(full.b) - 1} {
		synctest.Test(t, func(t *testing.T) {
			if err := write(t, newMemFile(int64(limit))); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("limit %d of %d: %v", limit, len(full.b), err)
			}
		})
	}
}

func TestAbort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, err := NewWriter(newMemFile(1<<40), 0, Options{FrameSize: 10_000})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			w.Abort()
			w.Abort()
		}()
		p := content(rand.New(rand.NewPCG(1, 1)), 1<<20)
		for err == nil {
			_, err = w.Write(p)
		}
		if !errors.Is(err, ErrAborted) {
			t.Errorf("Write: %v", err)
		}
		if err := w.Close(); !errors.Is(err, ErrAborted) {
			t.Errorf("Close: %v", err)
		}
	})
}

// TestAbortWakes: a worker whose predecessor gave up must not wait for its turn.
func TestAbortWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, err := NewWriter(newMemFile(1<<40), 0, Options{})
		if err != nil {
			t.Fatal(err)
		}
		stored := make(chan error, 1)
		go func() { stored <- w.store(&job{seq: 1}) }() // job 0 never comes
		synctest.Wait()
		w.Abort()
		synctest.Wait()
		select {
		case err := <-stored:
			if !errors.Is(err, ErrAborted) {
				t.Error(err)
			}
		default:
			w.turned.Broadcast()
			t.Error("still waiting for its turn")
		}
	})
}

func TestMisuse(t *testing.T) {
	f := newMemFile(1 << 40)
	for _, o := range []Options{{FrameSize: -1}, {FrameSize: maxFrameSize + 1}} {
		if _, err := NewWriter(f, 0, o); err == nil {
			t.Errorf("NewWriter accepts %+v", o)
		}
	}
	if _, err := NewWriter(f, -1, Options{}); err == nil {
		t.Error("NewWriter accepts a negative head")
	}
	w, err := NewWriter(f, 10, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if writeHead(w, make([]byte, 9)) == nil {
		t.Error("a head of another size is taken")
	}
	if k, err := w.Head().Write(make([]byte, 11)); k != 0 || err == nil {
		t.Errorf("%d bytes of too long a head are written", k)
	}
	if w.Head().Close() == nil {
		t.Error("a head that was not written is accepted")
	}
	if w.WriteZeros(-1) == nil {
		t.Error("WriteZeros accepts -1")
	}
	if w.Close() == nil {
		t.Error("Close accepts a missing head")
	}
	w, err = NewWriter(f, 0, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if _, err := w.Write([]byte("x")); err == nil || w.Close() == nil {
		t.Error("a closed Writer goes on")
	}
	w.Abort()
}

func BenchmarkWriter(b *testing.B) {
	p := content(rand.New(rand.NewPCG(1, 1)), 64<<20)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		w, err := NewWriter(discard{}, 0, Options{})
		if err != nil {
			b.Fatal(err)
		}
		w.Write(p)
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

type discard struct{}

func (discard) WriteAt(p []byte, off int64) (int, error) { return len(p), nil }
