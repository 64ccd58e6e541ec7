package space

import (
	"testing"
	"time"

	"procdump/kernel/rescue"
	"procdump/kernel/settings"
)

var day0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// simulation is a machine that crashes now and then.
type simulation struct {
	t     *testing.T
	in    Input
	state State
}

func newSimulation(t *testing.T) *simulation {
	return &simulation{t: t, in: Input{Now: day0, Kind: settings.Automatic,
		Measure: Measure{Memory: 64 * gib, Estimate: 1 * gib}, Disk: Disk{Size: 500 * gib, Free: 200 * gib}}}
}

// plan sets space aside and wants this many bytes.
func (s *simulation) plan(what string, want int64) Decision {
	s.t.Helper()
	s.in.State = s.state
	d := Plan(s.in)
	if d.Bytes != want {
		s.t.Errorf("%s: %s set aside, want %s", what, size(d.Bytes), size(want))
	}
	s.state = d.State
	s.state.Reserved = d.Bytes
	return d
}

// crash has the crash kernel leave a record.
func (s *simulation) crash(rec rescue.Record) {
	rec.Wanted, rec.Finished = s.in.Kind, true
	if rec.Time.IsZero() {
		rec.Time = s.in.Now
	}
	learn(&s.state, &rec, s.in.Now)
}

const (
	small64  = 2*gib + 64*mib // of an estimate of 1 GiB
	memory64 = 64*gib + gib/2 + unit
)

// TestSequence is the course of a machine whose dumps fit, then do not, then do
// again.
func TestSequence(t *testing.T) {
	s := newSimulation(t)
	s.plan("first", small64)
	s.in.Now = day0.Add(day)
	s.crash(rescue.Record{Kind: settings.Automatic, DiskBytes: 900 * mib})
	s.plan("after a dump that fits", small64)
	if !s.state.LastCrashTime.IsZero() {
		t.Error("a dump that fits is no LastCrashTime")
	}

	s.in.Now = day0.Add(2 * day)
	s.crash(rescue.Record{NoSpace: true, NeededBytes: 3 * gib, FreeBytes: gib})
	if d := s.plan("after one that does not fit", memory64); !d.GrownUntil.Equal(day0.Add(30 * day)) {
		t.Errorf("grown until %v", d.GrownUntil)
	}
	if !s.state.LastCrashTime.Equal(s.in.Now) {
		t.Errorf("LastCrashTime %v", s.state.LastCrashTime)
	}
	s.in.Now = day0.Add(20 * day)
	s.crash(rescue.Record{Kind: settings.Automatic, DiskBytes: 3 * gib})
	s.plan("one that fits does not end the four weeks", memory64)
	s.in.Now = day0.Add(30*day - time.Second)
	s.plan("just before four weeks", memory64)
	s.in.Now = day0.Add(30 * day)
	s.plan("after four weeks, by the dump of 3 GiB", 6*gib+64*mib)
	s.in.Now = day0.Add(48 * day)
	s.plan("after four more weeks, by the estimate", small64)
}

// TestPlanPeak: the largest dump of four weeks counts, not the last.
func TestPlanPeak(t *testing.T) {
	s := newSimulation(t)
	s.crash(rescue.Record{Kind: settings.Automatic, DiskBytes: 3 * gib})
	s.in.Now = day0.Add(day)
	s.crash(rescue.Record{Kind: settings.Automatic, DiskBytes: 2 * gib})
	s.plan("after a smaller one", 6*gib+64*mib)
}

// TestPlanOverflow has a dump that found room only outside of what was set aside.
func TestPlanOverflow(t *testing.T) {
	s := newSimulation(t)
	s.plan("first", small64)
	s.crash(rescue.Record{Kind: settings.Automatic, SizeBytes: small64 + 1})
	s.plan("after it", memory64)
	// The use of the pages could not be found out, and all of memory was dumped.
	s = newSimulation(t)
	s.plan("first", small64)
	s.crash(rescue.Record{Kind: settings.Complete, DiskBytes: 9 * gib})
	s.plan("after a complete dump", memory64)
	s.in.Now = day0.Add(FourWeeks)
	s.plan("four weeks later", small64)
}

func TestPlanOtherKinds(t *testing.T) {
	for _, kind := range []settings.Kind{settings.None, settings.Complete, settings.Kernel, settings.Small, settings.Active} {
		s := newSimulation(t)
		s.in.Kind = kind
		s.plan(string(kind), 0)
		s.crash(rescue.Record{NoSpace: true, NeededBytes: 3 * gib})
		s.in.Kind = settings.Automatic
		s.plan("automatic after "+string(kind), small64)
	}
	s := newSimulation(t)
	s.in.Raw = true
	s.plan("device", 0)
}

func TestPlanEstimates(t *testing.T) {
	s := newSimulation(t)
	s.in.Measure.Estimate = 0
	s.plan("nothing is known", 16*gib+gib/8+unit)
	s.in.Measure.Estimate = 100 * mib
	s.plan("small estimate", 272*mib) // 264 rounded up
	s.in.Measure.Estimate = 500 * mib
	s.plan("grown estimate", 1072*mib)
	s.in.Now = day0.Add(27 * day)
	s.in.Measure.Estimate = 100 * mib
	s.plan("shrunk estimate", 1072*mib)
	s.in.Now = day0.Add(28 * day)
	s.plan("shrunk estimate, four weeks later", 272*mib)
	s.in.Measure = Measure{}
	s.plan("nothing can be measured", 272*mib)

	s = newSimulation(t)
	s.in.Measure = Measure{Memory: 512 * mib, Estimate: 400 * mib}
	s.plan("never more than memory", 528*mib)
	s = newSimulation(t)
	s.in.Measure = Measure{}
	s.plan("nothing at all", atLeast)
}

// TestPlanDisk holds that the disk stays usable.
func TestPlanDisk(t *testing.T) {
	for _, c := range []struct {
		what             string
		disk, free, want int64
	}{
		{"room", 500 * gib, 100 * gib, small64},
		{"just room", 500 * gib, small64 + 5*gib, small64},
		{"less room", 500 * gib, small64 + 5*gib - mib, small64 - mib},
		{"odd room", 500 * gib, small64 + 5*gib - mib - 1, small64 - 2*mib},
		{"little room", 500 * gib, 5*gib + atLeast, atLeast},
		{"too little", 500 * gib, 5*gib + atLeast - 1, 0},
		{"none", 500 * gib, 0, 0},
		{"small disk", 20 * gib, 2 * gib, gib},
		{"full small disk", 20 * gib, gib, 0},
	} {
		s := newSimulation(t)
		s.in.Disk = Disk{Size: c.disk, Free: c.free}
		if d := s.plan(c.what, c.want); d.Wanted != small64 {
			t.Errorf("%s: wanted %d", c.what, d.Wanted)
		}
	}
	if low := (Disk{Size: 100 * gib}).LowFree(); low != 10*gib {
		t.Error(low)
	}
	if low := (Disk{Size: 1000 * gib}).LowFree(); low != 25*gib {
		t.Error(low)
	}
}

// TestClockJumps holds that a wrong clock neither keeps the space grown for ever
// nor has it shrink early for good.
func TestClockJumps(t *testing.T) {
	grown := func() *simulation {
		s := newSimulation(t)
		s.crash(rescue.Record{NoSpace: true, NeededBytes: 3 * gib})
		s.plan("grown", memory64)
		return s
	}
	s := grown()
	s.in.Now = time.Unix(1000, 0) // no battery
	s.plan("clock not set", memory64)
	s.in.Now = day0.Add(28 * day)
	s.plan("clock set again", small64)

	s = grown()
	s.in.Now = day0.Add(400 * day)
	s.plan("clock ahead", small64)
	s.in.Now = day0.Add(10 * day)
	s.plan("clock right again", memory64)
	s.in.Now = day0.Add(39 * day)
	s.plan("four weeks after the crash", small64)

	// The crash was when the clock was ahead.
	s = newSimulation(t)
	s.crash(rescue.Record{Time: day0.Add(4000 * day), NoSpace: true})
	if !s.state.LastCrashTime.Equal(day0) {
		t.Error(s.state.LastCrashTime)
	}
	s = newSimulation(t)
	s.state = State{LastCrashTime: day0.Add(4000 * day), Peak: 30 * gib, PeakTime: day0.Add(4000 * day)}
	s.plan("state of the future", memory64)
	s.in.Now = day0.Add(27 * day)
	s.plan("27 days later", memory64)
	s.in.Now = day0.Add(29 * day)
	s.plan("29 days later", small64)

	// The clock was not set when the machine crashed.
	s = newSimulation(t)
	s.crash(rescue.Record{Time: time.Unix(50, 0), NoSpace: true})
	s.plan("crash of 1970", memory64)
	if !s.state.LastCrashTime.Equal(day0) {
		t.Error(s.state.LastCrashTime)
	}
	// It is not set at the next boot.
	s = newSimulation(t)
	s.in.Now = time.Unix(50, 0)
	s.crash(rescue.Record{Time: day0, NoSpace: true})
	s.plan("boot of 1970", memory64)
	if !s.state.LastCrashTime.Equal(day0) {
		t.Error(s.state.LastCrashTime)
	}
	s.in.Now = day0.Add(day)
	s.plan("a day later", memory64)
}
