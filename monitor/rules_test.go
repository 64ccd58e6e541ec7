package monitor

import (
	"testing"
	"time"

	"procdump/probe/proc"
	"procdump/trigger"
)

func TestRules(t *testing.T) {
	for _, c := range []struct {
		name                                string
		rules                               Rules
		any, sampled, traced, fromBeginning bool
	}{
		{"none", Rules{}, false, false, false, false},
		{"cpu", Rules{CPU: []Bound{{Value: 1}}}, true, true, false, false},
		{"endpoint", Rules{Endpoints: []string{"tcp://a:1"}}, true, true, false, false},
		{"hang", Rules{Window: true}, true, true, false, false},
		{"unhandled", Rules{Unhandled: true}, true, false, true, true},
		{"signal", Rules{Signals: []int{10}}, true, false, true, true},
		{"end", Rules{Terminate: true}, true, false, true, true},
		{"output", Rules{Output: true}, true, false, false, true},
		{"image", Rules{Unmapped: true}, true, false, false, true},
	} {
		r := &c.rules
		if r.Any() != c.any || r.Sampled() != c.sampled || r.Traced() != c.traced || r.Begins() != c.fromBeginning {
			t.Errorf("%s: any %v, sampled %v, traced %v, from the beginning %v", c.name, r.Any(), r.Sampled(), r.Traced(), r.Begins())
		}
	}
}

func TestWantedSignals(t *testing.T) {
	for _, c := range []struct {
		rules Rules
		sig   int
		want  bool
	}{
		{Rules{Unhandled: true}, 11, false}, // only if it kills
		{Rules{FirstChance: true}, 11, true},
		{Rules{FirstChance: true}, 10, false},
		{Rules{Breakpoints: true}, 5, true},
		{Rules{Breakpoints: true}, 11, false},
		{Rules{Signals: []int{44}}, 44, true},
	} {
		if got := c.rules.wants(c.sig); got != c.want {
			t.Errorf("%+v wants signal %d: %v", c.rules, c.sig, got)
		}
	}
}

func TestReason(t *testing.T) {
	level := func(v float64, below bool, hold time.Duration) trigger.Level {
		return trigger.Level{Threshold: trigger.Threshold{Value: v, Below: below, For: hold}}
	}
	for _, c := range []struct {
		g    gauge
		v    float64
		want string
	}{
		{gauge{kind: cpuKind, level: level(90, false, 3*time.Second), of: " of 2 cores"}, 95.4, "CPU: 95% >= 90% of 2 cores for 3s"},
		{gauge{kind: commitKind, level: level(100<<20, true, 0)}, 50 << 20, "Commit: 50 MB < 100 MB"},
		{gauge{kind: threadKind, level: level(20, false, 0)}, 31, "Threads: 31 >= 20"},
	} {
		if got := c.g.reason(c.v); got != c.want {
			t.Errorf("reason %q, want %q", got, c.want)
		}
	}
	for cores, want := range map[float64]string{1: "1 core", 2: "2 cores", 0.5: "0.5 cores", 1.25: "1.25 cores", 10: "10 cores"} {
		if got := coresText(cores); got != want {
			t.Errorf("%v: %q, want %q", cores, got, want)
		}
	}
}

// TestCPUBursts: the average over a second neither makes a short burst long
// enough nor keeps a long one from it.
func TestCPUBursts(t *testing.T) {
	for _, c := range []struct {
		looks int // of 250 ms with a busy core
		fires int
	}{{8, 0}, {14, 1}} {
		g := gauge{kind: cpuKind, scale: 100, level: trigger.Level{Threshold: trigger.Threshold{Value: 50, For: 3 * time.Second}}}
		now, fired := time.Unix(0, 0), 0
		busy := make([]float64, 40)
		for i := 10; i < 10+c.looks; i++ {
			busy[i] = 1
		}
		for i := range busy {
			now = now.Add(250 * time.Millisecond)
			var sum float64
			for k := max(0, i-3); k <= i; k++ {
				sum += busy[k] / 4
			}
			s := proc.Sample{CPU: sum, CPUSpan: time.Second, CPUNow: busy[i], CPUNowSpan: 250 * time.Millisecond}
			if g.feed(now, g.read(now, &s), 250*time.Millisecond, &s) {
				fired++
			}
		}
		if fired != c.fires {
			t.Errorf("a burst of %d looks fires %d times, want %d", c.looks, fired, c.fires)
		}
	}
}
