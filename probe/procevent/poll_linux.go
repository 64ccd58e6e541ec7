package procevent

import (
	"encoding/binary"
	"fmt"
	"slices"
	"syscall"
	"time"
)

const (
	// young is how long a new process is expected to execute another program:
	// for so long every look is at it too.
	young = time.Second
	// Of the others each look is at the 50th part in turn, and at some at least.
	turns      = 50
	shareLeast = 8

	crowd      = 2000 // processes
	crowdEvery = 100 * time.Millisecond
	cpuDivisor = 20 // the looking may take this part of a CPU
)

// poller finds the differences between one look at /proc and the next.
type poller struct {
	options Options
	stats   statReader
	known   map[int]*process
	round   uint32 // number of the look
	turn    []int  // processes whose turn will come
	dirents [64 << 10]byte
	events  []Event
}

// process is what was seen of one.
type process struct {
	stat  stat
	inode uint64 // of /proc/PID; another process has another one
	round uint32 // of the last look at which it was there
	young time.Time
	ended bool
}

func newPoller(o Options) (*poller, error) {
	p := &poller{options: o, stats: statReader{root: o.Proc}, known: map[int]*process{}}
	if _, err := p.look(time.Now()); err != nil {
		return nil, err
	}
	return p, nil
}

// pause is the time until the next look after one that took as long as spent.
func (p *poller) pause(spent time.Duration) time.Duration {
	every := p.options.PollEvery
	if len(p.known) > crowd {
		every = max(every, crowdEvery)
	}
	return max(every-spent, min((cpuDivisor-1)*spent, crowdEvery))
}

// look tells what has changed since the last look. The first one tells nothing.
func (p *poller) look(now time.Time) ([]Event, error) {
	p.events = p.events[:0]
	p.round++
	err := p.list(func(pid int, inode uint64) {
		old, ok := p.known[pid]
		switch {
		case !ok:
			p.appeared(pid, inode, now)
		case old.inode != inode || now.Before(old.young):
			p.examine(pid, old, inode, now)
		}
		if old != nil {
			old.round = p.round
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list processes in %s: %w", p.options.Proc, err)
	}
	for pid, old := range p.known {
		if old.round != p.round {
			p.gone(pid, old, now)
			delete(p.known, pid)
		}
	}
	p.takeTurns(now)
	if p.round == 1 {
		p.events = p.events[:0]
	}
	return p.events, nil
}

// takeTurns looks at some of those at which nothing else made it look.
func (p *poller) takeTurns(now time.Time) {
	if len(p.turn) == 0 {
		for pid := range p.known {
			p.turn = append(p.turn, pid)
		}
	}
	n := min(max(len(p.known)/turns, shareLeast), len(p.turn))
	for _, pid := range p.turn[len(p.turn)-n:] {
		if old, ok := p.known[pid]; ok {
			p.examine(pid, old, old.inode, now)
		}
	}
	p.turn = p.turn[:len(p.turn)-n]
}

func (p *poller) appeared(pid int, inode uint64, now time.Time) {
	s, ok := p.stats.read(pid)
	if !ok {
		return
	}
	process := &process{stat: s, inode: inode, round: p.round}
	if p.round > 1 {
		process.young = now.Add(young)
	}
	p.known[pid] = process
	if p.options.Fork {
		p.add(Event{Kind: Fork, PID: pid, Parent: s.parent, Time: now})
	}
	if s.ended() {
		p.gone(pid, process, now)
	} else if !s.kernel {
		p.add(Event{Kind: Exec, PID: pid, Time: now})
	}
}

// examine looks whether a known process is still the same, and executes the
// same program.
func (p *poller) examine(pid int, old *process, inode uint64, now time.Time) {
	s, ok := p.stats.read(pid)
	switch {
	case !ok:
		// Gone since the listing: the next look tells.
	case s.start != old.stat.start:
		p.gone(pid, old, now)
		p.appeared(pid, inode, now)
	case s.ended():
		p.gone(pid, old, now)
	default:
		if kind, ok := s.changed(&old.stat); ok {
			if kind == Exec || p.options.Rename {
				p.add(Event{Kind: kind, PID: pid, Time: now})
			}
			old.young = now.Add(young)
		}
		old.stat, old.inode = s, inode
	}
}

// gone notes the end of a process, once.
func (p *poller) gone(pid int, old *process, now time.Time) {
	if p.options.Exit && !old.ended {
		p.add(Event{Kind: Exit, PID: pid, Parent: old.stat.parent, Status: Unknown, Time: now})
	}
	old.ended = true
}

func (p *poller) add(e Event) { p.events = append(p.events, e) }

// list calls f for each process. Reading the folder itself saves the sorting
// and the strings of os.ReadDir, and gives the inodes.
func (p *poller) list(f func(pid int, inode uint64)) error {
	fd, err := syscall.Open(p.options.Proc, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	for {
		n, err := syscall.ReadDirent(fd, p.dirents[:])
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return err
		}
		eachEntry(p.dirents[:n], f)
	}
}

// eachEntry reads records of getdents64(2), offsets in bytes:
//
//	0 inode u64, 8 offset u64, 16 length u16, 18 type u8, 19 name with a NUL
func eachEntry(b []byte, f func(number int, inode uint64)) {
	const name = 19
	for len(b) > name {
		size := int(binary.NativeEndian.Uint16(b[16:]))
		if size <= name || size > len(b) {
			return
		}
		text := b[name:size]
		if i := slices.Index(text, 0); i >= 0 {
			text = text[:i]
		}
		if n, ok := number(text); ok {
			f(n, binary.NativeEndian.Uint64(b))
		}
		b = b[size:]
	}
}

// number reads a PID.
func number(text []byte) (n int, ok bool) {
	for _, c := range text {
		if c < '0' || c > '9' || n > 1<<30 {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, n > 0
}
