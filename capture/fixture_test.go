package capture

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"procdump/arch"
	"procdump/dumpkind"
	"procdump/elfcore"
	"procdump/minidump"
	"procdump/snapshot"
	"procdump/zseek"
)

const (
	rw        = snapshot.Read | snapshot.Write
	stackTop  = 0x7ffffff00000
	bigRegion = 0x7f0000000000
)

var errResumed = errors.New("the process runs on")

// fakeSource is a stopped process made of nothing.
type fakeSource struct {
	p        *snapshot.Process
	resumes  atomic.Int32
	onResume func()
}

func (s *fakeSource) Snapshot() *snapshot.Process { return s.p }

// LetGo implements Source.
func (s *fakeSource) LetGo() { s.Resume() }

func (s *fakeSource) Resume() time.Duration {
	if s.resumes.Add(1) == 1 && s.onResume != nil {
		s.onResume()
	}
	return 42 * time.Millisecond
}

// fakeMemory has bytes that follow from the address; every third page, and
// what is in no run, is zero.
type fakeMemory struct {
	runs    []snapshot.Range        // ascending: what exists
	dense   bool                    // no page that exists is zero
	bad     map[uint64]bool         // pages that cannot be read
	onRead  func(done uint64) error // called before each read
	resumed atomic.Bool             // reads must fail from now on
	done    atomic.Uint64           // bytes read
	mu      sync.Mutex
}

func (m *fakeMemory) fill(p []byte, addr uint64) {
	for len(p) > 0 {
		n := min(len(p), int(page-addr%page))
		if addr/page%3 == 0 && !m.dense || !m.exists(addr) {
			clear(p[:n])
		} else {
			for i := range p[:n] {
				p[i] = noise(addr + uint64(i))
			}
		}
		p, addr = p[n:], addr+uint64(n)
	}
}

// noise is a byte that hardly compresses (splitmix64).
func noise(addr uint64) byte {
	x := addr / 8 * 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return byte((x^x>>31)>>(addr%8*8)) | 1
}

func (m *fakeMemory) exists(addr uint64) bool {
	i := sort.Search(len(m.runs), func(i int) bool { return m.runs[i].End() > addr })
	return i < len(m.runs) && m.runs[i].Contains(addr)
}

func (m *fakeMemory) ReadMemory(p []byte, addr uint64) (int, error) {
	if m.onRead != nil {
		m.mu.Lock()
		err := m.onRead(m.done.Load())
		m.mu.Unlock()
		if err != nil {
			return 0, err
		}
	}
	if m.resumed.Load() {
		return 0, errResumed
	}
	for at := addr &^ (page - 1); at < addr+uint64(len(p)); at += page {
		if m.bad[at] {
			n := max(at, addr) - addr
			m.fill(p[:n], addr)
			m.done.Add(n)
			return int(n), &snapshot.MemoryError{Addr: addr + n, Err: io.ErrUnexpectedEOF}
		}
	}
	m.fill(p, addr)
	m.done.Add(uint64(len(p)))
	return len(p), nil
}

func (m *fakeMemory) Extents(r snapshot.Range) ([]snapshot.Extent, error) {
	if m.resumed.Load() {
		return nil, errResumed
	}
	var out []snapshot.Extent
	for i := sort.Search(len(m.runs), func(i int) bool { return m.runs[i].End() > r.Addr }); i < len(m.runs) && m.runs[i].Addr < r.End(); i++ {
		out = append(out, snapshot.Extent{Range: m.runs[i].Intersect(r), Kind: snapshot.ExtentPresent})
	}
	return out, nil
}

// fastMemory reads many extents at once, as a live process does.
type fastMemory struct{ *fakeMemory }

func (m fastMemory) ReadExtents(p []byte, xs []snapshot.Extent) (bad []snapshot.Range, err error) {
	for _, x := range xs {
		miss, err := snapshot.ReadExtent(m.fakeMemory, p[:x.Size], x)
		if err != nil {
			return nil, err
		}
		bad, p = append(bad, miss...), p[x.Size:]
	}
	return bad, nil
}

// newSource is a process with one thread, size bytes of memory, as much again
// that was never touched, and many small mappings.
func newSource(size uint64) (*fakeSource, *fakeMemory) {
	m := &fakeMemory{}
	p := &snapshot.Process{PID: 4711, Name: "victim", Memory: m, Info: snapshot.Info{PauseMicros: -1}}
	p.System.Machine, p.System.PageSize, p.System.OS = arch.AMD64, page, "linux"
	add := func(r snapshot.Range, exists snapshot.Range) {
		p.Regions = append(p.Regions, snapshot.Region{Range: r, Perm: rw})
		if exists.Size > 0 {
			m.runs = append(m.runs, exists)
		}
	}
	for i := range uint64(300) { // pieces of 1 to 5 pages
		r := snapshot.Range{Addr: 0x10000000 + i*16*page, Size: (1 + i%5) * page}
		add(r, r)
	}
	add(snapshot.Range{Addr: bigRegion, Size: 2 * size}, snapshot.Range{Addr: bigRegion + size/2&^(page-1), Size: size})
	stack := snapshot.Range{Addr: stackTop - 64*page, Size: 64 * page}
	add(stack, stack)
	add(snapshot.Range{Addr: stackTop + 16*page, Size: 8 * page}, snapshot.Range{}) // ends the file with what does not exist
	th := snapshot.Thread{TID: 4711, Name: "main", Registers: arch.Registers{Machine: arch.AMD64}}
	th.Registers.SetGP("rsp", stackTop-3*page)
	th.Registers.SetGP("rip", 0x10000010)
	th.Stack = snapshot.Range{Addr: stackTop - 3*page, Size: 3 * page}
	p.Threads = []snapshot.Thread{th}
	src := &fakeSource{p: p}
	src.onResume = func() { m.resumed.Store(true) }
	return src, m
}

// output is a dump of one kind into dir: name decides on format and compression.
func output(t testing.TB, dir, name string, kind dumpkind.Kind, kinds int) Output {
	t.Helper()
	mask, err := ParseMask(filepath.Join(dir, name), MaskOptions{Kinds: kinds, Compress: strings.HasSuffix(name, ".zst")})
	if err != nil {
		t.Fatal(err)
	}
	return Output{Mask: mask, Vars: Vars{Process: "victim", PID: 4711, Kind: kind}, Select: dumpkind.Options{Kind: kind}}
}

// want is the byte-exact content of a dump that res tells of.
func want(t *testing.T, res *Result, memory snapshot.Memory) []byte {
	t.Helper()
	p := *res.Process
	p.Memory = memory
	sel, err := dumpkind.Select(&p, res.Output.Select)
	if err != nil {
		t.Fatal(err)
	}
	// As at the time of the layout, when nothing was known of the copy.
	info := p.Info
	p.Info.PauseMicros, p.Info.Unreadable = -1, nil
	var l layout
	if res.Output.Mask.Format() == FormatMinidump {
		l, err = minidump.NewLayout(&p, sel.Ranges, minidump.Options{Full: !res.Output.Select.Kind.Small()})
	} else {
		l, err = elfcore.NewLayout(&p, sel.Ranges)
	}
	if err != nil {
		t.Fatal(err)
	}
	p.Info = info
	var head bytes.Buffer
	if err := l.WriteHead(&head); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, l.Size())
	copy(b, head.Bytes())
	for _, pl := range l.Placements() {
		for at := pl.Addr; at < pl.End(); at += page - at%page {
			part := b[pl.Off+int64(at-pl.Addr):][:min(page-at%page, pl.End()-at)]
			if _, err := memory.ReadMemory(part, at); err != nil {
				clear(part)
			}
		}
	}
	return b
}

func check(t *testing.T, res *Result, memory snapshot.Memory) {
	t.Helper()
	if res.Err != nil {
		t.Fatal(res.Err)
	}
	w := want(t, res, memory)
	got, err := os.ReadFile(res.Path)
	if err != nil {
		t.Fatal(err)
	}
	if res.Size != int64(len(got)) || res.Full != int64(len(w)) {
		t.Errorf("%s: said to have %d bytes (%d uncompressed), has %d (%d)", res.Path, res.Size, res.Full, len(got), len(w))
	}
	if res.Output.Mask.Compress() {
		z, err := zseek.NewReader(bytes.NewReader(got), int64(len(got)))
		if err != nil {
			t.Fatal(err)
		}
		got = make([]byte, z.Size())
		if _, err := z.ReadAt(got, 0); err != nil && err != io.EOF {
			t.Fatal(err)
		}
	}
	if len(got) != len(w) {
		t.Fatalf("%s has %d bytes, want %d", res.Path, len(got), len(w))
	}
	if i := slices.IndexFunc(chunks(w), func(k int) bool { return !bytes.Equal(got[k:min(k+page, len(w))], w[k:min(k+page, len(w))]) }); i >= 0 {
		t.Errorf("%s differs within %#x of %#x", res.Path, i*page, len(w))
	}
	if st, err := os.Stat(res.Path); err != nil || st.Mode() != 0o600 {
		t.Errorf("%s: mode %v, %v", res.Path, st.Mode(), err)
	}
}

func chunks(b []byte) []int {
	var out []int
	for k := 0; k < len(b); k += page {
		out = append(out, k)
	}
	return out
}

// run prepares and runs a job, and gives back what it took.
func run(t *testing.T, j *Job, src Source) []Result {
	t.Helper()
	if err := j.Prepare(src.Snapshot()); err != nil {
		t.Fatal(err)
	}
	defer j.Discard()
	return j.Run(t.Context(), src)
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}
