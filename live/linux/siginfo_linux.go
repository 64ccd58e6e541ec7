package linux

import (
	"encoding/binary"
	"syscall"
)

// siginfoSize is the size of siginfo_t, in every layout.
const siginfoSize = 128

// Values of si_code (asm-generic/siginfo.h).
const (
	siKernel   = 0x80
	siTimer    = -2
	siSigIO    = -5
	sysSeccomp = 1
	segvBndErr = 3
	segvPkuErr = 4
	trapPerf   = 6
)

func siginfoCode(info []byte) int32 { return int32(binary.LittleEndian.Uint32(info[8:])) }

// siginfoLayout is which member of siginfo_t's union is in use.
type siginfoLayout int

const (
	siKill siginfoLayout = iota
	siTimerL
	siPoll
	siFault
	siFaultBounds
	siFaultKey
	siFaultPerf
	siChild
	siQueue
	siSys
)

func (l siginfoLayout) fault() bool { return l >= siFault && l <= siFaultPerf }

// layoutOf follows siginfo_layout of the kernel (kernel/signal.c).
func layoutOf(sig int, code int32) siginfoLayout {
	switch {
	case code == siTimer:
		return siTimerL
	case code == siSigIO:
		return siPoll
	case code < 0:
		return siQueue
	case code == 0:
		return siKill
	}
	switch s := syscall.Signal(sig); s {
	case syscall.SIGILL, syscall.SIGFPE, syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGTRAP:
		switch {
		case s == syscall.SIGSEGV && code == segvBndErr:
			return siFaultBounds
		case s == syscall.SIGSEGV && code == segvPkuErr:
			return siFaultKey
		case s == syscall.SIGTRAP && code == trapPerf:
			return siFaultPerf
		}
		return siFault
	case syscall.SIGCHLD:
		if code < siKernel {
			return siChild
		}
	case syscall.SIGIO:
		if code < siKernel {
			return siPoll
		}
	case syscall.SIGSYS:
		if code == sysSeccomp {
			return siSys
		}
	}
	return siKill
}

// siginfoFields are the union's members: the offset and size of each in the
// 64-bit and in the 32-bit siginfo_t. The union begins at 16 and at 12.
var siginfoFields = map[siginfoLayout][]struct{ from, size, to, toSize int }{
	siKill:        {{16, 4, 12, 4}, {20, 4, 16, 4}},                                                 // pid, uid
	siTimerL:      {{16, 4, 12, 4}, {20, 4, 16, 4}, {24, 8, 20, 4}},                                 // tid, overrun, value
	siPoll:        {{16, 8, 12, 4}, {24, 4, 16, 4}},                                                 // band, fd
	siFault:       {{16, 8, 12, 4}, {24, 2, 16, 2}},                                                 // addr, addr_lsb
	siFaultBounds: {{16, 8, 12, 4}, {32, 8, 20, 4}, {40, 8, 24, 4}},                                 // addr, lower, upper
	siFaultKey:    {{16, 8, 12, 4}, {32, 4, 20, 4}},                                                 // addr, pkey
	siFaultPerf:   {{16, 8, 12, 4}, {24, 8, 16, 4}, {32, 4, 20, 4}, {36, 4, 24, 4}},                 // addr, data, type, flags
	siChild:       {{16, 4, 12, 4}, {20, 4, 16, 4}, {24, 4, 20, 4}, {32, 8, 24, 4}, {40, 8, 28, 4}}, // pid, uid, status, utime, stime
	siQueue:       {{16, 4, 12, 4}, {20, 4, 16, 4}, {24, 8, 20, 4}},                                 // pid, uid, value
	siSys:         {{16, 8, 12, 4}, {24, 4, 16, 4}, {28, 4, 20, 4}},                                 // call_addr, syscall, arch
}

// compatSiginfo converts a siginfo_t from the 64-bit to the 32-bit layout.
func compatSiginfo(info []byte) []byte {
	out := make([]byte, siginfoSize)
	copy(out[:12], info) // signo, errno, code
	sig := int(binary.LittleEndian.Uint32(info))
	for _, f := range siginfoFields[layoutOf(sig, siginfoCode(info))] {
		copy(out[f.to:f.to+f.toSize], info[f.from:f.from+f.size])
	}
	return out
}

// seccompSiginfo makes the siginfo_t of a thread that a seccomp filter has
// killed: its tracer is not told of the signal (SA_IMMUTABLE).
func seccompSiginfo(pc uint64, number, audit uint32) []byte {
	out := make([]byte, siginfoSize)
	le := binary.LittleEndian
	le.PutUint32(out, uint32(syscall.SIGSYS))
	le.PutUint32(out[8:], sysSeccomp)
	le.PutUint64(out[16:], pc)
	le.PutUint32(out[24:], number)
	le.PutUint32(out[28:], audit)
	return out
}
