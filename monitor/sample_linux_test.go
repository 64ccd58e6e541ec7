package monitor

import (
	"context"
	"os/exec"
	"testing"
	"time"

	"procdump/target"
)

// silent is an observer that nobody watches.
type silent struct{}

func (silent) Watching(target.Process)             {}
func (silent) Event(target.Process, string)        {}
func (silent) Exited(target.Process, string)       {}
func (silent) Note(string)                         {}
func (silent) Warning(*target.Process, string)     {}
func (silent) Failed(p *target.Process, err error) {}

// BenchmarkSample is one look at each of many processes that sleep.
func BenchmarkSample(b *testing.B) {
	const n = 500
	m := &monitor{Config: Config{Observer: silent{}, Rules: Rules{OneCore: true, Hold: time.Hour,
		CPU: []Bound{{Value: 1000}}, Commit: []Commit{{Bound: Bound{Value: 1 << 50}}}}},
		watched: map[int]*watched{}, trees: map[*tree]bool{}, ctx: context.Background(), quit: make(chan struct{})}
	for range n {
		c := exec.Command("sleep", "1000")
		if err := c.Start(); err != nil {
			b.Fatal(err)
		}
		defer c.Wait()
		defer c.Process.Kill()
		p, err := target.Get(c.Process.Pid)
		if err != nil {
			b.Fatal(err)
		}
		w := &watched{p: p, turn: make(chan struct{}, 1)}
		if err := m.openGauges(w); err != nil {
			b.Fatal(err)
		}
		m.watched[p.PID] = w
	}
	b.ResetTimer()
	for range b.N {
		m.sample()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/n, "µs/process")
}
