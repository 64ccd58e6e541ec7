package images

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"procdump/internal/sys/bpf"
)

// tick is how often the end of processes and the loss of events are looked for.
const tick = time.Second

// engine is the one set of BPF programs for all watchers of this process.
type engine struct {
	mappings *bpf.Mappings

	mu       sync.Mutex
	watching map[int][]*watched
}

// watched is a process in the engine.
type watched struct {
	*Watcher
	tracker *tracker
	since   time.Time
	paths   map[fileID]string
}

var (
	engineMu sync.Mutex // held while the engine is made or given up
	running  *engine
	users    int
)

// Open watches a process by BPF or, where that cannot be, by reading its
// mappings every PollInterval; Method says which and why. The caller closes
// the Watcher.
func Open(pid int) (*Watcher, error) {
	engineMu.Lock()
	defer engineMu.Unlock()
	if running == nil {
		m, err := bpf.OpenMappings()
		if err != nil {
			return openPolling(procRoot, pid, PollInterval,
				fmt.Sprintf("reading the mappings every %v, because %v", PollInterval, err))
		}
		running = &engine{mappings: m, watching: map[int][]*watched{}}
		go running.run()
	}
	users++
	w, err := running.add(pid)
	if err != nil {
		giveUp()
		return nil, err
	}
	return w, nil
}

// giveUp ends the engine after its last user. engineMu is held.
func giveUp() {
	if users--; users == 0 {
		running.mappings.Close()
		running = nil
	}
}

func (e *engine) add(pid int) (*Watcher, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := &watched{tracker: &tracker{}, since: time.Now(), paths: map[fileID]string{}}
	if err := e.mappings.Watch(pid); err != nil {
		return nil, err
	}
	// Changes from now on come as events, so the list is never too old; what
	// is in both is taken once.
	maps, err := readMaps(procRoot, pid)
	if err != nil {
		if len(e.watching[pid]) == 0 {
			_ = e.mappings.Unwatch(pid)
		}
		return nil, err
	}
	p.take(maps)
	p.Watcher = newWatcher(pid, e.mappings.Method())
	p.tracker.emit = p.push
	p.leave = func() { e.remove(p) }
	e.watching[pid] = append(e.watching[pid], p)
	return p.Watcher, nil
}

// take begins with, or goes over to, what is mapped now.
func (p *watched) take(maps []mapping) {
	for _, m := range maps {
		p.paths[m.file] = m.path
	}
	p.tracker.sync(maps, time.Now())
}

func (e *engine) remove(p *watched) {
	engineMu.Lock()
	defer engineMu.Unlock()
	e.mu.Lock()
	e.forget(p)
	e.mu.Unlock()
	giveUp()
}

// forget is called with mu held.
func (e *engine) forget(p *watched) {
	var others []*watched
	for _, o := range e.watching[p.pid] {
		if o != p {
			others = append(others, o)
		}
	}
	if len(others) > 0 {
		e.watching[p.pid] = others
		return
	}
	if _, ok := e.watching[p.pid]; ok {
		delete(e.watching, p.pid)
		_ = e.mappings.Unwatch(p.pid)
	}
}

func (e *engine) run() {
	var lost uint64
	next := time.Now().Add(tick)
	for {
		var c bpf.Mapping
		err := e.mappings.Read(&c, next)
		switch {
		case err == nil:
			e.mu.Lock()
			for _, p := range e.watching[c.PID] {
				p.apply(c)
			}
			e.mu.Unlock()
		case !errors.Is(err, bpf.ErrTimeout):
			return
		}
		if now := time.Now(); !now.Before(next) {
			next = now.Add(tick)
			n := e.mappings.Lost()
			e.check(n != lost)
			lost = n
		}
	}
}

// check ends the watching of processes that are no more, and after a loss
// looks for what has been missed.
func (e *engine) check(lost bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for pid, list := range e.watching {
		// A process that has ended but not been waited for has no program.
		_, err := os.Readlink(filepath.Join(procRoot, strconv.Itoa(pid), "exe"))
		for _, p := range list {
			if err != nil {
				e.forget(p)
				p.end()
				continue
			}
			if !lost {
				continue
			}
			if maps, err := readMaps(procRoot, pid); err == nil {
				p.take(maps)
			}
		}
	}
}

// apply brings one change into the tracker.
func (p *watched) apply(c bpf.Mapping) {
	if c.At.Before(p.since) {
		return
	}
	page := func(n uint64) uint64 { return (n + 0xfff) &^ 0xfff }
	s := span{c.Addr, c.Addr + page(c.Size)}
	switch c.Change {
	case bpf.MappedImage:
		file := fileID{c.Device, c.Inode}
		if p.tracker.knows(file, s) {
			return // was on the list already
		}
		path, ok := p.paths[file]
		if !ok || filepath.Base(path) != filepath.Base(c.Path) {
			path = seenAs(procRoot, p.pid, c.Device, c.Path)
			p.paths[file] = path
		}
		p.tracker.mapped(file, s, path, c.At)
	case bpf.Unmapped:
		p.tracker.unmapped(s, c.At)
	case bpf.Moved:
		if c.To != c.Addr {
			p.tracker.unmapped(s, c.At)
		} else if c.ToSize < c.Size {
			p.tracker.unmapped(span{c.Addr + page(c.ToSize), s.end}, c.At)
		}
		p.find(span{c.To, c.To + page(c.ToSize)}, c.At)
	case bpf.MadeExecutable:
		p.find(s, c.At)
	case bpf.Executed:
		p.tracker.images = nil
		clear(p.paths)
		if maps, err := readMaps(procRoot, p.pid); err == nil {
			p.take(maps)
		}
		p.since = c.At
	}
}

// find looks for images in a part of the address space that has become
// executable without a mapping of its own.
func (p *watched) find(s span, at time.Time) {
	maps, err := readMaps(procRoot, p.pid)
	if err != nil {
		return
	}
	for _, m := range maps {
		if m.span.start < s.end && s.start < m.span.end && !p.tracker.knows(m.file, m.span) {
			p.paths[m.file] = m.path
			p.tracker.put(m.file, m.span, m.path, at)
		}
	}
}
