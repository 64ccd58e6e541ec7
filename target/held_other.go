//go:build !linux

package target

type held struct{}

// LaunchHeld is not available on this system.
func LaunchHeld(string, []string) (*Held, error) { return nil, unsupported("launch program") }

// Release is not available on this system.
func (*Held) Release() error { return unsupported("launch program") }

// Abandon does nothing on this system.
func (*Held) Abandon() {}
