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
	// Outlives tells whether what is read after Clone is there when the process
	// is killed.
	Outlives() bool
}

// CloneOptions say what of a process's memory will be read from its clone.
type CloneOptions struct {
	Want   func(*snapshot.Region) bool
	Spool  func() (*os.File, error) // makes a file for memory that a clone does not have
	NoRoom string                   // why there is not memory enough for a clone; "": there is
	Only   bool                     // the process must not stand while much is copied
}

// PreCopy asks for a copy of a process's memory that is made while it runs, in a
// file beside the dump. It takes the place of a clone.
type PreCopy struct {
	CloneOptions
	Refused func(why string) // is told if there is none
}

// clone clones the source if that is to be, and says in the snapshot why not if
// it cannot be. The Pacer is for the copy, the error is for every dump.
func (j *Job) clone(src Source) (*Pacer, error) {
	if j.Method == Stand || j.small() {
		return nil, nil
	}
	p := src.Snapshot()
	err := fmt.Errorf("it cannot be cloned in this state: %w", errors.ErrUnsupported)
	c, ok := src.(Cloner)
	if ok {
		err = c.Clone(j.CloneOptions())
	}
	switch {
	case err == nil:
		if j.Cloned != nil && c.Outlives() {
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

// CloneOptions are those of the job's source.
func (j *Job) CloneOptions() CloneOptions {
	return CloneOptions{Want: j.wanted, Spool: j.newSpool, NoRoom: j.NoRoom, Only: j.Method == CloneOnly}
}

// RoomForPreCopy tells why there is not disk enough for a copy of the process's
// memory beside the dumps; "": there is.
func (j *Job) RoomForPreCopy(p *snapshot.Process) string {
	folder := j.spoolFolder()
	need := j.needs(p)[folder]
	for i := range p.Regions {
		if g := &p.Regions[i]; g.Anonymous() && j.wanted(g) {
			need += min(g.Size, g.Resident+g.Swapped)
		}
	}
	free, err := fsys.Free(folder)
	if err != nil || need <= uint64(free) {
		return ""
	}
	return fmt.Sprintf("its memory is copied to a file beside the dump first: in %s both need about %s, and %s are free", folder, Bytes(need), Bytes(uint64(free)))
}

// NotPreCopied says why a process was not copied while it ran.
func NotPreCopied(why string) string { return "not copied while it ran (-r live): " + why }

// small tells whether all dumps are.
func (j *Job) small() bool {
	return !slices.ContainsFunc(j.Outputs, func(o Output) bool { return !o.Select.Kind.Small() })
}

// wanted tells whether any of the dumps may hold memory of a region.
func (j *Job) wanted(g *snapshot.Region) bool {
	return slices.ContainsFunc(j.Outputs, func(o Output) bool { return o.Select.Wants(g) })
}

func (j *Job) newSpool() (*os.File, error) {
	t, err := fsys.CreateTemp(j.spoolFolder())
	if err != nil {
		return nil, err
	}
	j.spools = append(j.spools, t)
	return t.File, nil
}

func (j *Job) spoolFolder() string { return j.Outputs[len(j.Outputs)-1].Mask.Folder() }
