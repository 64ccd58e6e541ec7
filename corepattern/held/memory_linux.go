package held

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"sync"
	"syscall"

	"procdump/internal/sys/procmem"
	"procdump/snapshot"
)

// ErrGone means that the kernel has let the process go.
var ErrGone = errors.New("the process is gone")

// Memory reads a held process. It implements snapshot.ExtentReader.
type Memory struct {
	tid     int
	regions []snapshot.Region
	mem     *os.File // /proc/TID/mem: reads pages of any protection
	pages   scanner
	probe   int64 // an address that can be read as long as the process is there

	mu    sync.Mutex
	files map[uint64]*os.File // behind regions, by the region's address; nil: cannot be opened
}

// Open opens the memory of a thread's process, whose mappings are regions. The
// thread that crashed is the one to name: the leader may have exited.
func Open(tid int, regions []snapshot.Region, pageSize int) (*Memory, error) {
	mem, err := os.Open(procPath(tid, "mem"))
	if err != nil {
		return nil, fmt.Errorf("open memory: %w", orGone(err))
	}
	pagemap, err := os.Open(procPath(tid, "pagemap"))
	if err != nil {
		mem.Close()
		return nil, fmt.Errorf("open page map: %w", orGone(err))
	}
	m := &Memory{tid: tid, regions: regions, mem: mem, pages: scanner{file: pagemap, page: uint64(pageSize)},
		files: map[uint64]*os.File{}}
	for i := range regions {
		if g := &regions[i]; g.Perm&snapshot.Read != 0 && g.Flags == 0 && !unreadable(g) {
			m.probe = int64(g.Addr)
			break
		}
	}
	return m, nil
}

// there tells whether the process is still held. Of one that is gone the page
// map says that it has no pages, which would be taken for zeros.
func (m *Memory) there() bool {
	n, err := m.mem.ReadAt(make([]byte, 1), m.probe)
	return n == 1 || !errors.Is(err, io.EOF)
}

func procPath(tid int, name string) string { return fmt.Sprintf("/proc/%d/%s", tid, name) }

// Close closes what Open opened.
func (m *Memory) Close() {
	m.mem.Close()
	m.pages.file.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, f := range m.files {
		if f != nil {
			f.Close()
		}
		delete(m.files, k)
	}
}

func orGone(err error) error {
	if errors.Is(err, syscall.ESRCH) || errors.Is(err, syscall.ENOENT) {
		return ErrGone
	}
	return err
}

// index returns the first region that ends after addr.
func (m *Memory) index(addr uint64) int {
	return sort.Search(len(m.regions), func(i int) bool { return m.regions[i].End() > addr })
}

func (m *Memory) region(addr uint64) *snapshot.Region {
	if i := m.index(addr); i < len(m.regions) && m.regions[i].Contains(addr) {
		return &m.regions[i]
	}
	return nil
}

// unreadable tells whether nobody may read a region: device memory, and the
// kernel's time pages and vsyscall page, which no system call copies.
func unreadable(g *snapshot.Region) bool {
	if g.Flags&(snapshot.IO|snapshot.PFNMap) != 0 {
		return g.Path != "[vdso]"
	}
	return g.Path == "[vvar]" || g.Path == "[vvar_vclock]" || g.Path == "[vsyscall]"
}

// Extents implements snapshot.Memory.
func (m *Memory) Extents(r snapshot.Range) ([]snapshot.Extent, error) {
	var out []snapshot.Extent
	mask := m.pages.page - 1
	for i := m.index(r.Addr); i < len(m.regions) && m.regions[i].Addr < r.End(); i++ {
		g := &m.regions[i]
		if unreadable(g) {
			continue
		}
		part := g.Intersect(r)
		lo, hi := part.Addr&^mask, (part.End()+mask)&^mask
		want := snapshot.Range{Addr: lo, Size: hi - lo}
		xs, err := m.pages.present(want)
		if err != nil {
			return nil, fmt.Errorf("find pages of %v: %w", want, orGone(err))
		}
		for _, x := range m.withAbsent(xs, want, g) {
			if x.Range = x.Intersect(part); x.Size > 0 {
				out = append(out, x)
			}
		}
	}
	if !m.there() {
		return nil, ErrGone
	}
	return out, nil
}

// withAbsent adds to the present pages of a file's or shared region those that
// the process has not touched but its file holds.
func (m *Memory) withAbsent(xs []snapshot.Extent, want snapshot.Range, g *snapshot.Region) []snapshot.Extent {
	vdso := g.Path == "[vdso]"
	if g.Anonymous() && !vdso || g.Flags&(snapshot.Userfault|snapshot.RemoteFile) != 0 {
		return xs
	}
	var f *os.File
	if !vdso {
		if f = m.file(g); f == nil {
			return xs
		}
	}
	var out []snapshot.Extent
	at := want.Addr
	fill := func(end uint64) {
		switch gap := (snapshot.Range{Addr: at, Size: end - at}); {
		case at >= end:
		case vdso:
			out = append(out, snapshot.Extent{Range: gap, Kind: snapshot.ExtentFile})
		default:
			out = append(out, dataOf(f, gap, int64(at-g.Addr+g.Offset), int64(m.pages.page))...)
		}
	}
	for _, x := range xs {
		fill(x.Addr)
		out = append(out, x)
		at = x.End()
	}
	fill(want.End())
	return out
}

// ReadMemory implements snapshot.Memory.
func (m *Memory) ReadMemory(p []byte, addr uint64) (int, error) {
	for n := 0; n < len(p); {
		at := addr + uint64(n)
		g := m.region(at)
		if g == nil {
			return n, &snapshot.MemoryError{Addr: at, Err: snapshot.ErrNotMapped}
		}
		want := snapshot.Range{Addr: at, Size: min(uint64(len(p)-n), g.End()-at)}
		k, err := m.readPart(p[n:n+int(want.Size)], want, g)
		if n += k; err != nil {
			return n, err
		}
	}
	return len(p), nil
}

// readPart reads want, a part of region g. What does not exist is zero in
// anonymous memory and unreadable elsewhere.
func (m *Memory) readPart(p []byte, want snapshot.Range, g *snapshot.Region) (int, error) {
	xs, err := m.Extents(want)
	if err != nil {
		return 0, &snapshot.MemoryError{Addr: want.Addr, Err: err}
	}
	zero := g.Anonymous() && g.Flags&snapshot.Userfault == 0
	at := want.Addr
	for _, x := range append(xs, snapshot.Extent{Range: snapshot.Range{Addr: want.End()}}) {
		if at < x.Addr {
			if !zero {
				return int(at - want.Addr), &snapshot.MemoryError{Addr: at, Err: snapshot.ErrNotMapped}
			}
			clear(p[at-want.Addr : x.Addr-want.Addr])
		}
		bad, err := m.ReadExtents(p[x.Addr-want.Addr:][:x.Size], []snapshot.Extent{x})
		if err != nil {
			return int(x.Addr - want.Addr), &snapshot.MemoryError{Addr: x.Addr, Err: err}
		}
		if len(bad) > 0 {
			return int(bad[0].Addr - want.Addr), &snapshot.MemoryError{Addr: bad[0].Addr, Err: syscall.EFAULT}
		}
		at = x.End()
	}
	return int(want.Size), nil
}

// ReadExtents implements snapshot.ExtentReader.
func (m *Memory) ReadExtents(p []byte, xs []snapshot.Extent) (bad []snapshot.Range, err error) {
	for _, x := range xs {
		b := p[:x.Size]
		p = p[x.Size:]
		var miss []snapshot.Range
		switch g := m.region(x.Addr); {
		case x.Kind&snapshot.ExtentZero != 0:
			clear(b)
		case x.Size == 0:
		case x.Kind&(snapshot.ExtentPresent|snapshot.ExtentSwapped) == 0 && g != nil && m.file(g) != nil:
			miss = m.readFile(b, x.Range, g)
		default:
			if miss, err = m.readPages(b, x.Addr, g == nil || g.Perm&snapshot.Read != 0); err != nil {
				return nil, err
			}
		}
		bad = append(bad, miss...)
	}
	return bad, nil
}

// readPages reads through the process: by process_vm_readv where the pages are
// readable, which is faster, else, and where that fails, by /proc/TID/mem.
func (m *Memory) readPages(p []byte, addr uint64, readable bool) (bad []snapshot.Range, err error) {
	for len(p) > 0 {
		if readable {
			n, err := procmem.ReadV(m.tid, p, []procmem.Vec{{Addr: addr, Size: uint64(len(p))}})
			if errors.Is(err, syscall.ESRCH) {
				return nil, ErrGone
			}
			if p, addr = p[n:], addr+uint64(n); len(p) == 0 {
				break
			}
		}
		step := len(p)
		if readable {
			step = int(min(m.pages.page-addr%m.pages.page, uint64(step)))
		}
		n, err := m.mem.ReadAt(p[:step], int64(addr))
		if p, addr = p[n:], addr+uint64(n); n == step {
			continue
		}
		if n == 0 && errors.Is(err, io.EOF) || errors.Is(err, syscall.ESRCH) {
			return nil, ErrGone
		}
		skip := min(m.pages.page-addr%m.pages.page, uint64(len(p)))
		clear(p[:skip])
		bad = append(bad, snapshot.Range{Addr: addr, Size: skip})
		p, addr = p[skip:], addr+skip
	}
	return snapshot.MergeRanges(bad, 0), nil
}
