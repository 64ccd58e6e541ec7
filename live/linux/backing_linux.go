package linux

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"

	"procdump/internal/sys/fsys"
	"procdump/snapshot"
)

// backing opens the files behind mappings, so that pages the process has not
// touched are read from the file instead of being faulted into the process.
type backing struct {
	pid   int
	fdsOf int // the process whose descriptors fds are
	most  int // files kept open
	mu    sync.Mutex
	files map[mappedFile]*backingFile
	fds   map[fileKey]int // the target's own descriptors, for files without a name
}

type fileKey struct{ dev, inode uint64 }

// mappedFile tells files apart that /proc/PID/maps gives one device and inode:
// those of two subvolumes of btrfs, say.
type mappedFile struct {
	fileKey
	path string
}

// backingFile is one opened file; nil in the map: it cannot be opened.
type backingFile struct {
	f    *os.File
	size int64
}

// filePage is the smallest page in which a file is mapped, in bytes.
const filePage = 4096

// maxBacking bounds the files kept open, to a small part of RLIMIT_NOFILE where
// that is low.
const maxBacking = 4096

func newBacking(pid int) *backing {
	b := &backing{pid: pid, fdsOf: pid, most: maxBacking, files: map[mappedFile]*backingFile{}}
	if limit, ok := fsys.DescriptorLimit(); ok {
		b.most = int(min(maxBacking, limit/8))
	}
	return b
}

func (b *backing) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for k, f := range b.files {
		if f != nil {
			f.f.Close()
		}
		delete(b.files, k)
	}
}

// open returns the file behind a region, or nil if there is none, it may block
// (another process serves it), or it cannot be opened from here.
func (b *backing) open(g *snapshot.Region) *backingFile {
	if g == nil || g.Inode == 0 || g.Flags&(snapshot.RemoteFile|snapshot.Userfault|snapshot.IO|snapshot.PFNMap) != 0 || anonymousFile(g) {
		return nil
	}
	key := mappedFile{fileKey{g.Dev, g.Inode}, g.Path}
	b.mu.Lock()
	defer b.mu.Unlock()
	f, ok := b.files[key]
	if !ok && len(b.files) < b.most {
		f = b.find(g, key.fileKey)
		b.files[key] = f
	}
	return f
}

// listDescriptors looks through the target's descriptors, once.
func (b *backing) listDescriptors() {
	if b.fds == nil {
		b.fds = openInodes(b.fdsOf)
	}
}

// moveTo finds the files from now on through a clone of the process, which may
// outlive it. A clone has the mappings, but no descriptors.
func (b *backing) moveTo(pid int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pid = pid
}

// anonymousFile tells whether the file that the kernel names behind a private
// region is none: what is absent is zero.
func anonymousFile(g *snapshot.Region) bool {
	return g.Perm&snapshot.Shared == 0 && (g.Path == "/dev/zero" || g.Path == "/anon_hugepage")
}

func (b *backing) find(g *snapshot.Region, key fileKey) *backingFile {
	// map_files needs CAP_CHECKPOINT_RESTORE, but finds deleted files too.
	if f := openIf(fmt.Sprintf("%s/%x-%x", procPath(b.pid, "map_files"), g.Addr, g.End()), key, true); f != nil {
		return f
	}
	if strings.HasPrefix(g.Path, "/") && !g.Deleted {
		if f := openIf(procPath(b.pid, "root")+g.Path, key, false); f != nil {
			return f
		}
	}
	b.listDescriptors()
	if fd, ok := b.fds[key]; ok {
		return openIf(procPath(b.fdsOf, "fd", fmt.Sprint(fd)), key, false)
	}
	return nil
}

// openIf opens a regular file for reading if it is the one looked for.
func openIf(path string, key fileKey, trusted bool) *backingFile {
	st, err := os.Stat(path)
	if err != nil || !st.Mode().IsRegular() || (!trusted && keyOf(st) != key) {
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOATIME, 0)
	if err != nil {
		if f, err = os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0); err != nil {
			return nil
		}
	}
	return &backingFile{f: f, size: st.Size()}
}

// keyOf identifies a file as /proc/PID/maps does.
func keyOf(st os.FileInfo) fileKey {
	s, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return fileKey{}
	}
	return fileKey{mapsDev(s.Dev), s.Ino}
}

// mapsDev turns a dev_t of stat(2) into major<<32 | minor (gnu_dev_major(3)).
func mapsDev(dev uint64) uint64 {
	major := dev>>8&0xfff | dev>>32&^0xfff
	minor := dev&0xff | dev>>12&0xffffff00
	return major<<32 | minor&0xffffffff
}

func openInodes(pid int) map[fileKey]int {
	out := map[fileKey]int{}
	for _, fd := range descriptors(pid) {
		// Only what can be mapped: a stat of a FUSE file could hang.
		path := procPath(pid, "fd", fmt.Sprint(fd))
		if to, err := os.Readlink(path); err != nil || !mappableWithoutName(to) {
			continue
		}
		if st, err := os.Stat(path); err == nil {
			out[keyOf(st)] = fd
		}
	}
	return out
}

func mappableWithoutName(target string) bool {
	return strings.HasPrefix(target, "/memfd:") || strings.HasPrefix(target, "/dev/shm/") || strings.HasSuffix(target, " (deleted)")
}

// extents lists what the file holds of gap, a part of region g.
func (f *backingFile) extents(gap snapshot.Range, g *snapshot.Region, page uint64) []snapshot.Extent {
	off := int64(gap.Addr - g.Addr + g.Offset)
	// The last page of a file is readable to its end; beyond it is SIGBUS.
	end := int64((uint64(f.size) + page - 1) &^ (page - 1))
	if off >= end {
		return nil
	}
	gap.Size = min(gap.Size, uint64(end-off))
	// Holes are zero, and a file of many GiB may be one: they are not read.
	var out []snapshot.Extent
	const seekData, seekHole = 3, 4
	for pos := off; pos < off+int64(gap.Size); {
		data, err := f.f.Seek(pos, seekData)
		if err != nil || data >= off+int64(gap.Size) {
			data = off + int64(gap.Size)
		}
		data &^= int64(page - 1) // file systems with blocks smaller than a page
		if data > pos {
			out = appendExtent(out, gap.Addr+uint64(pos-off), gap.Addr+uint64(data-off), snapshot.ExtentFile|snapshot.ExtentZero)
		}
		if data >= off+int64(gap.Size) {
			break
		}
		hole, err := f.f.Seek(data, seekHole)
		if err != nil {
			hole = off + int64(gap.Size)
		}
		hole = min((hole+int64(page-1))&^int64(page-1), off+int64(gap.Size))
		out = appendExtent(out, gap.Addr+uint64(data-off), gap.Addr+uint64(hole-off), snapshot.ExtentFile)
		pos = hole
	}
	return out
}

// read fills p with a range of region g from its file. Bytes after the end of
// the file are zero, as they are in the mapping.
func (b *backing) read(p []byte, r snapshot.Range, g *snapshot.Region) (bad []snapshot.Range) {
	f := b.open(g)
	n, err := f.f.ReadAt(p, int64(r.Addr-g.Addr+g.Offset))
	clear(p[n:])
	at := r.Addr + uint64(n)
	if err == io.EOF {
		at = (at + filePage - 1) &^ (filePage - 1) // the rest of the last page is zero
	}
	if err != nil && at < r.End() {
		return []snapshot.Range{{Addr: at, Size: r.End() - at}}
	}
	return nil
}
