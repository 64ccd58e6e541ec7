//go:build linux && amd64 && !nointerp

package interp

import (
	"debug/elf"
	"hash/fnv"
	"io"
	"io/fs"
	"strings"
	"sync"

	"go.opentelemetry.io/ebpf-profiler/libpf"
	"go.opentelemetry.io/ebpf-profiler/libpf/pfelf"
	"go.opentelemetry.io/ebpf-profiler/process"
	"go.opentelemetry.io/ebpf-profiler/remotememory"

	"procdump/image"
	"procdump/snapshot"
)

// pid is what the profiler takes for the process's: none that a process of this
// machine can have, for the snapshot's may be another's now.
const pid = 1 << 30

// target is a snapshot as the profiler sees a process (process.Process).
type target struct {
	p   *snapshot.Process
	set *image.Set
	mu  sync.Mutex // the profiler may read from several goroutines
	budget
	closed bool // nothing may be read any more
}

// attach puts another snapshot of the process in the place of this one.
func (t *target) attach(p *snapshot.Process, set *image.Set) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.p, t.set = p, set
	t.budget.begin()
}

// begin begins with a stack.
func (t *target) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.budget.begin()
}

// end ends it, and returns an error if it would have taken more than there was.
func (t *target) end() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.budget.end()
}

// close ends all reading: when it returns, nobody uses the set any more, and
// nobody will.
func (t *target) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
}

// read fills b from memory.
func (t *target) read(b []byte, addr uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || !t.take() {
		return false
	}
	n, _ := t.set.ReadMemory(b, addr)
	return n == len(b)
}

// ReadAt is read for who reads from an io.ReaderAt.
func (t *target) ReadAt(b []byte, off int64) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || !t.take() {
		return 0, io.ErrUnexpectedEOF
	}
	return t.set.ReadMemory(b, uint64(off))
}

func (t *target) PID() libpf.PID { return pid }
func (t *target) GetMachineData() process.MachineData {
	return process.MachineData{Machine: elf.EM_X86_64}
}
func (t *target) GetProcessMeta(process.MetaConfig) process.ProcessMeta { return process.ProcessMeta{} }
func (t *target) GetExe() (libpf.String, error)                         { return libpf.Intern(t.p.Exe), nil }
func (t *target) GetThreads() ([]process.ThreadInfo, error)             { return nil, nil }
func (t *target) GetRemoteMemory() remotememory.RemoteMemory {
	return remotememory.RemoteMemory{ReaderAt: t}
}
func (t *target) GetMappingFileLastModified(*process.RawMapping) int64 { return 0 }
func (t *target) Close() error                                         { return nil }

// vdsos are the names that dumps have for the code that the kernel maps.
var vdsos = map[string]bool{"[vdso]": true, "linux-gate.so": true, "linux-vdso.so.1": true}

// IterateMappings lists the process's mappings. Files have numbers here that
// follow from their names: not every dump has their inodes.
func (t *target) IterateMappings(each func(process.RawMapping) bool) (uint32, error) {
	for i := range t.p.Regions {
		r := &t.p.Regions[i]
		m := process.RawMapping{Vaddr: r.Addr, Length: r.Size, FileOffset: r.Offset, Path: r.Path}
		for bit, flag := range map[snapshot.Perm]elf.ProgFlag{snapshot.Read: elf.PF_R, snapshot.Write: elf.PF_W, snapshot.Execute: elf.PF_X} {
			if r.Perm&bit != 0 {
				m.Flags |= flag
			}
		}
		switch {
		case vdsos[r.Path]:
			m.Path, m.Device, m.Inode = process.VdsoPathName, 0, 50
		case !strings.HasPrefix(r.Path, "/"):
			m.Path = ""
		default:
			h := fnv.New64a()
			io.WriteString(h, r.Path)
			m.Device, m.Inode = 1, h.Sum64()>>1|1
		}
		if !each(m) {
			return 0, process.ErrCallbackStopped
		}
	}
	return 0, nil
}

// file opens the file of an image by its path.
func (t *target) file(name string) (*opened, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, fs.ErrClosed
	}
	for _, im := range t.set.All() {
		if im.Module.Path == name {
			if f := im.File(); f != nil {
				return &opened{t, f}, nil
			}
		}
	}
	return nil, fs.ErrNotExist
}

// opened is a file of the set, which closes it.
type opened struct {
	t *target
	f *image.File
}

func (o *opened) ReadAt(b []byte, off int64) (int, error) {
	o.t.mu.Lock()
	defer o.t.mu.Unlock()
	if o.t.closed {
		return 0, fs.ErrClosed
	}
	return o.f.ReadAt(b, off)
}

func (o *opened) Close() error { return nil }

func (t *target) OpenMappingFile(m *process.RawMapping) (process.ReadAtCloser, error) {
	f, err := t.file(m.Path)
	if err != nil {
		return nil, err // not (*opened)(nil)
	}
	return f, nil
}

func (t *target) OpenELF(path string) (*pfelf.File, error) {
	f, err := t.file(path)
	if err != nil {
		return nil, err
	}
	return pfelf.NewFileOwned(f)
}

func (t *target) CalculateMappingFileID(m *process.RawMapping) (libpf.FileID, error) {
	h := fnv.New128a()
	io.WriteString(h, m.Path)
	return libpf.FileIDFromBytes(h.Sum(nil))
}
