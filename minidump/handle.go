package minidump

import (
	"encoding/binary"
	"fmt"

	"procdump/snapshot"
)

// Handle is an entry of the HandleData stream (MINIDUMP_HANDLE_DESCRIPTOR). In
// a Linux dump it is an open file descriptor.
type Handle struct {
	Handle       uint64 // Linux: the file descriptor
	TypeName     string // Linux: "File", "Socket", …
	ObjectName   string // Linux: what readlink of /proc/PID/fd/N says
	Attributes   uint32 // Linux: st_mode
	Access       uint32 // Linux: the open flags
	HandleCount  uint32
	PointerCount uint32
}

func (h *head) handles(p *snapshot.Process) {
	type names struct{ kind, target uint32 }
	kinds, list := map[string]uint32{}, make([]names, len(p.Files))
	for i, f := range p.Files {
		k := fileKind(f.Mode)
		if kinds[k] == 0 {
			kinds[k] = h.str(k)
		}
		list[i] = names{kinds[k], h.str(cutName(f.Target))}
	}
	h.begin(HandleDataStream)
	h.u32(16)
	h.u32(handleSize)
	h.u32(uint32(len(p.Files)))
	h.u32(0)
	for i, f := range p.Files {
		h.u64(uint64(f.FD))
		h.u32(list[i].kind)
		h.u32(list[i].target)
		h.u32(f.Mode)
		h.u32(f.Flags)
		h.u32(1)
		h.u32(1)
	}
	h.end()
}

// cutName shortens a text to what readers take.
func cutName(s string) string {
	if r := []rune(s); len(r) > maxNameUnits/2 {
		return string(r[:maxNameUnits/2])
	}
	return s
}

// fileKind names the file type of an st_mode (inode(7)).
func fileKind(mode uint32) string {
	switch mode & 0o170000 {
	case 0o100000:
		return "File"
	case 0o040000:
		return "Directory"
	case 0o020000:
		return "CharDevice"
	case 0o060000:
		return "BlockDevice"
	case 0o010000:
		return "Pipe"
	case 0o140000:
		return "Socket"
	case 0o120000:
		return "Link"
	}
	return "AnonInode"
}

// Handles returns the entries of the HandleData stream.
func (r *Reader) Handles() ([]Handle, error) { return strict(r.handles()) }

func (r *Reader) handles() ([]Handle, error) {
	l, err := r.list2(HandleDataStream, handleSize)
	if err != nil && l == nil {
		return nil, err
	}
	out, s := make([]Handle, 0, l.n), r.strings()
	le := binary.LittleEndian
	for e := range l.entries() {
		h := Handle{Handle: le.Uint64(e), Attributes: le.Uint32(e[16:]), Access: le.Uint32(e[20:]),
			HandleCount: le.Uint32(e[24:]), PointerCount: le.Uint32(e[28:])}
		for off, to := range map[int]*string{8: &h.TypeName, 12: &h.ObjectName} {
			name, serr := s.at(int64(le.Uint32(e[off:])))
			if serr != nil && err == nil {
				err = fmt.Errorf("handle %#x: %w", h.Handle, serr)
			}
			*to = name
		}
		out = append(out, h)
	}
	return out, err
}
