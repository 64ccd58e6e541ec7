// Package capture writes kernel dumps: a kind picks the pages of a source of
// physical memory, and a writer puts them into a file.
//
// A dump appears under its final name only when it is complete and on disk, and
// goes past the page cache: memory is not to be filled by the dump of it.
//
// While a running kernel is dumped its pages change their use. Those that have
// come into use since they were looked at are looked for and added when the
// others are written; only the kdump-compressed format has room for that.
package capture

import (
	"errors"
	"fmt"
	"strings"

	"procdump/kdump"
	"procdump/kernel/pages"
)

// Source is physical memory and what its pages are used for.
type Source interface {
	Dump() *kdump.Dump
	// Pages fails where the uses are not known; a complete dump is possible
	// without.
	Pages() (pages.Source, error)
	// Live tells that memory changes while it is read.
	Live() bool
}

// ErrNoSpace means that the disk cannot hold a dump.
var ErrNoSpace = errors.New("not enough free disk space")

// Kind says which pages a dump takes.
type Kind uint8

// The kinds of dumps.
const (
	Automatic Kind = iota // what Kernel takes
	Complete              // all memory
	Kernel                // what the kernel itself uses
	Active                // what is in use, without the memory of virtual machines
)

var kindNames = [...]string{Automatic: "automatic", Complete: "complete", Kernel: "kernel", Active: "active"}

// Kinds are all kinds.
func Kinds() []Kind { return []Kind{Complete, Kernel, Automatic, Active} }

// String returns the name of the kind.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// ParseKind is the opposite of String, in any case.
func ParseKind(s string) (Kind, error) {
	for _, k := range Kinds() {
		if strings.EqualFold(s, k.String()) {
			return k, nil
		}
	}
	return 0, fmt.Errorf("unknown kind %q: choose complete, kernel, automatic or active", s)
}

// Mask is the set of classes of pages that the kind takes.
func (k Kind) Mask() pages.Mask {
	switch k {
	case Complete:
		return pages.CompleteKind
	case Active:
		return pages.ActiveKind
	case Kernel:
		return pages.KernelKind
	}
	return pages.AutomaticKind
}

// DumpLevel is what comes closest to the kind among makedumpfile's levels: the
// sum of 2 and 4 for page cache left out, 8 for user memory, 16 for free pages.
func (k Kind) DumpLevel() int {
	switch k {
	case Complete:
		return 0
	case Active:
		return 16
	}
	return 2 + 4 + 8 + 16
}

// Format is the format of a dump.
type Format uint8

// The formats.
const (
	FormatAuto Format = iota // as the file name says, else KDump
	KDump                    // kdump-compressed
	ELF
)

// String returns "kdump" or "elf".
func (f Format) String() string {
	if f == ELF {
		return "elf"
	}
	return "kdump"
}

// ParseFormat is the opposite of String, in any case.
func ParseFormat(s string) (Format, error) {
	for _, f := range []Format{KDump, ELF} {
		if strings.EqualFold(s, f.String()) {
			return f, nil
		}
	}
	return 0, fmt.Errorf("unknown format %q: choose kdump or elf", s)
}
