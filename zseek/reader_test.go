package zseek

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
)

// zstdTool compresses p with the reference implementation.
func zstdTool(t testing.TB, p []byte, args ...string) []byte {
	t.Helper()
	tool, err := exec.LookPath("zstd")
	if err != nil {
		t.Skip("no zstd tool")
	}
	cmd := exec.Command(tool, append([]string{"-qc"}, args...)...)
	cmd.Stdin = bytes.NewReader(p)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sized(n int) string { return "--stream-size=" + strconv.Itoa(n) }

func open(t testing.TB, file []byte) *Reader {
	t.Helper()
	z, err := NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// checkReads compares random reads, and the io.ReaderAt contract.
func checkReads(t *testing.T, z *Reader, want []byte, reads int) {
	t.Helper()
	if z.Size() != int64(len(want)) {
		t.Fatalf("Size() = %d, want %d", z.Size(), len(want))
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range reads {
		off := r.IntN(len(want) + 1)
		p := make([]byte, r.IntN(200_000))
		n, err := z.ReadAt(p, int64(off))
		expect := want[off:min(len(want), off+len(p))]
		if !bytes.Equal(p[:n], expect) || (n < len(p)) != (err == io.EOF) || err != nil && err != io.EOF {
			t.Fatalf("ReadAt(%d bytes, %d) = %d, %v; differs from the %d wanted", len(p), off, n, err, len(expect))
		}
	}
}

func TestRandomReads(t *testing.T) {
	for name, s := range scripts(t) {
		t.Run(name, func(t *testing.T) { checkReads(t, open(t, s.file), s.want, 100) })
	}
	s := makeScript(t, 20, 100, 20, Options{FrameSize: 50_000})
	if err := iotest.TestReader(io.NewSectionReader(open(t, s.file), 0, int64(len(s.want))), s.want); err != nil {
		t.Error(err)
	}
}

func TestOrdinaryFiles(t *testing.T) {
	r := rand.New(rand.NewPCG(30, 1))
	small, big := content(r, 300_000), content(r, 21<<20)
	skip := binary.LittleEndian.AppendUint32(nil, 0x184D2A53)
	skip = append(binary.LittleEndian.AppendUint32(skip, 5), "abcde"...)
	cat := func(p ...[]byte) []byte { return bytes.Join(p, nil) }
	for _, c := range []struct {
		name       string
		file, want []byte
	}{
		{"one frame", zstdTool(t, small, sized(len(small))), small},
		{"no checksum", zstdTool(t, small, sized(len(small)), "--no-check"), small},
		{"large frame", zstdTool(t, big, "-1", sized(len(big))), big},
		{"level 19", zstdTool(t, small, "-19", sized(len(small))), small},
		{"frames", cat(skip, zstdTool(t, small, sized(len(small))), skip, zstdTool(t, big, "-1", sized(len(big))), zstdTool(t, []byte("end"), sized(3)), skip), cat(small, big, []byte("end"))},
	} {
		t.Run(c.name, func(t *testing.T) {
			z := open(t, c.file)
			got, err := io.ReadAll(io.NewSectionReader(z, 0, z.Size()+1))
			if err != nil || !bytes.Equal(got, c.want) {
				t.Fatalf("%d bytes, %v; want %d", len(got), err, len(c.want))
			}
			checkReads(t, z, c.want, 30)
		})
	}
	piped := zstdTool(t, small)
	if z, err := NewReader(bytes.NewReader(piped), int64(len(piped))); !errors.Is(err, ErrNoSize) || z != nil {
		t.Errorf("frame without a size: %v", err)
	}
	long := zstdTool(t, big, "-1", "--long=27", sized(len(big)))
	if _, err := open(t, long).ReadAt(make([]byte, 10), 0); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("window of 128 MiB: %v", err)
	}
}

// TestForeignSeekTable reads what other writers may make: checksums in the
// table, empty and skippable frames, and several frames under one entry.
func TestForeignSeekTable(t *testing.T) {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	le := binary.LittleEndian
	skip := append(le.AppendUint32(le.AppendUint32(nil, 0x184D2A50), 3), 1, 2, 3)
	a, b := []byte("first frame "), content(rand.New(rand.NewPCG(31, 1)), 5<<20)
	var file, table []byte
	add := func(frame []byte, size int) {
		file = append(file, frame...)
		table = le.AppendUint32(le.AppendUint32(le.AppendUint32(table, uint32(len(frame))), uint32(size)), 0xABAD1DEA)
	}
	var want []byte
	for range 700 {
		add(skip, 0)
		add(enc.EncodeAll(a, nil), len(a))
		add(enc.EncodeAll(a, enc.EncodeAll(a, nil)), 2*len(a))
		want = append(append(append(want, a...), a...), a...)
	}
	add(enc.EncodeAll(b, nil), len(b))
	want = append(want, b...)
	file = le.AppendUint32(le.AppendUint32(file, 0x184D2A5E), uint32(len(table)+9))
	file = append(le.AppendUint32(append(file, table...), uint32(len(table)/12)), 0x83) // 3: unused bits
	file = le.AppendUint32(file, 0x8F92EAB1)
	checkReads(t, open(t, file), want, 200)

	file[len(file)-5] |= 0x40
	if _, err := NewReader(bytes.NewReader(file), int64(len(file))); !errors.Is(err, ErrCorrupt) {
		t.Errorf("reserved descriptor bits: %v", err)
	}
}

// TestTruncated cuts a file everywhere. Only where a frame ends is the rest a
// whole zstd file again, with less content.
func TestTruncated(t *testing.T) {
	s := makeScript(t, 43, 50, 3, Options{FrameSize: 1000})
	z := open(t, s.file)
	ends := map[int]bool{}
	for off := int64(0); off < z.Size(); {
		f, err := z.index.find(off)
		if err != nil {
			t.Fatal(err)
		}
		ends[int(f.off+f.size)] = true
		off += f.len
	}
	for n := range s.file {
		z, err := NewReader(bytes.NewReader(s.file[:n]), int64(n))
		switch {
		case ends[n]:
			if err != nil || z.Size() > int64(len(s.want)) {
				t.Errorf("cut at %d, where a frame ends: %v", n, err)
			}
		case n < 4:
			if !errors.Is(err, ErrFormat) {
				t.Errorf("cut at %d: %v", n, err)
			}
		case !errors.Is(err, ErrCorrupt):
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	// The file shrinks after it was opened.
	file := &shrinking{s.file}
	z, err := NewReader(file, int64(len(s.file)))
	if err != nil {
		t.Fatal(err)
	}
	file.b = file.b[:len(file.b)/3]
	if _, err := io.Copy(io.Discard, io.NewSectionReader(z, 0, z.Size())); !errors.Is(err, ErrCorrupt) {
		t.Errorf("file that shrank: %v", err)
	}
}

// shrinking is a file whose bytes may be cut.
type shrinking struct{ b []byte }

func (s *shrinking) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(s.b).ReadAt(p, off)
}

var errDisk = errors.New("disk on fire")

// failing fails reads at and after from.
type failing struct {
	io.ReaderAt
	from int64
	on   *bool
}

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if *f.on && off+int64(len(p)) > f.from {
		return 0, errDisk
	}
	return f.ReaderAt.ReadAt(p, off)
}

// TestReadErrors: an error of the file is passed on, and is gone when it is.
func TestReadErrors(t *testing.T) {
	big := content(rand.New(rand.NewPCG(41, 1)), 12<<20)
	s := makeScript(t, 42, 0, 40, Options{})
	for _, c := range []struct{ file, want []byte }{{s.file, s.want}, {zstdTool(t, big, "-1", sized(len(big))), big}} {
		on := false
		z, err := NewReader(failing{bytes.NewReader(c.file), int64(len(c.file)) / 2, &on}, int64(len(c.file)))
		if err != nil {
			t.Fatal(err)
		}
		on = true
		p := make([]byte, len(c.want))
		if n, err := z.ReadAt(p, 0); !errors.Is(err, errDisk) || errors.Is(err, ErrCorrupt) || !bytes.Equal(p[:n], c.want[:n]) {
			t.Errorf("%d bytes, %v", n, err)
		}
		on = false
		if _, err := z.ReadAt(p, 0); err != nil || !bytes.Equal(p, c.want) {
			t.Errorf("after the error: %v", err)
		}
	}
}

func TestConcurrentReads(t *testing.T) {
	big := content(rand.New(rand.NewPCG(50, 1)), 9<<20)
	s := makeScript(t, 51, 3000, 60, Options{FrameSize: 200_000})
	file := append(zstdTool(t, big, "-1", sized(len(big))), s.file...)
	file[len(file)-1] = 0 // no seek table, so that both kinds of frames are in it
	z := open(t, file)
	want := append(bytes.Clone(big), s.want...)
	var wg sync.WaitGroup
	for g := range 3 * cacheChunks {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 3))
			p := make([]byte, 1000)
			for range 50 {
				off := r.IntN(len(want) - len(p))
				if r.IntN(3) == 0 {
					off = len(want) - len(p) - r.IntN(2_000_000)
				}
				if _, err := z.ReadAt(p, int64(off)); err != nil || !bytes.Equal(p, want[off:off+len(p)]) {
					t.Errorf("at %d: %v", off, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestHostile: claims of the file cost no memory and end in an error.
func TestHostile(t *testing.T) {
	le := binary.LittleEndian
	header := func(size uint64) []byte { // window 8 MiB, content size of 8 bytes
		return le.AppendUint64(append(le.AppendUint32(nil, zstdMagicNumber), 0xC0, 13<<3), size)
	}
	table := func(n, c, d uint32) []byte {
		b := le.AppendUint32(le.AppendUint32(nil, seekTableMagicNumber), 8+9)
		b = le.AppendUint32(le.AppendUint32(b, c), d)
		return le.AppendUint32(append(le.AppendUint32(b, n), 0), seekableMagicNumber)
	}
	zeros := func(n int) (b []byte) {
		for range n {
			b = append(appendBlockHeader(b, rleBlock, maxBlockSize, false), 0)
		}
		return append(b, 1, 0, 0)
	}
	join := func(p ...[]byte) []byte { return bytes.Join(p, nil) }
	small := appendZeroFrame(nil, 100)
	for name, file := range map[string][]byte{
		"huge content size":      join(header(1<<62), zeros(3)),
		"content size of 2^63":   join(header(1<<63), zeros(3)),
		"sum of sizes overflows": join(header(1<<62), zeros(3), header(1<<62), zeros(3), header(1<<62), zeros(3)),
		"more than it says":      join(header(10), zeros(3000)),
		"table says 4 GiB":       join(small, table(1, uint32(len(small)), 1<<32-1)),
		"table says less":        join(small, table(1, uint32(len(small)), 99)),
		"table says more":        join(small, table(1, uint32(len(small)), 101)),
		"table misses the frame": join(small, table(1, 1<<31, 100)),
		"table says many frames": join(small, table(maxFrames, uint32(len(small)), 100)),
		"table of 2^32-1 frames": join(small, table(1<<32-1, uint32(len(small)), 100)),
		"window of 2 TiB":        join(le.AppendUint32(nil, zstdMagicNumber), []byte{0x40, 0xF8, 0, 0}, zeros(1)),
		"skippable beyond end":   join(small, le.AppendUint32(le.AppendUint32(nil, 0x184D2A50), 1<<31)),
		"reserved block":         join(appendFrameHeader(nil, 10), []byte{7, 0, 0}),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			z, err := NewReader(bytes.NewReader(file), int64(len(file)))
			if err == nil {
				_, err = z.ReadAt(make([]byte, 8), min(z.Size()-8, 1<<30))
			}
			runtime.ReadMemStats(&after)
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("error %v", err)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 48<<20 {
				t.Errorf("allocated %d bytes", used)
			}
		})
	}
	for _, file := range []string{"", "x", "\x7fELF and so on", "MDMP"} {
		if _, err := NewReader(bytes.NewReader([]byte(file)), int64(len(file))); err != ErrFormat {
			t.Errorf("%q: %v", file, err)
		}
	}
}

// TestDamaged flips bits. Without checksums damage may go unnoticed; it must
// not panic, nor reach what lies in other frames.
func TestDamaged(t *testing.T) {
	s := makeScript(t, 60, 100, 8, Options{FrameSize: 20_000})
	table := open(t, s.file).index.(*seekTable).off - seekTableHeaderSize
	r := rand.New(rand.NewPCG(61, 1))
	for range 300 {
		file := bytes.Clone(s.file)
		at := r.Int64N(int64(len(file)))
		file[at] ^= 1 << r.IntN(8)
		z, err := NewReader(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			continue
		}
		p := make([]byte, 1)
		for off := int64(0); off < min(z.Size(), int64(len(s.want))); off += 5000 {
			f, err := z.index.find(off)
			if err != nil {
				t.Fatal(err)
			}
			_, err = z.ReadAt(p, off)
			hit := at >= table || at >= f.off && at < f.off+f.size
			if !hit && (err != nil || p[0] != s.want[off]) {
				t.Fatalf("a bit at %d changes byte %d, in a frame at %d: %v", at, off, f.off, err)
			}
		}
	}
}
