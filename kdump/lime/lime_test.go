package lime

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/klauspost/compress/s2"

	"procdump/kdump"
	"procdump/kdump/internal/sample"
)

func header(magic string, version uint32, first, last uint64) []byte {
	b := append([]byte(magic), 0, 0, 0, 0)
	binary.LittleEndian.PutUint32(b[4:], version)
	b = binary.LittleEndian.AppendUint64(b, first)
	b = binary.LittleEndian.AppendUint64(b, last)
	return append(b, make([]byte, 8)...)
}

// image makes an image of the sample's memory as LiME (magic "EMiL") or AVML
// write it, in ranges of at most 2 MiB.
func image(t testing.TB, magic string) ([]byte, *sample.Memory) {
	t.Helper()
	_, m := sample.New()
	var out bytes.Buffer
	for _, r := range m.Runs {
		for a := r.Addr; a < r.End(); a += 2 << 20 {
			b := make([]byte, min(2<<20, r.End()-a))
			if _, err := m.ReadPhys(b, a); err != nil {
				t.Fatal(err)
			}
			if magic == limeMagic {
				out.Write(header(magic, 1, a, a+uint64(len(b))-1))
				out.Write(b)
				continue
			}
			out.Write(header(magic, 2, a, a+uint64(len(b))-1))
			start := out.Len()
			w := s2.NewWriter(&out, s2.WriterSnappyCompat(), s2.WriterConcurrency(1))
			if _, err := w.Write(b); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			out.Write(binary.LittleEndian.AppendUint64(nil, uint64(out.Len()-start)))
		}
	}
	return out.Bytes(), m
}

func open(t testing.TB, b []byte) *kdump.Dump {
	t.Helper()
	d, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestRead(t *testing.T) {
	for magic, format := range map[string]string{limeMagic: "LiME", avmlMagic: "AVML"} {
		b, m := image(t, magic)
		d := open(t, b)
		if d.Format != format || d.Incomplete || !slices.Equal(d.Runs, m.Runs) {
			t.Errorf("%s: %+v", format, d)
		}
		r := rand.New(rand.NewPCG(1, 1))
		for range 200 {
			run := m.Runs[r.IntN(len(m.Runs))]
			off := r.Uint64N(run.Size)
			n := min(r.Uint64N(200_000), run.Size-off)
			got, want := make([]byte, n), make([]byte, n)
			if _, err := d.Memory.ReadPhys(got, run.Addr+off); err != nil {
				t.Fatal(err)
			}
			if _, err := m.ReadPhys(want, run.Addr+off); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s: %d bytes at %#x differ", format, n, run.Addr+off)
			}
		}
		p := make([]byte, 100)
		if n, err := d.Memory.ReadPhys(p, 0x9f000-40); n != 40 || !errors.Is(err, kdump.ErrAbsent) {
			t.Errorf("%s: read into a hole: %d bytes, %v", format, n, err)
		}
		var pages uint64
		for range d.PageRuns(0, d.MaxPFN()) {
			pages++
		}
		if pages != uint64(len(m.Runs)) {
			t.Errorf("%s: %d runs of pages", format, pages)
		}
	}
}

func TestCutOff(t *testing.T) {
	for _, magic := range []string{limeMagic, avmlMagic} {
		b, m := image(t, magic)
		for _, cut := range []int{len(b) / 2, len(b) - 5} {
			d := open(t, b[:cut])
			p, want := make([]byte, 0x10000), make([]byte, 0x10000)
			_, err := d.Memory.ReadPhys(p, 0x1000)
			if _, werr := m.ReadPhys(want, 0x1000); err != nil || werr != nil || !bytes.Equal(p, want) || !d.Incomplete {
				t.Errorf("%s: beginning of a cut image: %v, incomplete %v", magic, err, d.Incomplete)
			}
			end := d.Runs[len(d.Runs)-1].End()
			if _, err := d.Memory.ReadPhys(p, end-uint64(len(p))); cut < len(b)-8 && !errors.Is(err, kdump.ErrDamaged) {
				t.Errorf("%s: end of a cut image: %v", magic, err)
			}
			for r := range d.PageRuns(0, d.MaxPFN()) {
				at := (r.PFN + r.Count - 1) * sample.Page
				_, err := d.Memory.ReadPhys(p[:1], at)
				if (err == nil) != (r.State == kdump.PagePresent) {
					t.Errorf("%s: page at %#x is told to be %v: %v", magic, at, r.State, err)
				}
			}
		}
	}
}

// TestClaims opens a small image that claims much memory: what it does not hold
// is not in the dump, so that nobody goes through it page by page.
func TestClaims(t *testing.T) {
	b := append(header(limeMagic, 1, 0x1000, 1<<40-1), make([]byte, 0x3000)...)
	d := open(t, b)
	want := []kdump.PageRun{{PFN: 1, Count: 3, State: kdump.PagePresent}, {PFN: 4, Count: 1<<28 - 4, State: kdump.PageExcluded}}
	if got := slices.Collect(d.PageRuns(0, d.MaxPFN())); !slices.Equal(got, want) || !d.Incomplete {
		t.Errorf("got %v, want %v; incomplete %v", got, want, d.Incomplete)
	}
}

func TestChecksum(t *testing.T) {
	b, m := image(t, avmlMagic)
	// The stream identifier takes 10 bytes, the chunk's header and CRC 8.
	b[headerSize+10+8+3000] ^= 1
	d := open(t, b)
	p := make([]byte, 10)
	if _, err := d.Memory.ReadPhys(p, m.Runs[0].Addr+50000); !errors.Is(err, kdump.ErrDamaged) {
		t.Errorf("read of a damaged frame: %v", err)
	}
	if _, err := d.Memory.ReadPhys(p, m.Runs[0].Addr+maxChunk+5); err != nil {
		t.Errorf("read of the frame behind it: %v", err)
	}
}

func TestRejects(t *testing.T) {
	for name, b := range map[string][]byte{
		"empty":      nil,
		"other":      []byte("\x7fELF, and more than 32 bytes of it, at that"),
		"backwards":  header(limeMagic, 1, 0x2000, 0x1000),
		"everything": header(limeMagic, 1, 0, ^uint64(0)),
		"53 bits":    header(limeMagic, 1, 0x1000, 1<<52),
		"overlap":    slices.Concat(header(limeMagic, 1, 0, 3), make([]byte, 4), header(limeMagic, 1, 2, 3), make([]byte, 2)),
	} {
		if d, err := Open(bytes.NewReader(b), int64(len(b))); err == nil {
			t.Errorf("%s: no error, %+v", name, d)
		}
	}
}

func FuzzOpen(f *testing.F) {
	for _, magic := range []string{limeMagic, avmlMagic} {
		b, _ := image(f, magic)
		b = b[:min(len(b), 100_000)]
		for _, n := range []int{len(b), 1000, 40, 20} {
			f.Add(b[:n])
		}
		for _, off := range []int{0, 4, 8, 16, 17, 33, 42, 43, 44, 50, 51, 60} {
			flipped := bytes.Clone(b[:50_000])
			flipped[off] ^= 0x81
			f.Add(flipped)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		d, err := Open(bytes.NewReader(b), int64(len(b)))
		if (d == nil) == (err == nil) {
			t.Fatalf("dump %v, error %v", d, err)
		}
		if err != nil {
			return
		}
		p := make([]byte, 10_000)
		for i, r := range d.Runs {
			if i == 20 {
				break
			}
			for _, a := range []uint64{r.Addr, r.Addr + r.Size/2, r.End() - 100} {
				if n, err := d.Memory.ReadPhys(p, a); n < len(p) && err == nil {
					t.Fatalf("read %d bytes at %#x without an error", n, a)
				}
			}
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
			t.Fatalf("%d bytes of input made the reader allocate %d", len(b), n)
		}
	})
}
