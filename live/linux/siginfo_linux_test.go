package linux

import (
	"encoding/binary"
	"syscall"
	"testing"
)

// TestCompatSiginfo moves each kind's fields where a 32-bit program has them
// (struct compat_siginfo, linux/compat.h).
func TestCompatSiginfo(t *testing.T) {
	le := binary.LittleEndian
	for _, c := range []struct {
		name   string
		signal syscall.Signal
		code   int32
		fields map[int]uint32 // 64-bit offset to value
		want   map[int]uint32 // 32-bit offset to value
	}{
		{"kill", syscall.SIGABRT, 0, map[int]uint32{16: 100, 20: 200}, map[int]uint32{12: 100, 16: 200}},
		{"tkill", syscall.SIGABRT, -6, map[int]uint32{16: 100, 20: 200}, map[int]uint32{12: 100, 16: 200}},
		{"queue", 40, -1, map[int]uint32{16: 100, 20: 200, 24: 300}, map[int]uint32{12: 100, 16: 200, 20: 300}},
		{"timer", syscall.SIGALRM, siTimer, map[int]uint32{16: 1, 20: 2, 24: 3}, map[int]uint32{12: 1, 16: 2, 20: 3}},
		{"fault", syscall.SIGSEGV, 1, map[int]uint32{16: 0xfffff000}, map[int]uint32{12: 0xfffff000}},
		{"bounds", syscall.SIGSEGV, segvBndErr, map[int]uint32{16: 1, 32: 2, 40: 3}, map[int]uint32{12: 1, 20: 2, 24: 3}},
		{"key", syscall.SIGSEGV, segvPkuErr, map[int]uint32{16: 1, 32: 5}, map[int]uint32{12: 1, 20: 5}},
		{"child", syscall.SIGCHLD, 1, map[int]uint32{16: 1, 20: 2, 24: 3, 32: 4, 40: 5}, map[int]uint32{12: 1, 16: 2, 20: 3, 24: 4, 28: 5}},
		{"seccomp", syscall.SIGSYS, sysSeccomp, map[int]uint32{16: 1, 24: 2, 28: 3}, map[int]uint32{12: 1, 16: 2, 20: 3}},
	} {
		in, want := make([]byte, siginfoSize), make([]byte, siginfoSize)
		for _, b := range [][]byte{in, want} {
			le.PutUint32(b, uint32(c.signal))
			le.PutUint32(b[4:], 99)
			le.PutUint32(b[8:], uint32(c.code))
		}
		for at, v := range c.fields {
			le.PutUint32(in[at:], v)
		}
		for at, v := range c.want {
			le.PutUint32(want[at:], v)
		}
		if got := compatSiginfo(in); string(got) != string(want) {
			t.Errorf("%s: % x, want % x", c.name, got[:48], want[:48])
		}
	}
}
