package space

import (
	"time"

	"procdump/kernel/settings"
)

// FourWeeks is how long a dump that did not fit has its effect.
const FourWeeks = 4 * 7 * 24 * time.Hour

const (
	mib = 1 << 20
	gib = 1 << 30
)

// atLeast is the least that is set aside, and unit what all is rounded up to.
const (
	atLeast = 16 * mib
	unit    = 16 * mib
)

// Disk is a file system.
type Disk struct {
	Size int64
	// Free is what can be had, what is set aside for dumps included.
	Free int64
}

// spare is what the space set aside leaves free.
func (d Disk) spare() int64 { return min(5*gib, d.Size/20) }

// LowFree is the free space below which a dump is not kept.
func (d Disk) LowFree() int64 { return min(25*gib, d.Size/10) }

// Measure is what the running kernel says.
type Measure struct {
	Memory int64 // RAM in bytes
	// Estimate is the size of a dump of kind kernel, 0 if unknown.
	Estimate int64
}

// Input is what Plan goes by.
type Input struct {
	Now     time.Time
	Kind    settings.Kind
	Raw     bool // the dump goes to a device without a file system
	Measure Measure
	Disk    Disk
	State   State
}

// manages tells whether there is anything to set aside.
func (in *Input) manages() bool { return in.Kind == settings.Automatic && !in.Raw }

// Decision is what Plan returns.
type Decision struct {
	// Wanted is what the next dump may need. Bytes is what to set aside: less
	// where the disk has not more to give.
	Wanted, Bytes int64
	// GrownUntil is when the space shrinks again that has grown to the size of
	// the memory; zero if it has not grown.
	GrownUntil time.Time
	// State is Input's, with what has been learned.
	State State
}

// Plan decides how much space to set aside.
//
// Clocks jump. Times that lie in the future count as now, so that what was grown
// stays so for at most four more weeks. A clock that has not been set yet
// changes nothing.
func Plan(in Input) Decision {
	d := Decision{State: in.State}
	if !in.manages() {
		return d
	}
	state := &d.State
	state.LastCrashTime = notAfter(state.LastCrashTime, in.Now)
	state.PeakTime = notAfter(state.PeakTime, in.Now)
	if e := in.Measure.Estimate; e >= state.Peak || e > 0 && since(in.Now, state.PeakTime) >= FourWeeks {
		state.peak(e, in.Now)
	}
	full := wholeMemory(in.Measure.Memory)
	d.Wanted = full / 4 // the use of the pages has never been found out
	if state.Peak > 0 {
		d.Wanted = 2*state.Peak + 64*mib
	}
	if full > 0 {
		d.Wanted = min(d.Wanted, full)
	}
	if t := state.LastCrashTime; !t.IsZero() && since(in.Now, t) < FourWeeks {
		d.Wanted = max(d.Wanted, full)
		d.GrownUntil = t.Add(FourWeeks)
	}
	d.Wanted = max((d.Wanted+unit-1)/unit*unit, atLeast)
	d.Bytes = min(d.Wanted, max(in.Disk.Free-in.Disk.spare(), 0)/mib*mib)
	if d.Bytes < atLeast {
		d.Bytes = 0
	}
	return d
}

// peak notes the size of a dump.
func (s *State) peak(n int64, now time.Time) {
	s.Peak = n
	if clockSet(now) {
		s.PeakTime = now
	}
}

// wholeMemory is the largest size of a dump of this much memory: its pages as
// they are, 24 bytes for each and two bits, and headers.
func wholeMemory(memory int64) int64 {
	if memory <= 0 {
		return 0
	}
	return memory + memory/128 + mib
}

// clockSet tells whether a clock that says now has ever been set: machines
// without a battery start at 1970, or when their firmware was made.
func clockSet(now time.Time) bool { return now.Year() >= 2025 }

// notAfter moves a time that lies in the future to now.
func notAfter(t, now time.Time) time.Time {
	if t.After(now) && clockSet(now) {
		return now
	}
	return t
}

// since is how long ago t was, never negative.
func since(now, t time.Time) time.Duration { return max(now.Sub(t), 0) }
