package minidump

import (
	"encoding/binary"
	"math"
	"time"

	"procdump/snapshot"
)

// Flags of MiscInfo.Flags: which fields are valid (MINIDUMP_MISC1_*).
const (
	MiscProcessID    = 0x1
	MiscProcessTimes = 0x2
	MiscBuildString  = 0x100
)

// MiscInfo is the MiscInfo stream (MINIDUMP_MISC_INFO to _5; the parts that
// make sense on Linux too).
type MiscInfo struct {
	Flags                uint32 // Misc…
	PID                  uint32
	StartTime            time.Time
	UserTime, KernelTime time.Duration // whole seconds
	BuildString          string        // of the operating system
	DebugBuild           string        // of who wrote the dump
}

func (h *head) miscInfo(p *snapshot.Process) {
	flags := uint32(MiscProcessID | MiscBuildString)
	if !p.StartTime.IsZero() {
		flags |= MiscProcessTimes
	}
	h.begin(MiscInfoStream)
	h.u32(miscInfoSize)
	h.u32(flags)
	h.u32(uint32(p.PID))
	h.u32(uint32(min(max(p.StartTime.Unix(), 0), math.MaxUint32)))
	h.u32(uint32(p.UserTime / time.Second))
	h.u32(uint32(p.SystemTime / time.Second))
	h.zeros(5*4 + 4*4 + 172) // power, integrity and time zone: not valid
	h.text16(p.System.Release+" "+p.System.Version, 260)
	h.text16(p.Info.Tool, 40)
	h.end()
}

// MiscInfo returns the MiscInfo stream.
func (r *Reader) MiscInfo() (*MiscInfo, error) {
	b, d, err := r.stream(MiscInfoStream)
	if len(b) < 24 {
		return nil, orShort(err, d, "MiscInfo")
	}
	le := binary.LittleEndian
	m := &MiscInfo{Flags: le.Uint32(b[4:])}
	if m.Flags&MiscProcessID != 0 {
		m.PID = le.Uint32(b[8:])
	}
	if m.Flags&MiscProcessTimes != 0 {
		m.StartTime = time.Unix(int64(le.Uint32(b[12:])), 0)
		m.UserTime = time.Duration(le.Uint32(b[16:])) * time.Second
		m.KernelTime = time.Duration(le.Uint32(b[20:])) * time.Second
	}
	if m.Flags&MiscBuildString != 0 && len(b) >= miscInfoSize {
		m.BuildString, m.DebugBuild = text16(b[232:752]), text16(b[752:832])
	}
	return m, nil
}
