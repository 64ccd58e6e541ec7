//go:build linux && !amd64

package inject

import "runtime"

// Seat exists on amd64 only.
type Seat struct{}

// Sit refuses.
func Sit(Thread) (*Seat, error) {
	return nil, refuse("no system call can be injected on %s yet", runtime.GOARCH)
}

// Subreaper is never called: there is no Seat.
func (*Seat) Subreaper() (bool, error) { return false, nil }

// Copy is never called.
func (*Seat) Copy(bool) (*Copy, error) { return nil, nil }

// Userfault is never called.
func (*Seat) Userfault(func(pid, fd int) error) error { return nil }

// Discard is never called.
func (*Seat) Discard(*Copy) {}

// Collect is never called.
func (*Seat) Collect(*Copy) error { return nil }

// Leave is never called.
func (*Seat) Leave() error { return nil }

// End is never called.
func End(int) {}
