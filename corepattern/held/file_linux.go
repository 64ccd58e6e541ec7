package held

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"procdump/snapshot"
)

// maxFiles bounds the files kept open.
const maxFiles = 512

// file opens the file behind a region, or returns nil: there is none, or it
// cannot be opened. /proc/PID/map_files finds deleted ones too and needs
// CAP_CHECKPOINT_RESTORE.
func (m *Memory) file(g *snapshot.Region) *os.File {
	if g.Inode == 0 || g.Flags&(snapshot.RemoteFile|snapshot.Userfault|snapshot.IO|snapshot.PFNMap) != 0 ||
		g.Perm&snapshot.Shared == 0 && (g.Path == "/dev/zero" || strings.HasPrefix(g.Path, "/anon_hugepage")) {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	f, ok := m.files[g.Addr]
	if !ok && len(m.files) < maxFiles {
		name := procPath(m.tid, fmt.Sprintf("map_files/%x-%x", g.Addr, g.End()))
		if st, err := os.Stat(name); err == nil && st.Mode().IsRegular() {
			f, _ = os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		}
		m.files[g.Addr] = f
	}
	return f
}

// dataOf lists what a file holds for gap, which it maps from offset off on.
// Holes are zero, and a file of many GiB may be one: they are not read.
func dataOf(f *os.File, gap snapshot.Range, off, page int64) []snapshot.Extent {
	st, err := f.Stat()
	if err != nil {
		return nil
	}
	// The last page of a file is readable to its end; beyond it is SIGBUS.
	end := min(off+int64(gap.Size), (st.Size()+page-1)&^(page-1))
	var out []snapshot.Extent
	add := func(from, to int64, kind snapshot.ExtentKind) {
		if from < to {
			out = append(out, snapshot.Extent{Range: snapshot.Range{Addr: gap.Addr + uint64(from-off), Size: uint64(to - from)}, Kind: kind})
		}
	}
	const seekData, seekHole = 3, 4 // lseek(2)
	for at := off; at < end; {
		data, err := syscall.Seek(int(f.Fd()), at, seekData)
		if err != nil || data > end {
			data = end
		}
		data &^= page - 1
		add(at, data, snapshot.ExtentFile|snapshot.ExtentZero)
		hole, err := syscall.Seek(int(f.Fd()), data, seekHole)
		if err != nil || hole > end {
			hole = end
		}
		hole = min((hole+page-1)&^(page-1), end)
		add(data, hole, snapshot.ExtentFile)
		at = max(hole, at+page)
	}
	return out
}

// readFile fills p with a range of region g from its file. Bytes after the end
// of the file are zero, as they are in the mapping.
func (m *Memory) readFile(p []byte, r snapshot.Range, g *snapshot.Region) (bad []snapshot.Range) {
	n, err := m.file(g).ReadAt(p, int64(r.Addr-g.Addr+g.Offset))
	clear(p[n:])
	at := r.Addr + uint64(n)
	if err == io.EOF {
		at = (at + m.pages.page - 1) &^ (m.pages.page - 1)
	}
	if err != nil && at < r.End() {
		return []snapshot.Range{{Addr: at, Size: r.End() - at}}
	}
	return nil
}
