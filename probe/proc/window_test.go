package proc

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestWindow(t *testing.T) {
	const ms = time.Millisecond
	type step struct {
		at, used time.Duration
		cores    float64 // NaN: none
		span     time.Duration
	}
	none := math.NaN()
	for name, steps := range map[string][]step{
		"1 Hz": {
			{1000 * ms, 50 * ms, none, 0},
			{2000 * ms, 550 * ms, 0.5, 1000 * ms},
			{3000 * ms, 2550 * ms, 2, 1000 * ms},
			{4000 * ms, 2550 * ms, 0, 1000 * ms},
		},
		"4 Hz": {
			{0, 0, none, 0},
			{250 * ms, 250 * ms, 1, 250 * ms},
			{500 * ms, 250 * ms, 0.5, 500 * ms},
			{750 * ms, 250 * ms, 1. / 3, 750 * ms},
			{1000 * ms, 250 * ms, 0.25, 1000 * ms},
			{1250 * ms, 250 * ms, 0, 1000 * ms},
			{1500 * ms, 500 * ms, 0.25, 1000 * ms},
		},
		"a little early": {
			{0, 0, none, 0},
			{1000 * ms, 0, 0, 1000 * ms},
			{1950 * ms, 950 * ms, 1, 950 * ms},
		},
		"too early": {
			{0, 0, none, 0},
			{900 * ms, 0, 0, 900 * ms},
			{1800 * ms, 900 * ms, 0.5, 1800 * ms},
		},
		"every 10 s": {
			{0, 0, none, 0},
			{10 * time.Second, 5 * time.Second, 0.5, 10 * time.Second},
			{20 * time.Second, 5 * time.Second, 0, 10 * time.Second},
		},
		"twice at one time": {
			{time.Second, 0, none, 0},
			{time.Second, 0, none, 0},
			{2 * time.Second, time.Second, 1, time.Second},
		},
		"time set back": {
			{10 * time.Second, 0, none, 0},
			{5 * time.Second, time.Second, none, 0},
			{6 * time.Second, 2 * time.Second, 1, time.Second},
		},
		"clock set back": {
			{10 * time.Second, 5 * time.Second, none, 0},
			{11 * time.Second, 0, none, 0},
			{12 * time.Second, time.Second, 1, time.Second},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var w window
			for i, s := range steps {
				long, short := w.add(s.at, s.used)
				cores, span := long.cores, long.span
				if short.span > span {
					t.Errorf("short span %v, long span %v", short.span, span)
				}
				if math.IsNaN(cores) != math.IsNaN(s.cores) || math.Abs(cores-s.cores) > 1e-9 || span != s.span {
					t.Errorf("step %d: %v cores over %v, want %v over %v", i, cores, span, s.cores, s.span)
				}
			}
		})
	}
}

// TestWindowRandom samples a random use of CPU at random times, and compares
// with the average over the span that the window names.
func TestWindowRandom(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		step := time.Duration(1+random.IntN(3000)) * time.Millisecond
		var w window
		var at, used time.Duration
		past := map[time.Duration]time.Duration{}
		var times []time.Duration
		for i := range 100 {
			long, _ := w.add(at, used)
			cores, span := long.cores, long.span
			if i == 0 != math.IsNaN(cores) {
				t.Fatalf("seed %d, sample %d: %v", seed, i, cores)
			}
			if i > 0 {
				from, ok := past[at-span]
				if !ok {
					t.Fatalf("seed %d, sample %d: averaged over %v, which begins at no sample", seed, i, span)
				}
				if want := float64(used-from) / float64(span); math.Abs(cores-want) > 1e-9 {
					t.Fatalf("seed %d, sample %d: %v cores, want %v", seed, i, cores, want)
				}
				// Never shorter than it can be, nor longer than it must be:
				// than the span, a step of the ring and one between samples.
				if reach := at - times[0]; span < min(windowNear, reach) {
					t.Fatalf("seed %d, sample %d: averaged over %v of %v", seed, i, span, reach)
				}
				if longest := windowNear + windowStep + at - times[len(times)-1] + 2*step; span > longest {
					t.Fatalf("seed %d, sample %d: averaged over %v, want at most %v", seed, i, span, longest)
				}
			}
			past[at] = used
			times = append(times, at)
			passed := step/2 + time.Duration(random.Int64N(int64(step)))
			at += passed
			used += time.Duration(random.Float64() * 2 * float64(passed))
		}
	}
}
