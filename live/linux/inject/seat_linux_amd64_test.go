package inject

import (
	"errors"
	"syscall"
	"testing"
)

// TestNoSequence: where the kernel does not tell whether a thread stands in a
// restartable sequence it is taken for one that does.
func TestNoSequence(t *testing.T) {
	for _, c := range []struct {
		name   string
		inCall bool
		tells  bool
		err    error
		refuse bool
	}{
		{"a kernel that does not tell", false, false, syscall.EIO, true},
		{"a kernel that does not tell, in a system call", true, false, syscall.EIO, false},
		{"a kernel without restartable sequences", false, true, syscall.EIO, false},
		{"none registered", false, true, nil, false},
	} {
		s := &Seat{th: Thread{TellsRseq: c.tells}}
		s.regs[regOrigRAX] = ^uint64(0)
		if c.inCall {
			s.regs[regOrigRAX] = 0
		}
		var r *Refusal
		if err := s.noSequence(0, c.err); errors.As(err, &r) != c.refuse || !c.refuse && err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
