package proc

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// benchProcesses is the number of processes that are sampled in turn.
func benchProcesses() int {
	if n, err := strconv.Atoi(os.Getenv("PROCDUMP_BENCH_PROCESSES")); err == nil {
		return n
	}
	return 1000
}

// BenchmarkSample gives the price of one sample of one of many processes that
// sleep: as they are, and as if they had run since their last sample.
func BenchmarkSample(b *testing.B) {
	pids := startVictim(b).do(fmt.Sprint("sleepers ", benchProcesses()))
	for _, c := range []struct {
		name string
		want Want
		idle bool
		kept bool
	}{
		{"idle-cpu", CPU, true, true},
		{"idle-cpu+commit", CPU | Commit, true, true},
		{"idle-all", all, true, true},
		{"cpu", CPU, false, true},
		{"cpu+commit", CPU | Commit, false, true},
		{"cpu+commit+threads", CPU | Commit | Threads, false, true},
		{"all", all, false, true},
		{"all-nothing-kept", all, false, false},
	} {
		b.Run(fmt.Sprintf("%s/%d", c.name, len(pids)), func(b *testing.B) {
			if !c.kept {
				setLimit(b, 64)
			}
			ps := make([]*Process, len(pids))
			for i, pid := range pids {
				ps[i] = watch(b, "", pid, c.want)
			}
			b.ReportAllocs()
			var s Sample
			i := 0
			for b.Loop() {
				if !c.idle {
					ps[i].read = 0
				}
				if err := ps[i].Sample(time.Now(), &s); err != nil {
					b.Fatal(err)
				}
				if i++; i == len(ps) {
					i = 0
				}
			}
		})
	}
}

// BenchmarkSecond samples all processes once a second, as a monitor does, and
// gives the part of a core that this takes. Between the passes the machine's
// caches forget the processes.
func BenchmarkSecond(b *testing.B) {
	pids := startVictim(b).do(fmt.Sprint("sleepers ", benchProcesses()))
	ps := make([]*Process, len(pids))
	for i, pid := range pids {
		ps[i] = watch(b, "", pid, CPU|Commit)
	}
	used := func() time.Duration {
		var usage syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
			b.Fatal(err)
		}
		return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	for _, idle := range []bool{true, false} {
		b.Run(fmt.Sprintf("idle=%v/%d", idle, len(ps)), func(b *testing.B) {
			before, begin := used(), time.Now()
			var s Sample
			for range b.N {
				time.Sleep(time.Second)
				for _, p := range ps {
					if !idle {
						p.read = 0
					}
					if err := p.Sample(time.Now(), &s); err != nil {
						b.Fatal(err)
					}
				}
			}
			spent := used() - before
			b.ReportMetric(100*spent.Seconds()/time.Since(begin).Seconds(), "%core")
			b.ReportMetric(float64(spent.Microseconds())/float64(b.N*len(ps)), "µs/sample")
		})
	}
}

// BenchmarkOpen gives the price of finding a process.
func BenchmarkOpen(b *testing.B) {
	pids := startVictim(b).do("sleepers 100")
	i := 0
	for b.Loop() {
		p, err := Root("").Open(pids[i%len(pids)], all)
		if err != nil {
			b.Fatal(err)
		}
		p.Close()
		i++
	}
}

// TestMemory bounds what a process costs: 5,000 must fit into a few MiB.
func TestMemory(t *testing.T) {
	v := startVictim(t)
	const n = 2000
	ps := make([]*Process, n)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range ps {
		var err error
		if ps[i], err = Root("").Open(v.pid, CPU|Commit); err != nil {
			t.Fatal(err)
		}
		defer ps[i].Close()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (after.HeapAlloc - before.HeapAlloc) / n
	t.Logf("%d bytes a process", each)
	if each > 512 {
		t.Errorf("a process costs %d bytes", each)
	}
	runtime.KeepAlive(ps)
}
