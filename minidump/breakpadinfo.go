package minidump

import (
	"encoding/binary"

	"procdump/snapshot"
)

// Flags of BreakpadInfo.Validity.
const (
	breakpadDumpThread       = 1
	breakpadRequestingThread = 2
)

// BreakpadInfo says which threads to look at (MDRawBreakpadInfo).
type BreakpadInfo struct {
	DumpThread       uint32 // the thread that wrote the dump; 0 if none did
	RequestingThread uint32 // the thread that the dump is about; 0 if not known
}

func (h *head) breakpadInfo(p *snapshot.Process) {
	var valid, tid uint32
	if len(p.Threads) > 0 {
		valid, tid = breakpadRequestingThread, uint32(p.Threads[0].TID)
	}
	if e := p.Exception; e != nil {
		valid, tid = breakpadRequestingThread, uint32(e.TID)
	}
	h.begin(BreakpadInfoStream)
	h.u32(valid)
	h.u32(0)
	h.u32(tid)
	h.end()
}

// BreakpadInfo returns the BreakpadInfo stream.
func (r *Reader) BreakpadInfo() (*BreakpadInfo, error) {
	b, d, err := r.stream(BreakpadInfoStream)
	if len(b) < breakpadInfoSize {
		return nil, orShort(err, d, "BreakpadInfo")
	}
	valid, i := binary.LittleEndian.Uint32(b), &BreakpadInfo{}
	if valid&breakpadDumpThread != 0 {
		i.DumpThread = binary.LittleEndian.Uint32(b[4:])
	}
	if valid&breakpadRequestingThread != 0 {
		i.RequestingThread = binary.LittleEndian.Uint32(b[8:])
	}
	return i, nil
}
