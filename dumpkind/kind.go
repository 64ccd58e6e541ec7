package dumpkind

import (
	"fmt"
	"slices"
)

// Kind is how much of a process a dump holds. Kinds are ordered by the size
// that they usually have, smallest first, which is the order in which one
// trigger writes them: slices.Sort puts them into it.
type Kind uint8

// The kinds, smallest first. The zero Kind is none of them.
const (
	Triage   Kind = 1 + iota // -mt: thread stacks only, overwritten but for addresses
	Mini                     // -mm: stacks and what they point at; the default
	Custom                   // -mc: what a mask asks for
	MiniPlus                 // -mp: everything that no file on disk holds
	Full                     // -ma: all readable memory
	AsIs                     // of a dump: all that it holds
)

var kindNames = [...]string{Triage: "triage", Mini: "mini", Custom: "custom", MiniPlus: "miniplus", Full: "full", AsIs: "unchanged"}

// String returns the kind's name, which is also its name in dump notes, JSON
// events and file names: "triage", "mini", "custom", "miniplus", "full".
func (k Kind) String() string {
	if k.Valid() || k == AsIs {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// KindOf returns the kind of that name; false: it is none of those of which a
// process can be dumped.
func KindOf(name string) (Kind, bool) {
	k := Kind(slices.Index(kindNames[:], name))
	return k, k.Valid()
}

// Valid tells whether k is one of the kinds of which a process can be dumped.
func (k Kind) Valid() bool { return k >= Triage && k <= Full }

// Small tells whether dumps of this kind hold stacks and little else.
func (k Kind) Small() bool { return k == Triage || k == Mini }
