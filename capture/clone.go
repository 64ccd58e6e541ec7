package capture

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"procdump/internal/sys/fsys"
	"procdump/snapshot"
)

// Method is how the memory of a process is taken.
type Method uint8

const (
	// Stand copies the memory while the process stands.
	Stand Method = iota
	// Clone lets the process go on as soon as there is a clone of it, which is
	// copied then. Where there can be none it stands. Small dumps are in memory
	// sooner than a clone is made: they do without.
	Clone
	// CloneOnly is Clone, but where there can be none there is no dump.
	CloneOnly
)

// ErrAvoided means that a dump was not taken, for the process would have had to
// stand for it.
var ErrAvoided = errors.New("no dump was taken")

// Cloner is a Source that can be cloned.
type Cloner interface {
	Source
	// Clone lets the process go on; what is read from now on is a copy that does
	// not change. An error that matches errors.ErrUnsupported says why that
	// cannot be: the process stands as before.
	Clone(CloneOptions) error
}

// CloneOptions say what of a process's memory will be read from its clone.
type CloneOptions struct {
	Want  func(*snapshot.Region) bool
	Spool func() (*os.File, error) // makes a file for memory that a clone does not have
}

// clone clones the source if that is to be, and says in the snapshot why not if
// it cannot be. The Pacer is for the copy, the error is for every dump.
func (j *Job) clone(src Source) (*Pacer, error) {
	if j.Method == Stand || j.small() {
		return nil, nil
	}
	p := src.Snapshot()
	err := fmt.Errorf("it cannot be cloned in this state: %w", errors.ErrUnsupported)
	if c, ok := src.(Cloner); ok {
		err = c.Clone(CloneOptions{Want: j.wanted, Spool: j.newSpool})
	}
	switch {
	case err == nil:
		if j.Cloned != nil {
			j.Cloned()
		}
		return j.Pacer, nil
	case !errors.Is(err, errors.ErrUnsupported):
		return nil, err
	case j.Method == CloneOnly:
		return nil, Avoided(err.Error())
	}
	p.Info.Warnings = append(p.Info.Warnings, Stood(err.Error()))
	return nil, nil
}

// Avoided is the error of a dump that was not taken because there is no clone.
func Avoided(why string) error {
	return fmt.Errorf("%w: without a clone it would have to stand (-a): %s", ErrAvoided, why)
}

// Stood says why a process stood while it was copied.
func Stood(why string) string { return "not taken from a clone, it stood while it was copied: " + why }

// small tells whether all dumps are.
func (j *Job) small() bool {
	return !slices.ContainsFunc(j.Outputs, func(o Output) bool { return !o.Select.Kind.Small() })
}

// wanted tells whether any of the dumps may hold memory of a region.
func (j *Job) wanted(g *snapshot.Region) bool {
	return slices.ContainsFunc(j.Outputs, func(o Output) bool { return o.Select.Wants(g) })
}

func (j *Job) newSpool() (*os.File, error) {
	t, err := fsys.CreateTemp(j.Outputs[len(j.Outputs)-1].Mask.Folder())
	if err != nil {
		return nil, err
	}
	j.spool = t
	return t.File, nil
}
