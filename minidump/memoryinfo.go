package minidump

import (
	"encoding/binary"

	"procdump/snapshot"
)

// Values of MemoryInfo's fields (winnt.h).
const (
	MemCommit  = 0x1000
	MemReserve = 0x2000
	MemFree    = 0x10000
	MemPrivate = 0x20000
	MemMapped  = 0x40000
	MemImage   = 0x1000000

	PageNoAccess         = 0x1
	PageReadOnly         = 0x2
	PageReadWrite        = 0x4
	PageWriteCopy        = 0x8
	PageExecute          = 0x10
	PageExecuteRead      = 0x20
	PageExecuteReadWrite = 0x40
	PageExecuteWriteCopy = 0x80
	PageGuard            = 0x100
)

// MemoryInfo is an entry of the MemoryInfoList (MINIDUMP_MEMORY_INFO).
type MemoryInfo struct {
	snapshot.Range
	AllocationBase    uint64
	AllocationProtect uint32 // Page…
	State             uint32 // MemCommit, MemReserve or MemFree
	Protect           uint32 // Page…
	Type              uint32 // MemPrivate, MemMapped or MemImage
}

// Perm returns the protection as Linux has it.
func (m *MemoryInfo) Perm() snapshot.Perm {
	var p snapshot.Perm
	if m.State == MemCommit {
		switch m.Protect & 0xff {
		case PageReadOnly:
			p = snapshot.Read
		case PageReadWrite, PageWriteCopy:
			p = snapshot.Read | snapshot.Write
		case PageExecute:
			p = snapshot.Execute
		case PageExecuteRead:
			p = snapshot.Read | snapshot.Execute
		case PageExecuteReadWrite, PageExecuteWriteCopy:
			p = snapshot.Read | snapshot.Write | snapshot.Execute
		}
		if m.Protect&PageGuard != 0 {
			p = 0
		}
	}
	if m.Type == MemMapped {
		p |= snapshot.Shared
	}
	return p
}

func protection(p snapshot.Perm) uint32 {
	r, w, x := p&snapshot.Read != 0, p&snapshot.Write != 0, p&snapshot.Execute != 0
	switch {
	case x && w:
		return PageExecuteReadWrite
	case x && r:
		return PageExecuteRead
	case x:
		return PageExecute
	case w:
		return PageReadWrite
	case r:
		return PageReadOnly
	}
	return PageNoAccess
}

func (h *head) memoryInfo(p *snapshot.Process) {
	image := moduleIndex(p.Modules)
	h.begin(MemoryInfoListStream)
	h.u32(16)
	h.u32(memoryInfoSize)
	h.u64(uint64(len(p.Regions)))
	for i := range p.Regions {
		r := &p.Regions[i]
		base, kind, prot := r.Addr, uint32(MemPrivate), protection(r.Perm)
		switch m := image.find(r.Addr); {
		case m != nil && r.Perm&snapshot.Shared == 0:
			kind, base = MemImage, m.Addr
		case r.Perm&snapshot.Shared != 0:
			kind = MemMapped
		}
		h.u64(r.Addr)
		h.u64(base)
		h.u32(prot)
		h.u32(0)
		h.u64(r.Size)
		h.u32(MemCommit)
		h.u32(prot)
		h.u32(kind)
		h.u32(0)
	}
	h.end()
}

// MemoryInfo returns the entries of the MemoryInfoList.
func (r *Reader) MemoryInfo() ([]MemoryInfo, error) { return strict(r.memoryInfo()) }

func (r *Reader) memoryInfo() ([]MemoryInfo, error) {
	l, err := r.list2(MemoryInfoListStream, memoryInfoSize)
	if err != nil && l == nil {
		return nil, err
	}
	out := make([]MemoryInfo, 0, l.n)
	le := binary.LittleEndian
	for e := range l.entries() {
		out = append(out, MemoryInfo{
			Range:          snapshot.Range{Addr: le.Uint64(e), Size: le.Uint64(e[24:])},
			AllocationBase: le.Uint64(e[8:]), AllocationProtect: le.Uint32(e[16:]),
			State: le.Uint32(e[32:]), Protect: le.Uint32(e[36:]), Type: le.Uint32(e[40:]),
		})
	}
	return out, err
}
