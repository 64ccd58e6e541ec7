package main

import (
	"errors"
	"math"
	"strings"
	"testing"
)

func TestPercentile(t *testing.T) {
	v := make([]float64, 100)
	for i := range v {
		v[i] = float64(100 - i)
	}
	for _, c := range []struct {
		v    []float64
		p    int
		want float64
	}{{v, 95, 95}, {v, 100, 100}, {v, 1, 1}, {[]float64{7}, 95, 7}, {[]float64{2, 1}, 50, 1}} {
		if got := percentile(c.v, c.p); got != c.want {
			t.Errorf("percentile %d of %d values = %v, want %v", c.p, len(c.v), got, c.want)
		}
	}
	if !math.IsNaN(percentile(nil, 95)) {
		t.Error("percentile of nothing is a number")
	}
}

// TestWatchRatio: a slow round slows both, and must not count.
func TestWatchRatio(t *testing.T) {
	base := &watchRow{readings: []reading{cost(1), cost(1), cost(10)}}
	r := &watchRow{base: base, readings: []reading{cost(3), cost(3), cost(30)}}
	if got := r.ratio(); got != 3 {
		t.Errorf("ratio = %v, want 3", got)
	}
	base.readings[1].err = errors.New("broken")
	if got := r.ratio(); !math.IsNaN(got) {
		t.Errorf("ratio to what failed = %v", got)
	}
	if got := base.ratio(); !math.IsNaN(got) {
		t.Errorf("ratio to nothing = %v", got)
	}
	if got := r.median(coreOf); !math.IsNaN(got) {
		t.Errorf("median of what does not apply = %v", got)
	}
}

// watched builds the results of the cases that verdicts are made on; each
// figure can be spoilt.
func watched(change func(name, who string, r *reading)) []*result {
	var all []*result
	add := func(name, figure string, base *watchRow, who string, r reading) *watchRow {
		change(name, who, &r)
		row := &watchRow{who: who, figure: figure, base: base, readings: []reading{r, r, r}}
		if len(all) == 0 || all[len(all)-1].name != name {
			all = append(all, &result{name: name})
		}
		all[len(all)-1].watched = append(all[len(all)-1].watched, row)
		return row
	}
	least := add(caseMany, figureSample, nil, nameLeast, reading{micros: []float64{2}, core: 1, rss: 3 << 20})
	add(caseMany, figureSample, least, nameWatch, reading{micros: []float64{3}, core: 1.5, rss: 60 << 20})
	add(caseExec, figureNoticed, nil, nameNewcomers, reading{micros: []float64{900}, caught: 40, of: 40})
	for _, name := range []string{caseSyscalls, caseLinesNull, caseLinesFile, caseRequests, caseLogFile, caseLogPipe, caseLogPython, caseLogJava} {
		add(name, "thing", add(name, "thing", nil, nameNobody, cost(1)), nameFollow(name), cost(1.05))
	}
	base := add(caseSignals, "signal", nil, nameNobody, cost(1))
	add(caseSignals, "signal", base, nameTrace, cost(20))
	add(caseSignals, "signal", base, nameGDB, cost(60))
	return all
}

func TestWatchVerdicts(t *testing.T) {
	for _, c := range []struct {
		name         string
		fails, quest int
		change       func(name, who string, r *reading)
	}{
		{"all well", 0, 0, func(string, string, *reading) {}},
		{"busy", 1, 0, func(_, who string, r *reading) {
			if who == nameWatch {
				r.core = 2.1
			}
		}},
		{"busy machine", 0, 1, func(name, _ string, r *reading) {
			if name == caseMany {
				r.core = 2.1
			}
		}},
		{"large", 1, 0, func(_, who string, r *reading) {
			if who == nameWatch {
				r.rss = 65 << 20
			}
		}},
		{"slow output", 7, 0, func(_, who string, r *reading) {
			if who == nameOutput {
				r.micros[0] = 1.2
			}
		}},
		{"slow tracer", 2, 0, func(_, who string, r *reading) {
			if who == nameTrace {
				r.micros[0] = 61
			}
		}},
		{"one escaped", 1, 0, func(_, who string, r *reading) {
			if who == nameNewcomers {
				r.caught--
			}
		}},
		{"broken", 12, 0, func(_, _ string, r *reading) { r.err = errors.New("broken") }},
	} {
		fails, quest := 0, 0
		all := judge(watched(c.change))
		for _, v := range all {
			switch v.state {
			case fail:
				fails++
			case unsure:
				quest++
			}
		}
		if fails != c.fails || quest != c.quest {
			var b strings.Builder
			writeVerdicts(&b, all)
			t.Errorf("%s: %d failures and %d unsure, want %d and %d\n%s", c.name, fails, quest, c.fails, c.quest, b.String())
		}
	}
}

func TestWatchTable(t *testing.T) {
	var b strings.Builder
	if err := writeWatchTable(&b, results(func(string, string, *sample) {})); err != nil || b.Len() > 0 {
		t.Errorf("a table without rows: %q, %v", b.String(), err)
	}
	err := writeWatchTable(&b, watched(func(_, who string, r *reading) {
		if who == nameGDB {
			r.err = errors.New("no gdb")
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"1.50 %", "900 µs", "100.0 %", "20.00", "signals, gdb: no gdb\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	b.Reset()
	if err := writeTable(&b, watched(func(string, string, *reading) {})); err != nil || b.Len() > 0 {
		t.Errorf("a table of no dumps: %q, %v", b.String(), err)
	}
}
