package open_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"procdump/kdump"
	"procdump/kdump/internal/sample"
	"procdump/kdump/open"
	"procdump/kdump/vmcore"
)

var update = flag.Bool("update", false, "make testdata again; needs makedumpfile")

// testFiles are files of makedumpfile 1.7.2 in testdata, and how it made them
// of the pages that inTestFiles tells.
var testFiles = map[string][]string{
	"lzo.kdump":      {"-l", "-d", "1"},
	"zlib.kdump":     {"-c", "-d", "0"},
	"lzo.kdump.flat": {"-F", "-l", "-d", "0"},
}

// inTestFiles are the kernel structures of the sample, which makedumpfile
// wants to see, and some pages of each pattern.
func inTestFiles(yield func(kdump.PageRun) bool) { yield(kdump.PageRun{PFN: 0x300, Count: 0x48}) }

// TestFiles reads the files in testdata.
func TestFiles(t *testing.T) {
	d, m := sample.New()
	for name, args := range testFiles {
		path := filepath.Join("testdata", name)
		if *update {
			var b bytes.Buffer
			if _, err := vmcore.Write(context.Background(), &b, d, inTestFiles, vmcore.Options{}); err != nil {
				t.Fatal(err)
			}
			out, err := os.ReadFile(makedumpfile(t, args[0] == "-F", append(args, save(t, b.Bytes()))...))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, out, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got := openFile(t, path)
		b := make([]byte, sample.Page)
		for r := range inTestFiles {
			for pfn := r.PFN; pfn < r.PFN+r.Count; pfn++ {
				if _, err := got.Memory.ReadPhys(b, pfn*sample.Page); err != nil || !bytes.Equal(b, m.Contents(pfn)) {
					t.Fatalf("%s: page %#x differs, %v", name, pfn, err)
				}
			}
		}
		for _, addr := range []uint64{0, 0x1000, 0x348000, 0x100009000} {
			if _, err := got.Memory.ReadPhys(b, addr); !errors.Is(err, kdump.ErrAbsent) {
				t.Errorf("%s: address %#x: %v", name, addr, err)
			}
		}
		if got.Uname != sample.Uname || len(got.CPUs) != 2 || !bytes.Equal(got.VMCoreInfo, d.VMCoreInfo) || got.PhysBase != d.PhysBase || got.Arch != d.Arch {
			t.Errorf("%s: got %+v", name, got)
		}
		if flat := strings.HasSuffix(name, ".flat"); flat != strings.HasPrefix(got.Format, "flattened") || got.Incomplete {
			t.Errorf("%s: format %q, incomplete %v", name, got.Format, got.Incomplete)
		}
	}
}

func TestUnknown(t *testing.T) {
	for _, b := range []string{"", "MZ", "PK\x03\x04 and so on", strings.Repeat("x", 10000)} {
		d, err := open.Dump(strings.NewReader(b), int64(len(b)))
		if d != nil || !errors.Is(err, kdump.ErrFormat) {
			t.Errorf("%q…: %v, %v", b[:min(len(b), 8)], d, err)
		}
		if open.Match([]byte(b)) {
			t.Errorf("%q… matches", b[:min(len(b), 8)])
		}
	}
}

// TestFlattenedCut says of a stream that was cut off that it is incomplete.
func TestFlattenedCut(t *testing.T) {
	b, err := os.ReadFile("testdata/lzo.kdump.flat")
	if err != nil {
		t.Fatal(err)
	}
	b = b[:len(b)-16]
	d, err := open.Dump(bytes.NewReader(b), int64(len(b)))
	if err != nil || !d.Incomplete {
		t.Errorf("stream without its end: %v, %+v", err, d)
	}
}

func FuzzDump(f *testing.F) {
	for name := range testFiles {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		for _, n := range []int{len(b), len(b) / 2, 0x5000, 0x1100} {
			f.Add(b[:min(n, len(b))])
		}
		for _, off := range []int{8, 16, 428, 0x1008, 0x1018, 0x1030, 0x3060, 0x4068, len(b) / 2, len(b) - 200} {
			flipped := bytes.Clone(b)
			flipped[min(off, len(b)-1)] ^= 0x41
			f.Add(flipped)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		d, err := open.Dump(bytes.NewReader(b), int64(len(b)))
		if (d == nil) == (err == nil) {
			t.Fatalf("dump %v, error %v", d, err)
		}
		if err != nil {
			return
		}
		p := make([]byte, 3*d.PageSize)
		pages := 0
		for r := range d.PageRuns(0, d.MaxPFN()) {
			if pages++; pages > 50 {
				break
			}
			if n, err := d.Memory.ReadPhys(p, r.PFN*uint64(d.PageSize)); n < len(p) && err == nil {
				t.Fatalf("read %d bytes without an error", n)
			}
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 96<<20 {
			t.Fatalf("%d bytes of input made the reader allocate %d", len(b), n)
		}
	})
}
