package linux

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sort"
	"sync"
	"time"

	"procdump/internal/sys/ptrace"
	"procdump/live/linux/inject"
	"procdump/snapshot"
)

// Stopped is a process all of whose threads are held. Its methods may be
// called from any goroutine, but not at once.
type Stopped struct {
	Process *snapshot.Process

	holder holder      // nil: the kernel
	event  *TraceEvent // why it was stopped; nil: on request
	held   []stopped
	begin  time.Time
	pause  time.Duration
	letGo  sync.Once
	closed sync.Once
	mem    *Memory
	fresh  *Target // of a process that has executed another program
	target *Target // what the snapshot was completed from

	mu      sync.Mutex   // guards copying and ended
	copying bool         // Clone has begun: the holder stays until Resume
	ended   bool         // the holder does nothing any more
	copy    *inject.Copy // what the memory is read from; nil: the process itself
}

// holder is who holds the threads of a Stopped.
type holder interface {
	do(func())         // runs on the thread that traces them
	letGo(h []stopped) // lets them go on
	options() int      // ptrace options of the threads
	end()              // nothing is done for this Stopped afterwards
}

// Stop stops every thread and completes the snapshot. The caller must call
// Resume, whatever happens. ctx ends a wait for threads that do not stop, and for
// another procdump that has stopped the process just now.
func (t *Target) Stop(ctx context.Context) (*Stopped, error) {
	return t.untilFree(ctx, func() (s *Stopped, err error) {
		t.refresh()
		err = whileAlive(t.PID, func() error {
			s, err = t.stop(ctx)
			return err
		})
		return s, err
	})
}

// untilFree repeats a stop as long as another procdump has the process stopped.
func (t *Target) untilFree(ctx context.Context, stop func() (*Stopped, error)) (s *Stopped, err error) {
	other := otherTracer{pid: t.PID}
	for {
		if s, err = stop(); err == nil || !other.wait(ctx, err) {
			break
		}
	}
	if errors.Is(err, fs.ErrPermission) && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return s, err
}

func (t *Target) stop(ctx context.Context) (*Stopped, error) {
	tracer := newTracer()
	s := &Stopped{holder: tracer}
	var lost []missed
	var err error
	tracer.do(func() { s.held, lost, s.begin, err = stopAll(ctx, t.PID) })
	if err != nil {
		tracer.end()
		return nil, err
	}
	return t.complete(s, lost)
}

// complete reads what is to be read of a process that is held. On an error it
// goes on.
func (t *Target) complete(s *Stopped, lost []missed) (*Stopped, error) {
	var err error
	mm := anyThread(s.held, lost)
	if !t.sameProgram(mm) {
		// It has executed another program since: look at it anew.
		var fresh *Target
		if fresh, err = open(t.PID, mm, t.opts); err == nil {
			if s.fresh != nil {
				s.fresh.Close()
			}
			t.precopy.discard()
			s.fresh, t = fresh, fresh
		}
	}
	if err == nil {
		err = s.snapshot(t, lost)
	}
	if err != nil {
		s.Resume()
		return nil, err
	}
	return s, nil
}

// anyThread returns a thread that stands.
func anyThread(held []stopped, lost []missed) int {
	if len(held) == 0 {
		return lost[0].tid
	}
	return held[0].tid
}

func (s *Stopped) snapshot(t *Target, lost []missed) error {
	p := t.base
	s.Process, s.target = &p, t
	p.Info.Time = s.begin
	p.Info.PauseMicros = -1
	p.Info.Method = "stop-and-copy"
	mm := anyThread(s.held, lost)
	// The mappings are read beside the registers: every moment counts.
	mapped := make(chan error, 1)
	go func() { mapped <- s.readRegions(t, mm) }()
	var err error
	if len(s.held) > 0 {
		err = s.readThreads(t)
	}
	if err := <-mapped; err != nil {
		return err
	}
	if err != nil {
		return err
	}
	mem, err := openMemory(mm, p.Regions, p.System.PageSize, t.files)
	if err != nil {
		return fmt.Errorf("open memory of process %d: %w", t.PID, orGoneProc(err))
	}
	s.mem, p.Memory = mem, mem
	if len(s.held) == 0 {
		if err := s.readAsleep(t, lost); err != nil {
			return err
		}
	}
	s.follow(t, mm)
	for _, l := range lost {
		p.Info.MissedThreads = append(p.Info.MissedThreads, snapshot.MissedThread{TID: l.tid, State: string(rune(l.state)), Why: l.why})
	}
	return nil
}

// follow finds what the memory and the threads' registers lead to.
func (s *Stopped) follow(t *Target, mm int) {
	p := s.Process
	p.System.Machine = p.Threads[0].Registers.Machine
	p.Modules = t.modules.find(s.mem, t.files, mm, p.Regions, p.Exe)
	p.Linker = Linker(p)
	UsedStacks(p)
}

// readRegions reads the mappings as they are now, with the flags that were
// read before the stop; only where mappings are new are the flags read again.
func (s *Stopped) readRegions(t *Target, mm int) error {
	text, err := os.ReadFile(procPath(mm, "maps"))
	if err != nil {
		return fmt.Errorf("read mappings of process %d: %w", t.PID, orGoneProc(err))
	}
	regions, err := parseMaps(text)
	if err != nil {
		return err
	}
	if len(regions) == 0 {
		return ErrGone
	}
	if !mergeFlags(regions, t.smaps) {
		if regions, err = readSmaps(procPath(mm, "smaps")); err != nil {
			return fmt.Errorf("read mappings of process %d: %w", t.PID, orGoneProc(err))
		}
	}
	t.flagRemote(regions)
	t.precopy.disown(regions)
	p := s.Process
	p.Regions = regions
	texts := map[string][]byte{"maps": text}
	for k, v := range p.Texts {
		texts[k] = v
	}
	p.Texts = texts
	return nil
}

// readThreads reads the registers of every held thread. The one that the event
// happened to comes first, then the leader, or the oldest thread left.
func (s *Stopped) readThreads(t *Target) error {
	p := s.Process
	rank := func(tid int) int {
		switch {
		case s.event != nil && tid == s.event.TID:
			return -2
		case tid == t.PID:
			return -1
		}
		return tid
	}
	sort.Slice(s.held, func(i, j int) bool { return rank(s.held[i].tid) < rank(s.held[j].tid) })
	var err error
	s.holder.do(func() {
		rr := newRegReader(t.opts.View64)
		p.Threads = make([]snapshot.Thread, 0, len(s.held))
		known := t.threads
		t.threads = nil // a second copy of ten thousand would be megabytes
		for _, h := range s.held {
			th, ok := known[h.tid]
			if !ok {
				if th, err = t.readThread(h.tid); errors.Is(err, ErrGone) {
					err = nil
					continue // killed this moment
				}
				if err != nil {
					return
				}
			}
			if th.Registers, err = rr.read(h.tid); err != nil {
				if gone(err) {
					err = nil
					continue
				}
				return
			}
			if mask, merr := ptrace.Sigmask(h.tid); merr == nil {
				th.Blocked = mask
			}
			switch {
			case s.event != nil && h.tid == s.event.TID:
				s.event.describe(p, &th)
			case h.signal != 0:
				// It was about to take this one; in the dump it is still pending.
				th.Pending |= 1 << (h.signal - 1)
			}
			p.Threads = append(p.Threads, th)
		}
	})
	if err == nil && len(p.Threads) == 0 {
		err = ErrGone
	}
	return err
}

// Pause is how long the process stood still, once it goes on.
func (s *Stopped) Pause() time.Duration { return s.pause }

// LetGo lets the process go on. It may be called at any time, from any
// goroutine: where a copy of the memory hangs on a dead disk, say. What is read
// after it is not the snapshot any more.
func (s *Stopped) LetGo() {
	s.letGo.Do(func() {
		if s.holder != nil {
			s.holder.letGo(s.held)
		}
		s.pause = time.Since(s.begin)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.holder != nil && !s.copying {
			s.ended = true
			s.holder.end()
		}
	})
}

// Resume lets the process go on and returns how long it stood still. Its
// memory cannot be read any more. Calling it again does nothing.
func (s *Stopped) Resume() time.Duration {
	s.LetGo()
	s.closed.Do(func() {
		if s.copying {
			s.dropCopy()
			s.holder.end()
		}
		if s.mem != nil {
			s.mem.close()
		}
		if s.fresh != nil {
			s.fresh.Close()
		}
	})
	return s.pause
}
