package capture

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"procdump/kdump"
	"procdump/kdump/diskdump"
	"procdump/kdump/open"
	"procdump/kernel/pages"
)

// take writes a dump of m into a new folder and returns what came of it.
func take(t *testing.T, m Source, o Options) (*Job, *Result, error) {
	t.Helper()
	var err error
	if o.Stream == nil && o.Name.folder == "" {
		if o.Name, err = ParseName(t.TempDir(), o.Format); err != nil {
			t.Fatal(err)
		}
	}
	j := NewJob(m, o)
	defer j.Discard()
	if err := j.Prepare(context.Background()); err != nil {
		return j, nil, err
	}
	res, err := j.Run(context.Background())
	return j, res, err
}

// read opens a dump.
func read(t *testing.T, b []byte) *kdump.Dump {
	t.Helper()
	d, err := open.Dump(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func readFile(t *testing.T, path string) *kdump.Dump {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, b)
}

// wantPages checks that a dump holds exactly the pages that the machine has in
// classes of the kind, with their contents.
func wantPages(t *testing.T, d *kdump.Dump, m *machine, kind Kind) {
	t.Helper()
	b := make([]byte, pageSize)
	for pfn := uint64(16); pfn < uint64(len(m.classes)); pfn++ {
		_, err := d.Memory.ReadPhys(b, pfn*pageSize)
		switch want := kind.Mask().Has(m.classes[pfn]); {
		case want && (err != nil || !bytes.Equal(b, m.contents(pfn))):
			t.Fatalf("%v: page %d (%v): wrong contents, or %v", kind, pfn, m.classes[pfn], err)
		case !want && !errors.Is(err, kdump.ErrExcluded):
			t.Fatalf("%v: page %d (%v) is there: %v", kind, pfn, m.classes[pfn], err)
		}
	}
}

// mixed is a machine with all classes of pages.
func mixed() *machine {
	m := newMachine(3000, pages.Free)
	for i := range m.classes {
		m.classes[i] = pages.Class(i / 7 % int(pages.Classes))
	}
	m.zero = func(pfn uint64) bool { return pfn%5 == 0 }
	return m
}

func TestKinds(t *testing.T) {
	for _, kind := range Kinds() {
		for _, format := range []Format{KDump, ELF} {
			m, c := mixed(), diskdump.Snappy
			if kind == Active {
				c = diskdump.Zstd
			}
			j, res, err := take(t, m, Options{Kind: kind, Format: format, Compression: c})
			if err != nil {
				t.Fatalf("%v, %v: %v", kind, format, err)
			}
			d := readFile(t, res.Path)
			wantPages(t, d, m, kind)
			if filepath.Ext(res.Path) != "."+format.String() || d.DumpLevel != kind.DumpLevel() || len(d.VMCoreInfo) == 0 {
				t.Errorf("%s: level %d, %d bytes of VMCOREINFO", res.Path, d.DumpLevel, len(d.VMCoreInfo))
			}
			st, err := os.Stat(res.Path)
			if err != nil || st.Size() != res.Size || st.Mode().Perm() != 0o600 || res.Disk <= 0 {
				t.Errorf("file %v, result %+v, %v", st, res, err)
			}
			if res.Pages != j.Plan.Pages || res.Pages != j.Plan.Counts.Kept(kind.Mask()) || len(res.Warnings) != 0 || res.Late+res.Missed != 0 {
				t.Errorf("plan %+v, result %+v", j.Plan, res)
			}
			// What is estimated is not far from what is needed.
			if e := j.Plan.Estimate; e < res.Size*8/10 || e > res.Size*12/10+128<<10 {
				t.Errorf("%v, %v: estimate %d for %d bytes", kind, format, e, res.Size)
			}
		}
	}
}

func TestLeftOut(t *testing.T) {
	j, _, err := take(t, mixed(), Options{Kind: Active})
	if err != nil {
		t.Fatal(err)
	}
	got := map[pages.Class]uint64{}
	for c, n := range j.Plan.LeftOut(Active, pageSize) {
		got[c] = n
	}
	for c := pages.Hole + 1; c < pages.Classes; c++ {
		want := j.Plan.Counts.Pages[c] * pageSize
		if pages.ActiveKind.Has(c) {
			want = 0
		}
		if got[c] != want {
			t.Errorf("%v: %d bytes left out, want %d", c, got[c], want)
		}
	}
}

// TestLatePages: pages that come into use while others are written are in the
// dump, too.
func TestLatePages(t *testing.T) {
	for _, stream := range []bool{false, true} {
		m := newMachine(4000, pages.Free)
		m.set(100, 1000, pages.Slab)
		// The first two looks are before anything is written.
		m.change = func(n int) {
			switch n {
			case 2:
				m.set(2000, 500, pages.Slab)
				m.set(50, 20, pages.Kernel)
				m.set(100, 10, pages.Free) // they are in the dump anyway
			case 3:
				m.set(3000, 64, pages.PageTable)
			case 4:
				m.set(3500, 63, pages.PageTable) // few enough to end it
			}
		}
		var out bytes.Buffer
		o := Options{Kind: Kernel, Compression: diskdump.Stored}
		if stream {
			o.Stream = &out
		}
		_, res, err := take(t, m, o)
		if err != nil {
			t.Fatal(err)
		}
		if res.Pages != 1647 || res.Late != 647 || res.Missed != 0 || m.scans != 5 {
			t.Errorf("result %+v after %d looks", res, m.scans)
		}
		d := (*kdump.Dump)(nil)
		if stream {
			d = read(t, out.Bytes())
		} else {
			d = readFile(t, res.Path)
		}
		m.set(100, 10, pages.Slab)
		wantPages(t, d, m, Kernel)
	}
}

// TestLateEnds: a machine that never rests is dumped all the same.
func TestLateEnds(t *testing.T) {
	m := newMachine(4000, pages.Free)
	m.change = func(n int) { m.set(16+uint64(n)*100, 100, pages.Slab) }
	_, res, err := take(t, m, Options{Kind: Kernel})
	if err != nil || res.Late != 300 || res.Missed != 100 || res.Pages != 500 {
		t.Errorf("result %+v, %v", res, err)
	}
	// A complete dump has all pages from the beginning.
	m = newMachine(4000, pages.Free)
	m.change = func(n int) { m.set(16, 4000, pages.Slab) }
	if _, res, err = take(t, m, Options{Kind: Complete}); err != nil || res.Late != 0 || res.Pages != 4000 {
		t.Errorf("complete: result %+v, %v", res, err)
	}
	// An ELF file has no room for more.
	m = newMachine(4000, pages.Free)
	m.change = func(n int) { m.set(16+uint64(n)*100, 100, pages.Slab) }
	_, res, err = take(t, m, Options{Kind: Kernel, Format: ELF})
	if err != nil || res.Missed != 100 || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "-format kdump") {
		t.Errorf("ELF: result %+v, %v", res, err)
	}
}

func TestStream(t *testing.T) {
	for _, format := range []Format{KDump, ELF} {
		m := mixed()
		var out bytes.Buffer
		_, res, err := take(t, m, Options{Kind: Active, Format: format, Compression: diskdump.Zstd, Stream: &out})
		if err != nil || res.Path != "" || res.Size != int64(out.Len()) {
			t.Fatalf("result %+v for %d bytes, %v", res, out.Len(), err)
		}
		wantPages(t, read(t, out.Bytes()), m, Active)
		// A reader that goes away is an error.
		if _, _, err := take(t, m, Options{Kind: Active, Format: format, Stream: &shortWriter{n: out.Len() / 2}}); !errors.Is(err, errShort) {
			t.Errorf("%v: %v", format, err)
		}
	}
}

var errShort = errors.New("no more")

// shortWriter takes n bytes.
type shortWriter struct{ n int }

func (w *shortWriter) Write(b []byte) (int, error) {
	if w.n -= len(b); w.n < 0 {
		return 0, errShort
	}
	return len(b), nil
}

// TestUnknownUses: a complete dump needs no uses of pages, the others do.
func TestUnknownUses(t *testing.T) {
	m := newMachine(100, pages.Kernel)
	m.noFlags = errors.New("no flags here")
	if _, _, err := take(t, m, Options{Kind: Kernel}); !errors.Is(err, m.noFlags) {
		t.Errorf("kernel: %v", err)
	}
	j, res, err := take(t, m, Options{Kind: Complete})
	if err != nil || res.Pages != 100 || j.Plan.Known {
		t.Fatalf("complete: %+v, %v", res, err)
	}
	wantPages(t, readFile(t, res.Path), m, Complete)
}

func TestUnreadablePages(t *testing.T) {
	for _, format := range []Format{KDump, ELF} {
		m := newMachine(600, pages.Slab)
		m.broken = func(pfn uint64) bool { return pfn == 77 || pfn >= 500 && pfn < 510 }
		_, res, err := take(t, m, Options{Format: format})
		if err != nil || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "11 pages could not be read") {
			t.Errorf("%v: %+v, %v", format, res, err)
		}
	}
}

func TestCancel(t *testing.T) {
	cause := errors.New("cancelled")
	for _, format := range []Format{KDump, ELF} {
		m := newMachine(20000, pages.Slab)
		dir := t.TempDir()
		name, err := ParseName(dir, format)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(context.Background())
		j := NewJob(m, Options{Format: format, Name: name, Progress: func(done, total uint64) {
			if done == 0 || done > total || total != 20000*pageSize {
				t.Errorf("progress %d of %d", done, total)
			}
			cancel(cause)
		}})
		if err := j.Prepare(ctx); err != nil {
			t.Fatal(err)
		}
		_, err = j.Run(ctx)
		j.Discard()
		if !errors.Is(err, cause) {
			t.Errorf("%v: %v", format, err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("%v: left behind: %v, %v", format, left, err)
		}
	}
}

func TestCancelPrepare(t *testing.T) {
	cause := errors.New("cancelled")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	j := NewJob(newMachine(100, pages.Slab), Options{Stream: io.Discard})
	if err := j.Prepare(ctx); !errors.Is(err, cause) {
		t.Error(err)
	}
}

func TestOverwrite(t *testing.T) {
	m := newMachine(50, pages.Slab)
	file := filepath.Join(t.TempDir(), "x.kdump")
	name, err := ParseName(file, FormatAuto)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		overwrite bool
		want      string
	}{{false, "x.kdump"}, {false, "x-1.kdump"}, {true, "x.kdump"}, {false, "x-2.kdump"}} {
		_, res, err := take(t, m, Options{Name: name, Overwrite: c.overwrite})
		if err != nil || filepath.Base(res.Path) != c.want {
			t.Errorf("overwrite %v: %+v, %v; want %s", c.overwrite, res, err, c.want)
		}
	}
}

func TestParseKindAndFormat(t *testing.T) {
	for _, k := range Kinds() {
		if got, err := ParseKind(strings.ToUpper(k.String())); err != nil || got != k {
			t.Errorf("%v: %v, %v", k, got, err)
		}
	}
	for _, s := range []string{"", "small", "full"} {
		if k, err := ParseKind(s); err == nil {
			t.Errorf("%q is kind %v", s, k)
		}
	}
	if f, err := ParseFormat("ELF"); err != nil || f != ELF {
		t.Error(f, err)
	}
	if f, err := ParseFormat("lime"); err == nil {
		t.Error(f)
	}
}
