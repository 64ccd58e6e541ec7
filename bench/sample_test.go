package main

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want float64
	}{{[]float64{3, 1, 2}, 2}, {[]float64{4, 1, 2, 3}, 2.5}, {[]float64{7}, 7}} {
		if got := median(c.in); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.in, got, c.want)
		}
	}
	if !math.IsNaN(median(nil)) {
		t.Error("median of nothing is a number")
	}
}

func seconds(s ...float64) *row {
	r := new(row)
	for _, x := range s {
		r.samples = append(r.samples, sample{wall: time.Duration(x * float64(time.Second)), own: -1})
	}
	return r
}

// TestRatio: a slow round slows both, and must not count.
func TestRatio(t *testing.T) {
	if got := ratio(seconds(1, 1, 10), seconds(2, 2, 20), wallOf); got != 2 {
		t.Errorf("ratio = %v, want 2", got)
	}
	failed := seconds(1)
	failed.samples[0].err = errors.New("broken")
	for _, other := range []*row{nil, failed, seconds()} {
		if got := ratio(seconds(1), other, wallOf); !math.IsNaN(got) {
			t.Errorf("ratio to %v = %v", other, got)
		}
	}
	if got := seconds(1).median(ownOf); !math.IsNaN(got) {
		t.Errorf("median of what does not apply = %v", got)
	}
}

// results builds those of all cases; each figure can be spoilt.
func results(change func(tool, place string, s *sample)) []*result {
	var all []*result
	add := func(name string, samples map[string]sample) {
		r := &result{name: name}
		for _, place := range []string{placeTmpfs, placeDisk} {
			for tool, s := range samples {
				change(tool, place, &s)
				r.rows = append(r.rows, &row{tool, place, []sample{s, s, s}})
			}
		}
		all = append(all, r)
	}
	full := map[string]sample{
		nameLimit:    {wall: 900 * time.Millisecond},
		nameEarly:    {wall: 950 * time.Millisecond},
		nameTwo:      {wall: 880 * time.Millisecond},
		nameProcdump: {wall: time.Second, rss: 30 << 20, disk: 1 << 30, held: 1 << 30},
		nameGcore:    {wall: 6 * time.Second},
	}
	mini := map[string]sample{
		nameIdle:  {seen: 2 * time.Millisecond},
		nameMini:  {wall: time.Second, rss: 9 << 20, own: 4 * time.Millisecond, seen: 6 * time.Millisecond},
		nameGcore: {wall: time.Second, own: -1, seen: 100 * time.Millisecond},
	}
	idle, gcore := sample{seen: time.Millisecond}, sample{wall: 3 * time.Second, own: -1, seen: 2 * time.Second}
	add("clone1GiB-huge", map[string]sample{nameIdle: idle, nameClone: {own: 3 * time.Millisecond, seen: 5500 * time.Microsecond, huge: 0.99}})
	for _, name := range []string{"clone1GiB", "clone4GiB", "clone8GiB"} {
		add(name, map[string]sample{nameIdle: idle, nameGcore: gcore, nameFork: {own: 30 * time.Millisecond},
			nameClone: {own: 33 * time.Millisecond, seen: 36 * time.Millisecond}})
	}
	add("live8GiB-1", map[string]sample{nameIdle: idle, nameLive: {own: 10 * time.Millisecond, seen: 12 * time.Millisecond, rate: 1}})
	add("live8GiB-100", map[string]sample{nameIdle: idle, nameLive: {own: 40 * time.Millisecond, seen: 45 * time.Millisecond, rate: 99}})
	for _, name := range []string{"1GiB", "4GiB", "sparse"} {
		add(name, full)
	}
	for _, name := range []string{"threads10", "threads500", "threads1000", "maps20000"} {
		add(name, mini)
	}
	return all
}

func TestVerdicts(t *testing.T) {
	failures := func(change func(tool, place string, s *sample)) (n int, text string) {
		var b strings.Builder
		all := judge(results(change))
		good := writeVerdicts(&b, all)
		for _, v := range all {
			if v.state == fail || v.state == unsure {
				n++
			}
		}
		if good != (n == 0) {
			t.Errorf("%d failures, but the whole is %v", n, good)
		}
		return n, b.String()
	}
	for _, c := range []struct {
		name   string
		want   int
		change func(tool, place string, s *sample)
	}{
		{"all well", 0, func(string, string, *sample) {}},
		{"slow", 9, func(tool, _ string, s *sample) {
			if tool == nameProcdump {
				s.wall = 1150 * time.Millisecond // 0.78 of the limit, 0.77 of two readers, 5.2 of gcore
			}
		}},
		{"slow sync on disk", 4, func(tool, place string, s *sample) {
			if tool == nameProcdump && place == placeDisk {
				s.flush = time.Second
			}
		}},
		{"fast gcore", 1, func(tool, _ string, s *sample) {
			if tool == nameGcore {
				s.wall = 4 * time.Second
			}
		}},
		{"gcore returns long before its data is on disk", 2, func(tool, place string, s *sample) {
			if tool == nameGcore && place == placeDisk {
				s.wall, s.flush = 500*time.Millisecond, 10*time.Second
			}
		}},
		{"large", 1, func(tool, _ string, s *sample) {
			if tool == nameMini {
				s.rss = 65 << 20
			}
		}},
		{"long pause", 1, func(tool, _ string, s *sample) {
			if tool == nameMini {
				s.own = 6 * time.Millisecond
			}
		}},
		{"longer pause than stated", 5, func(tool, _ string, s *sample) {
			if tool == nameMini {
				s.seen = 200 * time.Millisecond
			}
		}},
		{"faster than can be", 8, func(tool, _ string, s *sample) {
			if tool == nameProcdump {
				s.wall = 100 * time.Millisecond
			}
		}},
		{"an early limit is faster", 2, func(tool, place string, s *sample) {
			if tool == nameEarly && place == placeDisk {
				s.wall = 700 * time.Millisecond // procdump has 0.7 of it
			}
		}},
		{"gcore on disk is nearly as fast", 2, func(tool, place string, s *sample) {
			if tool == nameGcore && place == placeDisk {
				s.wall = 1900 * time.Millisecond
			}
		}},
		{"two readers are faster", 4, func(tool, _ string, s *sample) {
			if tool == nameTwo {
				s.wall = 800 * time.Millisecond
			}
		}},
		{"a dump larger than the victim", 1, func(tool, _ string, s *sample) {
			if tool == nameProcdump {
				s.disk += s.disk / 10
			}
		}},
		{"a clone takes longer than fork", 3, func(tool, _ string, s *sample) {
			if tool == nameClone {
				s.own = s.own * 13 / 10
			}
		}},
		{"the victim sees more of a clone", 4, func(tool, _ string, s *sample) {
			if tool == nameClone {
				s.seen = s.seen * 12 / 10
			}
		}},
		{"gcore pauses for less", 4, func(tool, _ string, s *sample) {
			if tool == nameGcore {
				s.seen /= 3
			}
		}},
		{"the victim sees more of a pre-copy", 2, func(tool, _ string, s *sample) {
			if tool == nameLive {
				s.seen += 60 * time.Millisecond
			}
		}},
		{"a pre-copy pauses for longer", 2, func(tool, _ string, s *sample) {
			if tool == nameLive {
				s.own += 60 * time.Millisecond
			}
		}},
		{"few huge pages", 1, func(tool, _ string, s *sample) { s.huge /= 2 }},
		{"the writer is slowed down", 2, func(tool, _ string, s *sample) { s.rate *= 0.8 }},
		{"a noisy machine", 10, func(tool, _ string, s *sample) {
			if tool == nameIdle {
				s.seen = 200 * time.Millisecond
			}
		}},
		{"no fork", 3, func(tool, _ string, s *sample) {
			if tool == nameFork {
				s.err = errors.New("broken")
			}
		}},
		{"broken", 15, func(tool, _ string, s *sample) {
			if tool == nameProcdump {
				s.err = errors.New("broken")
			}
		}},
	} {
		if n, text := failures(c.change); n != c.want {
			t.Errorf("%s: %d failures, want %d\n%s", c.name, n, c.want, text)
		}
	}
	for _, v := range judge(nil) {
		if v.state != notRun {
			t.Errorf("without results: %+v", v)
		}
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	err := writeTable(&b, results(func(tool, place string, s *sample) {
		if tool == nameProcdump && place == placeDisk {
			s.err = errors.New("no space")
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"0.90", "6.00", "1GiB to disk: no space\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

// TestUnsteadyLimit: one slow draw of the limit must not make a verdict.
func TestUnsteadyLimit(t *testing.T) {
	r := &result{name: "1GiB", rows: []*row{seconds(1, 1, 2.5), seconds(1, 1, 1)}}
	r.rows[0].tool, r.rows[0].place = nameLimit, placeDisk
	r.rows[1].tool, r.rows[1].place = nameProcdump, placeDisk
	if v := ofLimit("speed", placeDisk, r, r.rows[0], leastOfLimit); v.state != unsure {
		t.Errorf("%+v", v)
	}
	r.rows[0].samples[2].wall = 1500 * time.Millisecond
	if v := ofLimit("speed", placeDisk, r, r.rows[0], leastOfLimit); v.state != pass {
		t.Errorf("%+v", v)
	}
}
