package main

import (
	"fmt"
	"math/rand/v2"
	"os"
)

// entry is a tool and where it writes.
type entry struct {
	tool  tool
	place string
}

// shape says how large a victim is.
type shape struct {
	mib, percent, threads int
	huge                  bool // transparent huge pages
	deep                  bool // its threads have different stacks
	dirty                 int  // MiB a second that it writes to; 0: none
	maps                  int  // mappings more
}

// benchCase is one victim and those who dump it or read its dump, or what watch
// sets up.
type benchCase struct {
	name    string
	shape   shape
	entries []entry
	long    bool // left out with -short
	rounds  int  // times the number asked for
	fresh   bool // each run has a victim of its own
	watch   func(b *bench) (*watch, error)
	kernel  bool // dumps of a kernel; no victim
	explain bool // the victim crashes, and what became of it is read from its dump
}

func cases() []benchCase {
	full := []entry{
		{toolLimit, placeTmpfs}, {toolTwo, placeTmpfs}, {toolProcdump, placeTmpfs}, {toolGcore, placeTmpfs}, {toolKernel, placeTmpfs},
		{toolLimit, placeDisk}, {toolEarly, placeDisk}, {toolTwo, placeDisk}, {toolProcdump, placeDisk}, {toolGcore, placeDisk}, {toolKernel, placeDisk},
	}
	clone := []entry{{toolIdle, placeDisk}, {toolFork, placeDisk}, {toolClone, placeDisk}, {toolProcdump, placeDisk}, {toolGcore, placeDisk}}
	live := []entry{{toolIdle, placeDisk}, {toolLive, placeDisk}, {toolClone, placeDisk}}
	mini := []entry{{toolIdle, placeTmpfs}, {toolMini, placeTmpfs}, {toolGcore, placeTmpfs}}
	return append([]benchCase{
		{name: "1GiB", shape: shape{mib: 1024, percent: 100, threads: 2}, entries: full, rounds: 1},
		{name: "4GiB", shape: shape{mib: 4096, percent: 100, threads: 2}, entries: full, rounds: 1, long: true},
		// gcore fills the holes of its victim with the zero page.
		{name: "sparse", shape: shape{mib: 4096, percent: 10, threads: 2}, rounds: 1, fresh: true,
			entries: []entry{{toolLimit, placeTmpfs}, {toolProcdump, placeTmpfs}, {toolGcore, placeTmpfs}, {toolKernel, placeTmpfs}}},
		{name: "packed", shape: shape{mib: 1024, percent: 100, threads: 2}, rounds: 1,
			entries: []entry{{toolLimit, placeTmpfs}, {toolPacked, placeTmpfs}, {toolGcoreZstd, placeTmpfs}}},
		{name: "threads10", shape: shape{mib: 1, percent: 100, threads: 10}, entries: mini, rounds: 3},
		{name: "threads1000", shape: shape{mib: 1, percent: 100, threads: 1000}, entries: mini, rounds: 3},
		{name: "threads500", shape: shape{mib: 1, percent: 100, threads: 500}, entries: mini, rounds: 1},
		{name: "maps20000", shape: shape{mib: 1, percent: 100, threads: 2, maps: 20000}, entries: mini, rounds: 1},
		{name: "clone1GiB", shape: shape{mib: 1024, percent: 100, threads: 2}, entries: clone, rounds: 1},
		{name: "clone4GiB", shape: shape{mib: 4096, percent: 100, threads: 2}, entries: clone, rounds: 1, long: true},
		{name: "clone8GiB", shape: shape{mib: 8192, percent: 100, threads: 2}, entries: clone, rounds: 1, long: true},
		{name: "clone1GiB-huge", shape: shape{mib: 1024, percent: 100, threads: 2, huge: true}, entries: clone, rounds: 1},
		{name: "live1GiB-1", shape: shape{mib: 1024, percent: 100, threads: 2, dirty: 1}, entries: live, rounds: 1},
		{name: "live1GiB-100", shape: shape{mib: 1024, percent: 100, threads: 2, dirty: 100}, entries: live, rounds: 1},
		{name: "live8GiB-1", shape: shape{mib: 8192, percent: 100, threads: 2, dirty: 1}, entries: live, rounds: 1, long: true},
		{name: "live8GiB-100", shape: shape{mib: 8192, percent: 100, threads: 2, dirty: 100}, entries: live, rounds: 1, long: true},
		{name: caseKernel, rounds: 1, long: true, kernel: true},
		{name: caseInspect, shape: shape{mib: 4096, percent: 100, threads: 10, deep: true}, rounds: 3, long: true, explain: true},
		{name: caseInspectAll, shape: shape{mib: 1, percent: 100, threads: 1000, deep: true}, rounds: 1, explain: true},
	}, watchCases()...)
}

// play runs the rounds of a case. A contestant that fails is not asked again.
func (b *bench) play(c benchCase, rounds int) (*result, error) {
	if c.kernel {
		return b.playKernel(c, rounds)
	}
	if c.explain {
		return b.playInspect(c, rounds*c.rounds)
	}
	if c.watch != nil {
		return b.playWatch(c, rounds*c.rounds)
	}
	var v *victim
	if !c.fresh {
		var err error
		if v, err = startVictim(b.victim, c.shape); err != nil {
			return nil, err
		}
		defer v.stop()
	}
	res := &result{name: c.name}
	for _, e := range c.entries {
		res.rows = append(res.rows, &row{tool: e.tool.name, place: e.place})
	}
	for round := range rounds * c.rounds {
		for _, i := range rand.Perm(len(c.entries)) {
			r, e := res.rows[i], c.entries[i]
			if r.err() != nil {
				continue
			}
			progress("%s: round %d of %d: %s to %s", c.name, round+1, rounds*c.rounds, r.tool, r.place)
			if err := e.tool.missing(); err != nil {
				r.samples = append(r.samples, sample{err: err})
				continue
			}
			s, err := b.turn(v, c.shape, e)
			if err != nil {
				return nil, err
			}
			r.samples = append(r.samples, s)
		}
	}
	progress("")
	return res, nil
}

// turn is one run of one contestant, on a victim of its own if v is nil.
func (b *bench) turn(v *victim, s shape, e entry) (sample, error) {
	if v == nil {
		var err error
		if v, err = startVictim(b.victim, s); err != nil {
			return sample{}, err
		}
		defer v.stop()
	}
	return b.run(v, e.tool, e.place), nil
}

// progress replaces the line that says what is going on, on a terminal.
func progress(format string, args ...any) {
	if fi, err := os.Stderr.Stat(); err == nil && fi.Mode()&os.ModeCharDevice != 0 {
		fmt.Fprintf(os.Stderr, "\r\x1b[K"+format, args...)
	}
}
