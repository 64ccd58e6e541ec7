package linux

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"syscall"

	"procdump/arch"
	"procdump/internal/sys/procmem"
	"procdump/internal/sys/ptrace"
	"procdump/live/linux/inject"
	"procdump/snapshot"
)

// ErrCloneLost means that the clone that a dump was written from has ended.
var ErrCloneLost = errors.New("the clone that the dump was written from was killed (is memory short?)")

// NoClone says why a process is not cloned. It stands as before.
type NoClone struct{ Why string }

func (e *NoClone) Error() string { return e.Why }

// Unwrap says that it is a thing that cannot be done here.
func (e *NoClone) Unwrap() error { return errors.ErrUnsupported }

func noClone(format string, args ...any) error { return &NoClone{fmt.Sprintf(format, args...)} }

// CloneOptions say what a clone is for.
type CloneOptions struct {
	// Want tells whether a region's memory will be read. What a clone does not
	// have of it is copied before the process goes on.
	Want func(*snapshot.Region) bool
	// Spool makes a file without a name for that copy.
	Spool func() (*os.File, error)
	// NoRoom says why there is not memory enough for a clone; "": there is.
	// Without it there is none, and what a pre-copy has left is copied at the
	// stop, however much that is unless Only is set.
	NoRoom string
	// Only tells that the process must not stand while much is copied.
	Only bool
}

// clone is Clone without a pre-copy.
func (s *Stopped) clone(o CloneOptions) error {
	s.mu.Lock()
	if s.holder == nil || s.ended {
		s.mu.Unlock()
		return noClone("it does not stand to be cloned")
	}
	s.copying = true
	s.mu.Unlock()
	if err := s.cloneable(); err != nil {
		return err
	}
	k := &kept{}
	var err error
	s.holder.do(func() { err = s.makeCopy(k) })
	if err == nil {
		err = s.keepRest(k, o)
	}
	if err == nil {
		s.Process.Info.Method = "clone"
		if err = s.mem.moveTo(s.copy.PID, k); err != nil {
			err = noClone("the memory of the clone cannot be opened: %v", err)
		}
	}
	if err != nil {
		k.close()
		s.Process.Info.Method = "stop-and-copy"
		s.holder.do(s.discardCopy)
		return err
	}
	s.LetGo()
	if s.event != nil {
		s.event.letGo()
	}
	return nil
}

// NoClone tells what stands against Clone, as far as is known by now; "":
// nothing.
func (s *Stopped) NoClone() string {
	if err := s.cloneable(); err != nil {
		return err.Error()
	}
	return ""
}

// cloneable looks for what stands against it now; much was looked for before
// the stop.
func (s *Stopped) cloneable() error {
	switch t := s.target; {
	case t == nil:
		return noClone("it ends")
	case t.NoClone() != "":
		return noClone("%s", t.NoClone())
	case len(s.Process.Info.MissedThreads) > 0:
		return noClone("%s", whyWaits)
	}
	if slices.ContainsFunc(s.Process.Regions, func(g snapshot.Region) bool { return g.Flags&snapshot.Userfault != 0 }) {
		return noClone("%s", whyUserfault)
	}
	return nil
}

const whyWaits = "a thread of it waits in the kernel, uninterruptibly (for a vfork child or a file server)"

// makeCopy clones the process. It runs on the thread that traces it.
func (s *Stopped) makeCopy(k *kept) error {
	room := s.room(s.Process.Regions)
	if room.Size == 0 {
		return noClone("its stack has no room below what is in use")
	}
	i := s.Process.FindRegion(room.Addr)
	if i < 0 {
		i = s.Process.FindRegion(room.End()) // the stack has grown
	}
	if i < 0 || notCloned(&s.Process.Regions[i]) {
		return noClone("a clone does not have its stack")
	}
	// The clone will find something else there: what is put onto the stack, and
	// the processor that the kernel writes into the thread's struct rseq (rseq(2)).
	if err := k.keep(s.mem, room, nil); err != nil {
		return noClone("%s: %v", whyUnkept, err)
	}
	seat, tid, err := s.sit(room)
	if err != nil {
		return err
	}
	if area, rerr := ptrace.RseqArea(tid); rerr == nil && area != 0 && !room.Contains(area) {
		if kerr := k.keep(s.mem, s.mem.pages(snapshot.Range{Addr: area, Size: 32}), nil); kerr != nil {
			err = noClone("%s: %v", whyUnkept, kerr)
		}
	}
	orphan := !s.ownInit() && s.target.clone.reaped
	if err == nil && orphan {
		var subreaper bool
		if subreaper, err = seat.Subreaper(); subreaper {
			orphan = false
		}
	}
	if _, traced := s.holder.(*hold); err == nil && !orphan && traced {
		err = noClone("its triggers need it traced, and it would have to take the clone away itself")
	}
	if err == nil {
		s.copy, err = seat.Copy(orphan)
	}
	if lerr := seat.Leave(); err == nil {
		err = lerr
	}
	if err != nil {
		return refused(err)
	}
	// Where memory runs out the clone goes first.
	_ = os.WriteFile(procPath(s.copy.PID, "oom_score_adj"), []byte("1000"), 0)
	return nil
}

// refused turns an error of package inject into one of this package.
func refused(err error) error {
	var r *inject.Refusal
	switch {
	case errors.As(err, &r):
		return noClone("%s", r.Why)
	case errors.Is(err, inject.ErrGone):
		return ErrGone
	}
	return err
}

func (s *Stopped) thread(tid int, room snapshot.Range) inject.Thread {
	c := s.target.clone
	return inject.Thread{TID: tid, Machine: c.machine, Site: c.site, Room: room.Addr, RoomSize: room.Size, Options: s.holder.options(),
		TellsRseq: tellsRseq(s.target.base.System.Release), Tracees: tracees,
		Ready: func() bool {
			st, err := readStat(procPath(s.target.PID, "task", strconv.Itoa(tid), "stat"))
			return err == nil && st.state == 'R'
		}}
}

const whyUnkept = "memory of it that the clone changes cannot be read"

// maxSeats is how many threads are tried for one that is fit to make the calls.
const maxSeats = 16

// sit prepares a thread to make the calls: the first one of the process, whose
// stack is used for it, or else any that stands because it was told to. It runs
// on the thread that traces them.
func (s *Stopped) sit(room snapshot.Range) (seat *inject.Seat, tid int, err error) {
	err = noClone("every thread of it stands at a signal, an end, or a stop by job control")
	first := slices.IndexFunc(s.held, func(h stopped) bool { return h.tid == s.target.PID })
	tried := 0
	for i := range s.held {
		h := s.held[(max(0, first)+i)%len(s.held)]
		if h.signal != 0 || !interrupted(h.tid) {
			continue
		}
		if tried++; tried > maxSeats {
			break
		}
		if filtered(s.target.PID, h.tid) {
			err = noClone("%s", whySeccomp)
			continue
		}
		var r *inject.Refusal
		if seat, err = inject.Sit(s.thread(h.tid, room)); err == nil || !errors.As(err, &r) {
			return seat, h.tid, err
		}
	}
	return nil, 0, refused(err)
}

// interrupted tells whether a thread stands because its tracer has told it to.
func interrupted(tid int) bool {
	var w ptrace.Waiter
	c, err := w.Peek(tid)
	return err == nil && c.Traced && c.Event() == ptrace.EventStop && c.Signal() == int(syscall.SIGTRAP)
}

// roomWanted is as much of the stack as an injection may need: tile registers
// (AMX) alone take 8 KiB.
const roomWanted = 4 * inject.RoomFor

// room finds a part of the process's first stack that is not in use, at its end:
// whole pages. Best is one that never was: where the stack pointer is tells
// little of a thread that has left the stack for another one, as a signal
// handler does. It runs on the thread that traces it.
func (s *Stopped) room(regions []snapshot.Region) snapshot.Range {
	i := slices.IndexFunc(regions, func(g snapshot.Region) bool { return g.Path == "[stack]" })
	const both = snapshot.Read | snapshot.Write
	if i < 0 || regions[i].Perm&both != both || len(s.held) == 0 {
		return snapshot.Range{}
	}
	g, tid := regions[i].Range, s.held[0].tid
	// Below the stack pointer of a thread that stands in it, less the red zone,
	// nothing is in use.
	used, free := false, g.Size
	for _, h := range s.held {
		if sp, err := ptrace.StackPointer(h.tid); err == nil && g.Contains(sp) {
			used, free = true, min(free, max(sp-min(sp, arch.AMD64.RedZone()), g.Addr)-g.Addr)
		}
	}
	low := snapshot.Range{Addr: g.Addr, Size: min(free, roomWanted)}
	switch below := (snapshot.Range{Addr: g.Addr - roomWanted, Size: roomWanted}); {
	case low.Size == roomWanted && s.blank(tid, low):
		return low
	case (i == 0 || regions[i-1].End()+roomWanted < below.Addr) && ptrace.Poke(tid, below.Addr, 0) == nil:
		// The kernel lets a stack grow for a tracer as for the process itself.
		return below
	}
	// It is as large as it may be.
	if low.Size &^= s.mem.scan.page - 1; used && low.Size >= inject.RoomFor {
		return low
	}
	return snapshot.Range{}
}

// blank tells whether memory is all zero.
func (s *Stopped) blank(tid int, r snapshot.Range) bool {
	b := make([]byte, r.Size)
	n, err := procmem.ReadV(tid, b, []procmem.Vec{{Addr: r.Addr, Size: r.Size}})
	return err == nil && n == len(b) && len(bytes.Trim(b, "\x00")) == 0
}

// ownInit tells whether the process is the first one of its PID namespace:
// orphans go to it.
func (s *Stopped) ownInit() bool {
	ids := s.Process.Info.NSPID
	return len(ids) > 0 && ids[len(ids)-1] == 1
}

// Outlives tells whether what was made by Clone is there when the process is
// killed.
func (s *Stopped) Outlives() bool { return s.copy == nil || !s.endsTogether() }

// endsTogether tells whether a clone may be killed when the process ends. It is in
// its PID namespace, and is killed with the first process of that
// (pid_namespaces(7)), which often ends when the one does that it was made for. And
// it is in its cgroup, all of which is killed at the end of a container that has
// the machine's PID namespace, and of a service's main process: at once or after a
// time limit (KillMode= of systemd.kill(5)).
func (s *Stopped) endsTogether() bool {
	p := s.Process
	return p.Info.Namespaces["pid"] != machineNamespace || p.Info.Container != "" || inService(string(p.Texts["cgroup"]))
}

// keepRest copies what the clone does not have.
func (s *Stopped) keepRest(k *kept, o CloneOptions) error {
	for i := range s.Process.Regions {
		g := &s.Process.Regions[i]
		if !notCloned(g) || o.Want != nil && !o.Want(g) {
			continue
		}
		if k.holds(g.Range) {
			return noClone("what its first thread needs is in memory that a clone does not have")
		}
		err := k.keep(s.mem, s.mem.pages(g.Range), o.Spool)
		switch {
		case isNoSpace(err):
			return noClone("there is no room on the disk for its shared memory, which a clone does not have")
		case err != nil:
			return err
		}
	}
	k.sort()
	return nil
}
