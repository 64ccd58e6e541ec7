package capture

import (
	"errors"
	"fmt"
	"strings"

	"procdump/kernel/pages"
)

// ErrNotHeld means that a dump does not hold what a kind takes.
var ErrNotHeld = errors.New("the dump was made without it")

// holding is a part of memory that dumps are made without.
type holding struct {
	name    string
	classes pages.Mask
	level   int // bits of makedumpfile's level that leave it out
}

var holdings = []holding{
	{"free memory", pages.MaskOf(pages.Free, pages.HugeFree), 16},
	{"the page cache", pages.MaskOf(pages.Shmem, pages.MappedFile, pages.DirtyFile, pages.CleanCache), 2 | 4},
	{"the memory of processes", pages.MaskOf(pages.Anon, pages.KSM, pages.HugeUsed), 8},
	{"the memory of virtual machines", pages.MaskOf(pages.Guest), 0},
	{"the memory of the kernel", pages.KernelKind &^ pages.MaskOf(pages.Unknown), 0},
}

// zeroLevel of a dump's level leaves out pages of zeros, of whatever use.
const zeroLevel = 1

// lacking lists what a kind takes and the source's dump does not hold. A page
// or two may be missing of everything, because memory changed while it was
// dumped; most of it is not.
func (j *Job) lacking(kind Kind) []string {
	var names []string
	level := j.dump.DumpLevel
	for _, h := range holdings {
		m := h.classes & kind.Mask()
		all, missing := j.Plan.Counts.Kept(m), j.Plan.Missing.Kept(m)
		// Some formats do not tell RAM that was left out from no RAM at all. No
		// machine is without free memory or processes.
		none := all == 0 && j.present == nil && j.dump.Format == "ELF" && j.Plan.Counts.Kept(pages.KernelKind&^pages.MaskOf(pages.Unknown)) > 0
		switch {
		case m == 0:
		case level&h.level != 0 && m == h.classes,
			none && m == h.classes && (h.level == 16 || h.level == 8),
			level&zeroLevel == 0 && missing > all/2:
			names = append(names, h.name)
		}
	}
	return names
}

// checkHeld returns an error if the source's dump cannot give the job's kind.
func (j *Job) checkHeld() error {
	lacks := j.lacking(j.options.Kind)
	if len(lacks) == 0 {
		return nil
	}
	var can []string
	for _, k := range []Kind{Complete, Active, Kernel} {
		if len(j.lacking(k)) == 0 {
			can = append(can, k.String())
		}
	}
	remedy := "take another dump"
	if len(can) > 0 {
		remedy = "it can give " + strings.Join(can, " and ")
	}
	return fmt.Errorf("a dump of kind %v holds %s: %w; %s", j.options.Kind, strings.Join(lacks, ", "), ErrNotHeld, remedy)
}

// level is makedumpfile's level of what the dump is going to hold.
func (j *Job) level() int {
	if j.source.Live() {
		return j.options.Kind.DumpLevel()
	}
	level := j.dump.DumpLevel
	if j.Plan.Known {
		level |= j.options.Kind.DumpLevel()
	}
	return level
}
