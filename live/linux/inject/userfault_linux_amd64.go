package inject

import (
	"syscall"

	"procdump/arch"
	"procdump/internal/sys/userfault"
)

// userfaultfd is the number of userfaultfd(2).
var userfaultfd = map[arch.Machine]uint64{arch.AMD64: 323, arch.I386: 374}

// Userfault makes a userfaultfd(2) of the process's memory. take is told which
// process has it, under which descriptor, and must take it over: the process
// does not have it at any time. For it is made by a child that shares the memory,
// has no other descriptor, and ends at once.
func (s *Seat) Userfault(take func(pid, fd int) error) error {
	return s.byChild(func(helper int) error { return s.userfaultIn(helper, take) })
}

func (s *Seat) userfaultIn(helper int, take func(pid, fd int) error) error {
	if err := s.strip(helper); err != nil {
		return err
	}
	if err := s.place(helper, userfaultfd[s.th.Machine], userfault.Flags); err != nil {
		return err
	}
	fd, err := s.perform(helper, nil)
	switch {
	case err != nil:
		return err
	case fd < 0:
		return refuse("it cannot have a userfaultfd: %v", syscall.Errno(-fd))
	}
	return take(helper, int(fd))
}
