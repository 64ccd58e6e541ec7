package main

import (
	"math/rand/v2"
)

// watch is what a case of watching has set up.
type watch struct {
	turns []turn
	stop  func() // nil: there is nothing to end
}

// turn is a contestant, or several that are measured at once.
type turn struct {
	rows []*watchRow
	// run measures once: a reading for each of the rows.
	run func() ([]reading, error)
	// missing tells why it cannot run here, or returns nil; nil: it can.
	missing func() error
}

// playWatch runs the rounds of a case. A contestant that fails is not asked again.
func (b *bench) playWatch(c benchCase, rounds int) (*result, error) {
	res := &result{name: c.name}
	progress("%s: setting up", c.name)
	w, err := c.watch(b)
	if err != nil {
		return nil, err
	}
	if w.stop != nil {
		defer w.stop()
	}
	for _, t := range w.turns {
		res.watched = append(res.watched, t.rows...)
	}
	for round := range rounds {
		for _, i := range rand.Perm(len(w.turns)) {
			t := w.turns[i]
			if t.rows[0].err() != nil {
				continue
			}
			progress("%s: round %d of %d: %s", c.name, round+1, rounds, t.rows[0].who)
			t.play()
		}
	}
	progress("")
	return res, nil
}

// play adds a reading to each row; an error counts for all of them.
func (t turn) play() {
	var readings []reading
	err := error(nil)
	if t.missing != nil {
		err = t.missing()
	}
	if err == nil {
		readings, err = t.run()
	}
	for i, r := range t.rows {
		if err != nil {
			r.readings = append(r.readings, reading{err: err})
			continue
		}
		r.readings = append(r.readings, readings[i])
	}
}

// watchCases are the cases of watching.
func watchCases() []benchCase {
	return []benchCase{
		{name: "watch1", rounds: 1, watch: watchMany(1)},
		{name: "watch100", rounds: 1, watch: watchMany(100)},
		{name: "watch1000", rounds: 1, watch: watchMany(1000)},
		{name: caseMany, rounds: 1, watch: watchMany(5000)},
		{name: caseExec, rounds: 1, watch: watchExec},
		{name: "threshold", rounds: 1, watch: watchThreshold},
		{name: "fault", rounds: 1, watch: watchFault},
		{name: caseSyscalls, rounds: 3, watch: slowDown("syscalls", "system call", nobody, traced, debugged)},
		{name: caseSignals, rounds: 3, watch: slowDown("signals", "handled SIGSEGV", nobody, traced, debugged)},
		{name: "threads", rounds: 3, watch: slowDown("threads", "thread begun and joined", nobody, traced, debugged)},
		{name: "others", rounds: 3, watch: slowDown("execs", "other program executed", nobody, waiting)},
		{name: caseLinesNull, rounds: 3, watch: slowDown("lines", "line to /dev/null", nobody, output)},
		{name: caseLinesFile, rounds: 3, watch: slowDown("lines", "line to a file", nobody, output)},
		{name: caseRequests, rounds: 3, watch: slowDown("requests", "20 µs of work and a line", nobody, output)},
		{name: caseLogFile, rounds: 3, watch: slowLog(logC)},
		{name: caseLogPipe, rounds: 3, watch: slowLog(logCPiped)},
		{name: caseLogPython, rounds: 1, watch: slowLog(logPython)},
		{name: caseLogJava, rounds: 1, watch: slowLog(logJava)},
	}
}
