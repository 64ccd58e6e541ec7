package trigger

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestLimiter(t *testing.T) {
	l := Limiter[int]{PerProcess: 2, Total: 5, Cooldown: 10 * second}
	type step struct {
		ms, process int
		end         bool // End, else Take
		written     bool
		want        Verdict
	}
	for i, s := range []step{
		{0, 1, false, false, Allowed},
		{0, 1, false, false, CoolingDown}, // still being written
		{0, 2, false, false, Allowed},     // another process
		{3000, 1, true, true, 0},
		{3000, 1, false, false, CoolingDown},
		{12999, 1, false, false, CoolingDown},
		{13000, 1, false, false, Allowed},
		{13000, 1, false, false, ProcessDone},
		{14000, 1, true, false, 0}, // it was not written
		{15000, 1, false, false, CoolingDown},
		{24000, 1, false, false, Allowed},
		{25000, 1, true, true, 0},
		{99000, 1, false, false, ProcessDone},
		{99000, 2, true, true, 0},
		{99000, 3, false, false, Allowed},
		{99000, 4, false, false, Allowed},
		{99000, 5, false, false, AllDone}, // two are being written
		{99000, 4, true, false, 0},
		{99000, 5, false, false, Allowed},
		{99000, 5, true, true, 0},
		{99000, 3, true, true, 0},
		{999000, 3, false, false, AllDone},
		{999000, 6, false, false, AllDone},
	} {
		if s.end {
			l.End(at(s.ms), s.process, s.written)
		} else if got := l.Take(at(s.ms), s.process); got != s.want {
			t.Errorf("step %d: %v, want %v", i, got, s.want)
		}
	}
	if !l.Done() || l.WrittenTotal() != 5 || l.Written(1) != 2 || l.Written(9) != 0 || !l.ProcessDone(9) {
		t.Errorf("done %v, written %d, of process 1 %d", l.Done(), l.WrittenTotal(), l.Written(1))
	}
}

func TestLimiterZero(t *testing.T) {
	var l Limiter[string]
	for range 100 {
		if v := l.Take(at(0), "a"); v != Allowed {
			t.Fatal(v)
		}
	}
	for range 100 {
		l.End(at(0), "a", true)
	}
	if l.Done() || l.ProcessDone("a") || l.Written("a") != 100 || l.WrittenTotal() != 100 {
		t.Error("no limit, but done")
	}
	l.Forget("a")
	if l.Written("a") != 0 || l.WrittenTotal() != 100 || len(l.processes) != 0 {
		t.Error("not forgotten")
	}
	// One that ends while its dump is written.
	l.Take(at(0), "b")
	l.Forget("b")
	l.End(at(0), "b", true)
	if l.WrittenTotal() != 101 || len(l.processes) != 0 {
		t.Error("the dump of a process that has ended is lost")
	}
}

func TestVerdictString(t *testing.T) {
	seen := map[string]bool{}
	for v := Allowed; v <= AllDone+1; v++ {
		seen[v.String()] = true
	}
	if len(seen) != 5 {
		t.Errorf("%v", seen)
	}
}

// TestLimiterRandom checks the promises over random sequences.
func TestLimiterRandom(t *testing.T) {
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 3))
		l := Limiter[int]{PerProcess: random.IntN(4), Total: random.IntN(8), Cooldown: time.Duration(random.IntN(3)) * second}
		written, running, ended := map[int]int{}, map[int]int{}, map[int]time.Time{}
		sum := func(m map[int]int) (n int) {
			for _, v := range m {
				n += v
			}
			return n
		}
		for i := range 200 {
			now, process := at(250*i), random.IntN(4)
			if running[process] > 0 && random.IntN(2) == 0 {
				ok := random.IntN(4) > 0
				l.End(now, process, ok)
				running[process]--
				if ok {
					written[process]++
				}
				ended[process] = now
				continue
			}
			last, was := ended[process]
			want := (l.PerProcess == 0 || written[process]+running[process] < l.PerProcess) &&
				(l.Total == 0 || sum(written)+sum(running) < l.Total) &&
				(l.Cooldown == 0 || running[process] == 0 && (!was || now.Sub(last) >= l.Cooldown))
			if got := l.Take(now, process); (got == Allowed) != want {
				t.Fatalf("seed %d, step %d: %v, want allowed %v", seed, i, got, want)
			}
			if want {
				running[process]++
			}
			if l.Done() != (l.Total > 0 && sum(written) >= l.Total) {
				t.Fatalf("seed %d, step %d: done %v", seed, i, l.Done())
			}
		}
	}
}
