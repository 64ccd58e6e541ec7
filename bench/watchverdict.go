package main

import (
	"fmt"
	"math"
)

// What must hold of watching.
const (
	mostCore      = 2.0  // percent of one core, many processes once a second
	mostWatchRSS  = 64   // MiB, the same
	mostSlowLines = 1.10 // of the time without procdump, writing lines
	mostSlowCalls = 1.10 // the same, system calls
)

// judgeWatching makes the verdicts on watching.
func judgeWatching(byName map[string]*result) []verdict {
	many := byName[caseMany]
	p := many.watchedBy(nameWatch, figureSample)
	slow := func(name, what string, most float64) verdict {
		r := byName[name]
		return atMost(fmt.Sprintf("%s: time ≤ %.2f of that without", what, most), r, r.watchedBy(nameFollow(name), "").ratio(), most, "%.2f", "")
	}
	signals := byName[caseSignals]
	handled := signals.watchedBy(nameTrace, "") // the first of the figures
	least := many.watchedBy(nameLeast, figureSample).median(coreOf)
	core := atMost(fmt.Sprintf("5,000 processes at 1 Hz: ≤ %.0f %% of a core", mostCore), many, p.median(coreOf), mostCore, "%.2f %%",
		fmt.Sprintf("; %s a sample; the least that can do it takes %s", micros(median(p.each())), figure("%.2f %%", least)))
	if core.state == fail && least > mostCore {
		core.state = unsure // no program could: the machine is slow, or busy
	}
	return []verdict{
		core,
		atMost(fmt.Sprintf("5,000 processes at 1 Hz: peak RSS ≤ %d MiB", mostWatchRSS), many, p.most(peakOf), mostWatchRSS, "%.0f MiB", ""),
		slow(caseLogFile, "-l, C program that logs to a file", mostSlowLines),
		slow(caseLogPipe, "-l, C program that logs to a pipe", mostSlowLines),
		slow(caseLogPython, "-l, Python's logging to a file", mostSlowLines),
		slow(caseLogJava, "-l, java.util.logging to a file", mostSlowLines),
		slow(caseLinesNull, "-l, lines to /dev/null and nothing else", mostSlowLines),
		slow(caseLinesFile, "-l, lines to a file and nothing else", mostSlowLines),
		slow(caseRequests, "-l, a line every 20 µs of work", mostSlowLines),
		slow(caseSyscalls, "-e, system calls", mostSlowCalls),
		atMost("-e, 10,000 handled SIGSEGV: no slower than under gdb", signals,
			median(handled.each())/median(signals.watchedBy(nameGDB, "").each()), 1, "%.2f",
			fmt.Sprintf("; %s a second, %.1f × the time without", figure("%.0f", 1e6/median(handled.each())), handled.ratio())),
		caughtAll("-w -all: watched before 5 ms are over", byName[caseExec]),
	}
}

// nameFollow is the contestant that a case is about.
func nameFollow(name string) string {
	switch name {
	case caseLinesNull, caseLinesFile, caseRequests, caseLogFile, caseLogPipe, caseLogPython, caseLogJava:
		return nameOutput
	}
	return nameTrace
}

// caughtAll judges whether all short-lived processes were watched while they lived.
func caughtAll(what string, r *result) verdict {
	if r == nil {
		return verdict{what, "not run", notRun}
	}
	row := r.watchedBy(nameNewcomers, figureNoticed)
	if row == nil || row.err() != nil {
		return verdict{what, "a run failed", fail}
	}
	v := verdict{what, figure("%.1f %%", 100*row.share()), fail}
	if row.share() == 1 {
		v.state = pass
	}
	return v
}

func atMost(what string, r *result, x, most float64, format, more string) verdict {
	if r == nil {
		return verdict{what, "not run", notRun}
	}
	if math.IsNaN(x) {
		return verdict{what, "a run failed", fail}
	}
	state := fail
	if x <= most {
		state = pass
	}
	return verdict{what, figure(format, x) + more, state}
}

// each is all, of a row that need not exist.
func (r *watchRow) each() []float64 {
	if r == nil || r.err() != nil {
		return nil
	}
	return r.all()
}
