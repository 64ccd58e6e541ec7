package elfcore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"procdump/arch"
)

// PRPSInfo is struct elf_prpsinfo, the desc of an NT_PRPSINFO note: facts of
// the process (include/linux/elfcore.h).
//
//	           amd64, arm64  i386
//	pr_state              0     0   state, sname, zomb, nice: a byte each
//	pr_flag               8     4   long
//	pr_uid               16     8   uid, gid: 32 bits, on i386 16
//	pr_pid               24    12   pid, ppid, pgrp, sid: 32 bits each
//	pr_fname             40    28   16 bytes
//	pr_psargs            56    44   80 bytes
//	size                136   124
type PRPSInfo struct {
	State  byte   // index of SName in "RSDTZW"
	SName  byte   // state's letter, '.' for others
	Zombie bool   //
	Nice   int8   //
	Flag   uint64 // PF_*; 32 bits on i386
	UID    uint32 // on i386 65534 stands for those that need more than 16 bits
	GID    uint32
	PID    int
	PPID   int
	PGRP   int
	SID    int
	FName  string // comm, at most 15 bytes
	PSArgs string // command line, at most 79 bytes
}

const (
	stateLetters  = "RSDTZW"
	overflowID    = 65534 // of include/linux/highuid.h
	fnameSize     = 16
	psargsSize    = 80
	prpsinfoSize  = 136
	prpsinfoSize4 = 124
)

// setState sets the three fields that tell a process's state, from its letter
// of proc(5).
func (s *PRPSInfo) setState(letter byte) {
	switch letter {
	case 0: // unknown; the kernel's own cores always say running
		letter = 'R'
	case 't': // stopped by a tracer
		letter = 'T'
	}
	s.SName, s.Zombie = letter, letter == 'Z'
	i := strings.IndexByte(stateLetters, letter)
	if i < 0 {
		i, s.SName = len(stateLetters), '.'
	}
	s.State = byte(i)
}

// ParsePRPSInfo reads the desc of an NT_PRPSINFO note of machine m.
func ParsePRPSInfo(m arch.Machine, desc []byte) (*PRPSInfo, error) {
	need := prpsinfoSize
	switch m.PointerSize() {
	case 0:
		return nil, fmt.Errorf("read NT_PRPSINFO: machine %v not supported", m)
	case 4:
		need = prpsinfoSize4
	}
	if len(desc) < need {
		return nil, fmt.Errorf("read NT_PRPSINFO: %d bytes, need %d", len(desc), need)
	}
	d := wordBytes{desc, m.PointerSize()}
	s := &PRPSInfo{State: desc[0], SName: desc[1], Zombie: desc[2] != 0, Nice: int8(desc[3])}
	off := 24
	if d.size == 4 {
		off = 12
		s.Flag = d.word(4)
		s.UID = uint32(binary.LittleEndian.Uint16(desc[8:]))
		s.GID = uint32(binary.LittleEndian.Uint16(desc[10:]))
	} else {
		s.Flag, s.UID, s.GID = d.word(8), uint32(d.int32(16)), uint32(d.int32(20))
	}
	s.PID, s.PPID = int(d.int32(off)), int(d.int32(off+4))
	s.PGRP, s.SID = int(d.int32(off+8)), int(d.int32(off+12))
	s.FName = cString(desc[off+16 : off+16+fnameSize])
	s.PSArgs = cString(desc[off+16+fnameSize : off+16+fnameSize+psargsSize])
	return s, nil
}

// Marshal returns the desc of an NT_PRPSINFO note of machine m, nil if m is not
// supported.
func (s *PRPSInfo) Marshal(m arch.Machine) []byte {
	d := wordBytes{make([]byte, prpsinfoSize), m.PointerSize()}
	off := 24
	switch d.size {
	case 8:
		d.putWord(8, s.Flag)
		d.putInt32(16, int32(s.UID))
		d.putInt32(20, int32(s.GID))
	case 4:
		d.b, off = d.b[:prpsinfoSize4], 12
		d.putWord(4, s.Flag)
		binary.LittleEndian.PutUint16(d.b[8:], shortID(s.UID))
		binary.LittleEndian.PutUint16(d.b[10:], shortID(s.GID))
	default:
		return nil
	}
	d.b[0], d.b[1], d.b[3] = s.State, s.SName, byte(s.Nice)
	if s.Zombie {
		d.b[2] = 1
	}
	for i, v := range []int{s.PID, s.PPID, s.PGRP, s.SID} {
		d.putInt32(off+4*i, int32(v))
	}
	copy(d.b[off+16:off+16+fnameSize-1], s.FName)
	copy(d.b[off+16+fnameSize:off+16+fnameSize+psargsSize-1], s.PSArgs)
	return d.b
}

// shortID is what a 16-bit program sees of a user or group ID.
func shortID(id uint32) uint16 {
	if id > 0xffff {
		return overflowID
	}
	return uint16(id)
}

// cString is b up to its first NUL.
func cString(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}
