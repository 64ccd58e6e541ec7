package trigger

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// at is a time in milliseconds.
func at(ms int) time.Time { return epoch.Add(time.Duration(ms) * time.Millisecond) }

const second = time.Second

func TestHolds(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range []struct {
		v            float64
		above, below bool
	}{{9, false, true}, {10, true, false}, {11, true, false}, {nan, false, false}, {inf, true, false}, {-inf, false, true}} {
		if got := (Threshold{Value: 10}).Holds(c.v); got != c.above {
			t.Errorf("%v >= 10: %v", c.v, got)
		}
		if got := (Threshold{Value: 10, Below: true}).Holds(c.v); got != c.below {
			t.Errorf("%v < 10: %v", c.v, got)
		}
	}
	if (Threshold{Value: nan}).Holds(1) || (Threshold{Value: nan, Below: true}).Holds(1) {
		t.Error("something holds for no threshold")
	}
}

func TestThresholdString(t *testing.T) {
	for want, c := range map[string]Threshold{
		"cpu >= 90 for 3s":  {Metric: "cpu", Value: 90, For: 3 * second},
		"commit < 0.5":      {Metric: "commit", Value: 0.5, Below: true},
		"files >= 10000000": {Metric: "files", Value: 1e7},
	} {
		if got := c.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// point is a sample and what comes of it.
type point struct {
	ms    int
	v     float64
	span  int // ms; 0: 1000
	fires bool
	held  int // ms, asked for at the same time
}

func TestLevel(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		name   string
		level  Threshold
		points []point
	}{
		{"three samples at 1 Hz are 3 s", Threshold{Value: 90, For: 3 * second}, []point{
			{1000, 95, 0, false, 1000}, {2000, 90, 0, false, 2000}, {3000, 91, 0, true, 0}}},
		{"two are not", Threshold{Value: 90, For: 3 * second}, []point{
			{1000, 95, 0, false, 1000}, {2000, 95, 0, false, 2000}, {3000, 89, 0, false, 0}}},
		{"one miss resets", Threshold{Value: 90, For: 3 * second}, []point{
			{1000, 95, 0, false, 1000}, {2000, 95, 0, false, 2000}, {3000, 10, 0, false, 0},
			{4000, 95, 0, false, 1000}, {5000, 95, 0, false, 2000}, {6000, 95, 0, true, 0}}},
		{"no value resets", Threshold{Value: 90, For: 3 * second}, []point{
			{1000, 95, 0, false, 1000}, {2000, 95, 0, false, 2000}, {3000, nan, 0, false, 0},
			{4000, 95, 0, false, 1000}}},
		{"the count begins anew after firing", Threshold{Value: 90, For: 2 * second}, []point{
			{1000, 95, 0, false, 1000}, {2000, 95, 0, true, 0}, {3000, 95, 0, false, 1000}, {4000, 95, 0, true, 0},
			{5000, 95, 0, false, 1000}, {6000, 95, 0, true, 0}}},
		{"no time", Threshold{Value: 90}, []point{
			{1000, 80, 0, false, 0}, {2000, 95, 0, true, 0}, {3000, 95, 0, true, 0}}},
		{"below", Threshold{Value: 5, Below: true, For: 2 * second}, []point{
			{1000, 5, 0, false, 0}, {2000, 4.9, 0, false, 1000}, {3000, nan, 0, false, 0}, {4000, 0, 0, false, 1000}, {5000, 0, 0, true, 0}}},
		{"a timer that is early", Threshold{Value: 90, For: 3 * second}, []point{
			{1020, 95, 0, false, 1000}, {2001, 95, 0, false, 1981}, {2999, 95, 0, true, 0}}},
		{"a timer that is much too early", Threshold{Value: 90, For: 3 * second}, []point{
			{1000, 95, 0, false, 1000}, {2000, 95, 0, false, 2000}, {2890, 95, 890, false, 2890}}},
		{"a long span is enough", Threshold{Value: 90, For: 3 * second}, []point{
			{10000, 95, 10000, true, 0}}},
		{"a gap resets", Threshold{Value: 90, For: 4 * second}, []point{
			{1000, 95, 0, false, 1000}, {2000, 95, 0, false, 2000}, {6000, 95, 0, false, 1000}, {7000, 95, 0, false, 2000}}},
		{"three spans are no gap", Threshold{Value: 90, For: 5 * second}, []point{
			{1000, 95, 0, false, 1000}, {4000, 95, 0, false, 4000}, {5000, 95, 0, true, 0}}},
		{"an average over the gap stands for one span", Threshold{Value: 90, For: 4 * second}, []point{
			{1000, 95, 0, false, 1000}, {3601000, 95, 3600000, false, 1000}, {3602000, 95, 0, false, 2000},
			{3603000, 95, 0, false, 3000}, {3604000, 95, 0, true, 0}}},
		{"time set back", Threshold{Value: 90, For: 2 * second}, []point{
			{5000, 95, 0, false, 1000}, {4000, 95, 0, false, 1000}, {5000, 95, 0, true, 0}}},
		{"sliding windows of 1 s", Threshold{Value: 90, For: 2 * second}, []point{
			{1000, 95, 0, false, 1000}, {1250, 95, 0, false, 1250}, {1500, 95, 0, false, 1500}, {1750, 95, 0, false, 1750},
			{2000, 95, 0, true, 0}, {2250, 95, 0, false, 250}, {2500, 95, 0, false, 500}, {2750, 0, 0, false, 0},
			{3000, 95, 0, false, 1000}}},
		{"instants", Threshold{Value: 90, For: 2 * second}, []point{
			{1000, 95, -1, false, 0}, {2000, 95, -1, false, 1000}, {3000, 95, -1, true, 0}}},
		{"a window that grows", Threshold{Value: 90, For: 1 * second}, []point{
			{0, nan, -1, false, 0}, {250, 95, 250, false, 250}, {500, 95, 500, false, 500}, {750, 95, 750, false, 750}, {1000, 95, 0, true, 0}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := Level{Threshold: c.level}
			for i, p := range c.points {
				span := time.Duration(p.span) * time.Millisecond
				if p.span == 0 {
					span = second
				} else if p.span < 0 {
					span = 0
				}
				if got := l.Feed(at(p.ms), p.v, span); got != p.fires {
					t.Errorf("sample %d: fires %v, want %v", i, got, p.fires)
				}
				if got := l.Held(at(p.ms)); got != time.Duration(p.held)*time.Millisecond {
					t.Errorf("sample %d: held %v, want %d ms", i, got, p.held)
				}
			}
			l.Reset()
			if l.Threshold != c.level || l.Held(at(0)) != 0 || l.Feed(at(0), math.NaN(), second) {
				t.Error("not reset")
			}
		})
	}
}

// TestHeldLater asks between and after samples.
func TestHeldLater(t *testing.T) {
	l := Level{Threshold: Threshold{Value: 1, For: 10 * second}}
	l.Feed(at(1000), 1, second)
	for ms, want := range map[int]time.Duration{1500: 1500 * time.Millisecond, 4000: 4 * second, 4001: 0, 500: 0} {
		if got := l.Held(at(ms)); got != want {
			t.Errorf("at %d ms: held %v, want %v", ms, got, want)
		}
	}
}

// fed is a sample that a model has seen.
type fed struct {
	now   time.Time
	v     float64
	span  time.Duration
	fired bool
}

// model decides by looking back over all samples whether the last one fires.
func model(t Threshold, samples []fed) bool {
	end := len(samples) - 1
	if !t.Holds(samples[end].v) {
		return false
	}
	broken := func(i int) bool { // between i-1 and i
		passed := samples[i].now.Sub(samples[i-1].now)
		shorter := min(samples[i].span, samples[i-1].span)
		return passed < 0 || shorter > 0 && passed > 3*shorter
	}
	first := end
	for first > 0 && !broken(first) && t.Holds(samples[first-1].v) && !samples[first-1].fired {
		first--
	}
	held := samples[end].now.Sub(samples[first].now)
	forgiven := samples[end].span / 10
	switch {
	case first == 0:
		held += samples[first].span
	case broken(first):
		held += min(samples[first].span, samples[first-1].span)
		if first == end {
			forgiven = min(samples[first].span, samples[first-1].span) / 10
		}
	case samples[first-1].fired:
		held += min(samples[first].span, samples[first].now.Sub(samples[first-1].now))
	default:
		held += samples[first].span
	}
	return held+forgiven >= t.For
}

func TestLevelRandom(t *testing.T) {
	fires := 0
	for seed := range uint64(2000) {
		random := rand.New(rand.NewPCG(seed, 7))
		threshold := Threshold{Value: 50, Below: random.IntN(2) == 0, For: time.Duration(random.IntN(6)) * second}
		l := Level{Threshold: threshold}
		step := []int{100, 250, 1000, 3000}[random.IntN(4)]
		now := 0
		var samples []fed
		for i := range 100 {
			now += step + random.IntN(step/5+1) - step/10
			span := time.Duration(max(step, 1000)) * time.Millisecond
			switch random.IntN(30) {
			case 0:
				now += random.IntN(8 * step)
			case 1:
				now += 60 * step
				span = time.Duration(60*step) * time.Millisecond
			case 2:
				now -= random.IntN(3 * step)
			case 3:
				span = 0
			case 4:
				span = time.Duration(random.IntN(2000)) * time.Millisecond
			}
			v := float64(random.IntN(55))
			if threshold.Below == (random.IntN(8) == 0) {
				v += 46
			}
			if random.IntN(40) == 0 {
				v = math.NaN()
			}
			samples = append(samples, fed{now: at(now), v: v, span: span})
			want := model(threshold, samples)
			samples[i].fired = want
			if want {
				fires++
			}
			if got := l.Feed(at(now), v, span); got != want {
				t.Fatalf("seed %d, %v, sample %d: fires %v, want %v\n%v", seed, threshold, i, got, want, samples[max(0, i-10):])
			}
			if held := l.Held(at(now)); held < 0 || want && held != 0 {
				t.Fatalf("seed %d, sample %d: held %v", seed, i, held)
			}
		}
	}
	if fires < 1000 {
		t.Errorf("fired %d times: the samples test little", fires)
	}
}

// TestBridge: a burst counts for as long as it is, although an average over a
// second holds for longer, and a dip within it does not end the count.
func TestBridge(t *testing.T) {
	const step, window = 250 * time.Millisecond, 4
	run := func(threshold float64, values ...float64) (fired int) {
		l := Level{Threshold: Threshold{Value: threshold, For: 3 * time.Second}}
		now := time.Unix(1000, 0)
		for i, v := range values {
			now = now.Add(step)
			var sum float64
			for _, x := range values[max(0, i-window+1) : i+1] {
				sum += x
			}
			if !l.Holds(v) && l.Holds(sum/window) {
				l.Bridge(now, step)
			} else if l.Feed(now, v, step) {
				fired++
			}
		}
		return fired
	}
	burst := func(n int) []float64 {
		b := make([]float64, 8, 40)
		for range n {
			b = append(b, 100)
		}
		return append(b, make([]float64, 8)...)
	}
	for _, threshold := range []float64{5, 30, 50, 90, 100} {
		if n := run(threshold, burst(8)...); n != 0 {
			t.Errorf("limit %v: a burst of 2 s fires %d times", threshold, n)
		}
		if n := run(threshold, burst(14)...); n != 1 {
			t.Errorf("limit %v: a burst of 3.5 s fires %d times", threshold, n)
		}
	}
	noisy := burst(14)
	noisy[14] = 0 // one look of 14
	if n := run(70, noisy...); n != 1 {
		t.Errorf("a burst with a dip fires %d times", n)
	}
}
