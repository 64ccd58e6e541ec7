package linux

import (
	"fmt"
	"slices"
	"time"

	"procdump/snapshot"
)

// maxHeldBacking bounds the files kept open of a held process: the kernel's
// helpers have few descriptors, and the dump needs some.
const maxHeldBacking = 512

// Held makes a Stopped of a process that the kernel holds while it hands out
// its core. It runs no more and cannot be stopped by ptrace(2), but its address
// space is whole. threads are its threads, the crashed one first, with the
// registers that the core says; tid is one of them that still has the address
// space: the one that crashed, for the leader may have exited.
//
// Resume only closes the memory. The kernel may let the process go at any time:
// reading it is ErrGone then.
func (t *Target) Held(tid int, threads []snapshot.Thread) (*Stopped, error) {
	if len(threads) == 0 {
		return nil, fmt.Errorf("look at process %d, which the kernel holds: no thread of it is known", t.PID)
	}
	s := &Stopped{Process: t.Snapshot(), begin: time.Now()}
	p := s.Process
	t.files.most = maxHeldBacking
	mem, err := openMemory(tid, p.Regions, p.System.PageSize, t.files)
	if err != nil {
		return nil, fmt.Errorf("open memory of process %d: %w", t.PID, orGoneProc(err))
	}
	s.mem, p.Memory = mem, mem
	p.Info.Time, p.Info.PauseMicros = s.begin, -1
	p.Threads = slices.Clone(threads)
	s.follow(t, tid)
	return s, nil
}
