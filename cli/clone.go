package cli

import (
	"slices"

	"procdump/capture"
	"procdump/dumpkind"
	"procdump/monitor"
	"procdump/snapshot"
)

// gentleFrom is the size of a dump, in bytes, from which on it is taken from a
// clone without -r. Below it the process stands about as long for a clone as it
// does for a copy.
const gentleFrom = 256 << 20

// mayClone tells whether a clone may be made at all.
func (r *run) mayClone() bool {
	return r.o.Clone != CloneNever && r.o.large()
}

// large tells whether a dump may be large.
func (o *Options) large() bool {
	return slices.ContainsFunc(o.Kinds, func(k dumpkind.Kind) bool { return !k.Small() })
}

// pacer is nil without -throttle.
func (o *Options) pacer() *capture.Pacer {
	if o.Throttle == 0 {
		return nil
	}
	return capture.NewPacer(o.Throttle)
}

// choose says how the memory is taken. noClone is what stands against a clone.
func (s *session) choose(j *capture.Job, p *snapshot.Process, noClone string) error {
	o := s.run.o
	if !s.run.mayClone() || o.Clone == CloneGently && (j.Estimate(p) < gentleFrom || p.State == 'T') {
		return nil
	}
	if noClone == "" {
		// A pre-copy needs no memory.
		if j.NoRoom = monitor.RoomForClone(p); !o.PreCopy {
			noClone = j.NoRoom
		}
	}
	switch {
	case noClone == "" && o.Avoid:
		j.Method = capture.CloneOnly
	case noClone == "":
		j.Method = capture.Clone
	case o.Avoid:
		return capture.Avoided(noClone)
	default:
		s.stood = noClone
	}
	return nil
}

// preCopy asks for a copy that is made while the process runs; nil: none is
// wanted, or there is a reason against it.
func (s *session) preCopy(j *capture.Job, p *snapshot.Process) *capture.PreCopy {
	if !s.run.o.PreCopy || j.Method == capture.Stand {
		return nil
	}
	if s.refusedCopy = j.RoomForPreCopy(p); s.refusedCopy != "" {
		return nil
	}
	return &capture.PreCopy{CloneOptions: j.CloneOptions(), Refused: func(why string) { s.refusedCopy = why }}
}
