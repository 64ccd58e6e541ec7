package elfcore

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"procdump/arch"
)

// PRStatus is struct elf_prstatus, the desc of an NT_PRSTATUS note: a thread's
// general-purpose registers and state (include/linux/elfcore.h).
//
//	           amd64  i386  arm64
//	pr_info        0     0      0   signo, code, errno
//	pr_cursig     12    12     12   16 bits
//	pr_sigpend    16    16     16   long
//	pr_sighold    24    20     24   long
//	pr_pid        32    24     32   pid, ppid, pgrp, sid: 32 bits each
//	pr_utime      48    40     48   utime, stime, cutime, cstime: 2 longs each
//	pr_reg       112    72    112
//	pr_fpvalid   328   140    384
//	size         336   144    392
type PRStatus struct {
	Signo, Code, Errno int32 // pr_info
	Cursig             int
	Sigpend, Sighold   uint64 // bit n-1 = signal n; only 32 of them on i386
	PID                int    // the thread's
	PPID, PGRP, SID    int
	UTime, STime       time.Duration // of the process for its leader, else of the thread
	CUTime, CSTime     time.Duration // of waited-for children
	Reg                []byte        // struct user_regs_struct
	FPValid            bool          // an NT_PRFPREG note follows
}

// prstatusLayout is where the fields lie that differ between machines.
type prstatusLayout struct{ sighold, pid, times, reg, fpvalid, size int }

func prstatusOf(m arch.Machine) (prstatusLayout, bool) {
	switch m {
	case arch.AMD64:
		return prstatusLayout{24, 32, 48, 112, 328, 336}, true
	case arch.I386:
		return prstatusLayout{20, 24, 40, 72, 140, 144}, true
	case arch.ARM64:
		return prstatusLayout{24, 32, 48, 112, 384, 392}, true
	}
	return prstatusLayout{}, false
}

// ParsePRStatus reads the desc of an NT_PRSTATUS note of machine m. Reg is a
// part of desc.
func ParsePRStatus(m arch.Machine, desc []byte) (*PRStatus, error) {
	lay, ok := prstatusOf(m)
	if !ok {
		return nil, fmt.Errorf("read NT_PRSTATUS: machine %v not supported", m)
	}
	if len(desc) < lay.size {
		return nil, fmt.Errorf("read NT_PRSTATUS: %d bytes, need %d", len(desc), lay.size)
	}
	d := wordBytes{desc, m.PointerSize()}
	return &PRStatus{
		Signo: d.int32(0), Code: d.int32(4), Errno: d.int32(8),
		Cursig:  int(binary.LittleEndian.Uint16(desc[12:])),
		Sigpend: d.word(16), Sighold: d.word(lay.sighold),
		PID: int(d.int32(lay.pid)), PPID: int(d.int32(lay.pid + 4)),
		PGRP: int(d.int32(lay.pid + 8)), SID: int(d.int32(lay.pid + 12)),
		UTime: d.timeval(lay.times), STime: d.timeval(lay.times + 2*d.size),
		CUTime: d.timeval(lay.times + 4*d.size), CSTime: d.timeval(lay.times + 6*d.size),
		Reg:     desc[lay.reg : lay.reg+m.GPSize() : lay.reg+m.GPSize()],
		FPValid: d.int32(lay.fpvalid) != 0,
	}, nil
}

// Marshal returns the desc of an NT_PRSTATUS note of machine m, nil if m is not
// supported.
func (s *PRStatus) Marshal(m arch.Machine) []byte { return s.append(nil, m) }

// append appends what Marshal returns.
func (s *PRStatus) append(b []byte, m arch.Machine) []byte {
	lay, ok := prstatusOf(m)
	if !ok {
		return b
	}
	start := len(b)
	b = slices.Grow(b, lay.size)[:start+lay.size]
	clear(b[start:])
	d := wordBytes{b[start:], m.PointerSize()}
	d.putInt32(0, s.Signo)
	d.putInt32(4, s.Code)
	d.putInt32(8, s.Errno)
	binary.LittleEndian.PutUint16(d.b[12:], uint16(s.Cursig))
	d.putWord(16, s.Sigpend)
	d.putWord(lay.sighold, s.Sighold)
	for i, v := range []int{s.PID, s.PPID, s.PGRP, s.SID} {
		d.putInt32(lay.pid+4*i, int32(v))
	}
	for i, v := range []time.Duration{s.UTime, s.STime, s.CUTime, s.CSTime} {
		d.putTimeval(lay.times+2*i*d.size, v)
	}
	copy(d.b[lay.reg:lay.reg+m.GPSize()], s.Reg)
	if s.FPValid {
		d.putInt32(lay.fpvalid, 1)
	}
	return b
}

// wordBytes is a structure of the target's C ABI; size is that of a long.
type wordBytes struct {
	b    []byte
	size int
}

func (d wordBytes) int32(off int) int32 { return int32(binary.LittleEndian.Uint32(d.b[off:])) }

func (d wordBytes) word(off int) uint64 {
	if d.size == 4 {
		return uint64(binary.LittleEndian.Uint32(d.b[off:]))
	}
	return binary.LittleEndian.Uint64(d.b[off:])
}

func (d wordBytes) timeval(off int) time.Duration {
	const maxSeconds = 1 << 32 // more is garbage and would overflow
	return time.Duration(d.word(off)%maxSeconds)*time.Second +
		time.Duration(d.word(off+d.size)%maxSeconds)*time.Microsecond
}

func (d wordBytes) putInt32(off int, v int32) { binary.LittleEndian.PutUint32(d.b[off:], uint32(v)) }

func (d wordBytes) putWord(off int, v uint64) {
	if d.size == 4 {
		binary.LittleEndian.PutUint32(d.b[off:], uint32(v))
		return
	}
	binary.LittleEndian.PutUint64(d.b[off:], v)
}

func (d wordBytes) putTimeval(off int, v time.Duration) {
	d.putWord(off, uint64(v/time.Second))
	d.putWord(off+d.size, uint64(v%time.Second/time.Microsecond))
}
