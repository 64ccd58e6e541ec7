//go:build !linux

package target

// Matcher answers for one process at a time whether a selector means it.
type Matcher struct{}

// Matcher makes a Matcher that matches nothing on this system.
func (s Selector) Matcher() *Matcher { return &Matcher{} }

// Match is not available on this system: nothing matches.
func (s Selector) Match(int) (Process, bool) { return Process{}, false }

// Words is not available on this system: nothing is known.
func (s Selector) Words() []string { return nil }

// Find is not available on this system.
func (*Matcher) Find() ([]Process, error) { return nil, unsupported("find processes") }

// Match is not available on this system: nothing matches.
func (*Matcher) Match(int) (Process, bool) { return Process{}, false }

// Possible is not available on this system: nothing matches.
func (*Matcher) Possible(int) bool { return false }

// Parent is not available on this system: it is not known.
func Parent(int) int { return 0 }

// Children is not available on this system: there are none.
func Children(int) []int { return nil }
