package linux

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

// ErrGone means that the process ended while it was being read.
var ErrGone = errors.New("the process has ended")

func gone(err error) bool { return errors.Is(err, syscall.ESRCH) || errors.Is(err, ErrGone) }

// Memory reads a stopped process. It never makes the target touch a page that
// it has not touched itself, except clean pages of private file mappings whose
// file cannot be opened from here.
type Memory struct {
	pid     int // any living thread of the process
	regions []snapshot.Region
	mem     *os.File // /proc/PID/mem: the only way to PROT_NONE pages
	scan    scanner
	files   *backing

	kept  *kept // of a clone: what it does not have
	clone bool

	store *copyStore // of a process that was pre-copied; nil: it stands, or its clone does

	mu      sync.Mutex
	unknown map[uint64]snapshot.LeftOut // shared regions whose untouched pages cannot be seen, by address
}

func openMemory(pid int, regions []snapshot.Region, page int, files *backing) (*Memory, error) {
	mem, err := os.Open(procPath(pid, "mem"))
	if err != nil {
		return nil, err
	}
	pm, err := os.Open(procPath(pid, "pagemap"))
	if err != nil {
		mem.Close()
		return nil, err
	}
	m := &Memory{pid: pid, regions: regions, mem: mem, scan: scanner{pagemap: pm, page: uint64(page)},
		files: files, unknown: map[uint64]snapshot.LeftOut{}}
	m.scan.there = m.there
	return m, nil
}

// there tells whether the address space is still there: a process that is
// killed loses it, whoever holds it.
func (m *Memory) there() bool {
	n, err := m.mem.ReadAt(make([]byte, 1), probeAddr(m.regions))
	return n == 1 || !errors.Is(err, io.EOF)
}

// probeAddr is an address that can be read as long as the process is there.
func probeAddr(regions []snapshot.Region) int64 {
	for i := range regions {
		if g := &regions[i]; g.Perm&snapshot.Read != 0 && g.Flags == 0 && !unreadable(g) {
			return int64(g.Addr)
		}
	}
	return 0
}

func (m *Memory) close() {
	m.mem.Close()
	m.scan.pagemap.Close()
	m.kept.close()
	m.store.close()
}

// moveTo makes the memory that of a clone, beside which something was kept.
func (m *Memory) moveTo(pid int, k *kept) error {
	c, err := openMemory(pid, m.regions, int(m.scan.page), m.files)
	if err != nil {
		return err
	}
	m.mem.Close()
	m.scan.pagemap.Close()
	m.files.moveTo(pid)
	m.pid, m.mem, m.scan.pagemap = pid, c.mem, c.scan.pagemap
	m.kept, m.clone = k, true
	return nil
}

func (m *Memory) region(addr uint64) *snapshot.Region {
	i := sort.Search(len(m.regions), func(i int) bool { return m.regions[i].End() > addr })
	if i < len(m.regions) && m.regions[i].Contains(addr) {
		return &m.regions[i]
	}
	return nil
}

// unreadable tells whether nobody may read a region: device memory, and the
// kernel's time pages and vsyscall page, which no system call copies.
func unreadable(r *snapshot.Region) bool {
	if r.Flags&(snapshot.IO|snapshot.PFNMap) != 0 {
		return r.Path != "[vdso]"
	}
	return r.Path == "[vvar]" || r.Path == "[vvar_vclock]" || r.Path == "[vsyscall]"
}

// Extents implements snapshot.Memory.
func (m *Memory) Extents(r snapshot.Range) ([]snapshot.Extent, error) {
	var out []snapshot.Extent
	for i := sort.Search(len(m.regions), func(i int) bool { return m.regions[i].End() > r.Addr }); i < len(m.regions) && m.regions[i].Addr < r.End(); i++ {
		g := &m.regions[i]
		if unreadable(g) {
			continue
		}
		for _, part := range m.kept.split(m.pages(g.Range.Intersect(r))) {
			xs, err := m.part(part, g)
			if err != nil {
				return nil, err
			}
			for _, x := range xs {
				x.Range = x.Range.Intersect(r)
				if x.Size > 0 {
					out = append(out, x)
				}
			}
		}
	}
	return out, nil
}

// part lists the extents of a part of region g, which is kept or is not.
func (m *Memory) part(r snapshot.Range, g *snapshot.Region) ([]snapshot.Extent, error) {
	if m.kept.has(r.Addr) {
		return m.kept.extents(r), nil
	}
	if m.store != nil {
		return m.copied(r, g), nil
	}
	xs, err := m.scan.present(r)
	if err != nil {
		return nil, fmt.Errorf("find pages of %v: %w", r, m.orLost(err))
	}
	return m.addAbsent(xs, r, g), nil
}

// pages widens a range to whole pages.
func (m *Memory) pages(r snapshot.Range) snapshot.Range {
	lo, hi := r.Addr&^(m.scan.page-1), (r.End()+m.scan.page-1)&^(m.scan.page-1)
	return snapshot.Range{Addr: lo, Size: hi - lo}
}

// addAbsent adds to the present pages of a file's or shared region those that
// the process has not touched but its file holds. Those of the vdso are the
// kernel's, and reading them through the process allocates nothing.
func (m *Memory) addAbsent(xs []snapshot.Extent, want snapshot.Range, g *snapshot.Region) []snapshot.Extent {
	if g.Anonymous() && g.Path != "[vdso]" || g.Flags&(snapshot.Userfault|snapshot.RemoteFile) != 0 {
		return xs
	}
	f := m.files.open(g)
	// Nor may a page of a huge page file be faulted in: it could take the last
	// one that the machine has set aside.
	if f == nil && !anonymousFile(g) && (g.Perm&snapshot.Shared != 0 || g.Flags&snapshot.HugeTLB != 0) {
		m.mu.Lock()
		m.unknown[g.Addr] = snapshot.LeftOut{Range: g.Range, What: g.Path, Why: "shared memory that the process has not touched, and whose file cannot be opened from here"}
		m.mu.Unlock()
		return xs
	}
	var out []snapshot.Extent
	at := want.Addr
	fill := func(end uint64) {
		if at >= end {
			return
		}
		gap := snapshot.Range{Addr: at, Size: end - at}
		if anonymousFile(g) {
			out = append(out, snapshot.Extent{Range: gap, Kind: snapshot.ExtentFile | snapshot.ExtentZero})
			return
		}
		if f == nil { // read it through the process
			out = append(out, snapshot.Extent{Range: gap, Kind: snapshot.ExtentFile})
			return
		}
		out = append(out, f.extents(gap, g, m.scan.page)...)
	}
	for _, x := range xs {
		fill(x.Addr)
		out = append(out, x)
		at = x.End()
	}
	fill(want.End())
	return out
}

// Unknown implements snapshot.PartlySeen: shared memory that may exist but could
// not be looked at.
func (m *Memory) Unknown() []snapshot.LeftOut {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []snapshot.LeftOut
	for _, l := range m.unknown {
		out = append(out, l)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Range.Addr < out[j].Range.Addr })
	return out
}

// ReadMemory implements snapshot.Memory.
func (m *Memory) ReadMemory(p []byte, addr uint64) (int, error) {
	n := 0
	for n < len(p) {
		at := addr + uint64(n)
		g := m.region(at)
		if g == nil {
			return n, &snapshot.MemoryError{Addr: at, Err: snapshot.ErrNotMapped}
		}
		want := snapshot.Range{Addr: at, Size: min(uint64(len(p)-n), g.End()-at)}
		xs, err := m.Extents(want)
		if err != nil {
			return n, &snapshot.MemoryError{Addr: at, Err: err}
		}
		k, err := m.readPieces(p[n:n+int(want.Size)], want, xs, g.Anonymous() && g.Flags&snapshot.Userfault == 0)
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// readPieces fills p, which stands for want, from its extents; what lies
// between them is zero in anonymous memory and unreadable elsewhere.
func (m *Memory) readPieces(p []byte, want snapshot.Range, xs []snapshot.Extent, zero bool) (int, error) {
	at := want.Addr
	gap := func(end uint64) error {
		if at < end && !zero {
			return &snapshot.MemoryError{Addr: at, Err: snapshot.ErrNotMapped}
		}
		clear(p[at-want.Addr : end-want.Addr])
		at = end
		return nil
	}
	for _, x := range xs {
		if err := gap(x.Addr); err != nil {
			return int(at - want.Addr), err
		}
		bad, err := m.ReadExtents(p[x.Addr-want.Addr:][:x.Size], []snapshot.Extent{x})
		if err != nil {
			return int(at - want.Addr), &snapshot.MemoryError{Addr: at, Err: err}
		}
		if len(bad) > 0 {
			return int(bad[0].Addr - want.Addr), &snapshot.MemoryError{Addr: bad[0].Addr, Err: syscall.EFAULT}
		}
		at = x.End()
	}
	if err := gap(want.End()); err != nil {
		return int(at - want.Addr), err
	}
	return int(want.Size), nil
}

// ReadExtents implements snapshot.ExtentReader.
func (m *Memory) ReadExtents(p []byte, xs []snapshot.Extent) (bad []snapshot.Range, err error) {
	var vecs []procmem.Vec
	var start, off uint64 // the part of p that vecs fill
	flush := func() error {
		if len(vecs) > 0 {
			miss, err := m.readVecs(p[start:off], vecs)
			bad = append(bad, miss...)
			if err != nil {
				return err
			}
		}
		vecs, start = vecs[:0], off
		return nil
	}
	for _, x := range xs {
		how := m.way(x)
		if how != viaProcess || len(vecs) == procmem.MaxVector {
			if err := flush(); err != nil {
				return nil, err
			}
		}
		switch how {
		case viaProcess:
			vecs = append(vecs, procmem.Vec{Addr: x.Addr, Size: x.Size})
		case asZero:
			clear(p[off : off+x.Size])
		case viaKept:
			if err := m.kept.read(p[off:off+x.Size], x.Range); err != nil {
				return nil, err
			}
		case viaStore:
			if err := m.store.read(p[off:off+x.Size], x.Range); err != nil {
				return nil, fmt.Errorf("read copy of memory: %w", err)
			}
		case viaFile:
			bad = append(bad, m.files.read(p[off:off+x.Size], x.Range, m.region(x.Addr))...)
		case viaMem:
			miss, err := m.readMem(p[off:off+x.Size], x.Addr)
			bad = append(bad, miss...)
			if err != nil {
				return nil, err
			}
		}
		off += x.Size
		if how != viaProcess {
			start = off
		}
	}
	if err := flush(); err != nil {
		return nil, err
	}
	return bad, nil
}

type readWay int

const (
	viaProcess readWay = iota // process_vm_readv
	viaMem                    // /proc/PID/mem
	viaFile                   // the file behind the mapping
	viaKept                   // what was kept beside a clone
	viaStore                  // a copy of memory
	asZero
)

func (m *Memory) way(x snapshot.Extent) readWay {
	g := m.region(x.Addr)
	switch {
	case x.Kind&snapshot.ExtentZero != 0:
		return asZero
	case m.kept.has(x.Addr):
		return viaKept
	case m.store != nil && g != nil && g.Anonymous():
		return viaStore
	case x.Kind&(snapshot.ExtentPresent|snapshot.ExtentSwapped) == 0 && m.files.open(g) != nil:
		return viaFile
	case g != nil && g.Perm&snapshot.Read == 0 || m.shares(g):
		return viaMem
	}
	return viaProcess
}

// shares tells whether a region has pages that another process has, too, until
// one of the two writes to them. process_vm_readv(2) must not read them: it pins
// what it reads, and the kernel makes a copy of such a page before that
// (FAULT_FLAG_UNSHARE, Linux 5.19).
func (m *Memory) shares(g *snapshot.Region) bool { return m.clone || g != nil && g.Forked > 0 }

// readVecs reads pieces by process_vm_readv, stepping over pages that it
// cannot read with one try through /proc/PID/mem each.
func (m *Memory) readVecs(p []byte, vecs []procmem.Vec) (bad []snapshot.Range, err error) {
	vecs = append([]procmem.Vec(nil), vecs...)
	for len(vecs) > 0 {
		n, err := procmem.ReadV(m.pid, p, vecs)
		if err != nil {
			if gone(err) {
				return bad, ErrGone
			}
			n = 0 // a page of it cannot be read, or this kernel has no such call
		}
		p = p[n:]
		for k := uint64(n); len(vecs) > 0; vecs = vecs[1:] {
			if k < vecs[0].Size {
				vecs[0].Addr, vecs[0].Size = vecs[0].Addr+k, vecs[0].Size-k
				break
			}
			k -= vecs[0].Size
		}
		if len(vecs) == 0 {
			break
		}
		skip := min(m.scan.page-vecs[0].Addr%m.scan.page, vecs[0].Size)
		miss, err := m.readMem(p[:skip], vecs[0].Addr)
		if err != nil {
			return bad, err
		}
		bad = append(bad, miss...)
		p = p[skip:]
		vecs[0].Addr, vecs[0].Size = vecs[0].Addr+skip, vecs[0].Size-skip
		if vecs[0].Size == 0 {
			vecs = vecs[1:]
		}
	}
	return snapshot.MergeRanges(bad, 0), nil
}

// readMem reads through /proc/PID/mem, page by page where it must.
func (m *Memory) readMem(p []byte, addr uint64) (bad []snapshot.Range, err error) {
	for len(p) > 0 {
		n, err := m.mem.ReadAt(p, int64(addr))
		p, addr = p[n:], addr+uint64(n)
		if len(p) == 0 {
			break
		}
		if n == 0 && errors.Is(err, io.EOF) {
			return bad, m.orLost(ErrGone) // its address space is gone
		}
		if gone(err) {
			return bad, m.orLost(ErrGone)
		}
		skip := min(m.scan.page-addr%m.scan.page, uint64(len(p)))
		clear(p[:skip])
		bad = append(bad, snapshot.Range{Addr: addr, Size: skip})
		p, addr = p[skip:], addr+skip
	}
	return snapshot.MergeRanges(bad, 0), nil
}

// orLost says whose end it was.
func (m *Memory) orLost(err error) error {
	if m.clone && gone(err) {
		return ErrCloneLost
	}
	return orGone(err)
}

func orGone(err error) error {
	if errors.Is(err, syscall.ESRCH) {
		return ErrGone
	}
	return err
}
