package monitor

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"procdump/capture"
	"procdump/target"
	"procdump/trigger"
)

// warned counts warnings, and is an Observer of nothing else.
type warned struct {
	Observer
	mu sync.Mutex
	n  int
}

func (o *warned) Event(target.Process, string) {}
func (o *warned) Warning(*target.Process, string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.n++
}

// blocked is a Dumper whose dumps last until end is closed.
type blocked struct{ begun, end chan struct{} }

func (b *blocked) Dump(context.Context, *Due) error {
	b.begun <- struct{}{}
	<-b.end
	return nil
}

// avoiding is a monitor with -a of so many processes, whose loop stands until go
// is called.
func avoiding(t *testing.T, processes int, d Dumper, o Observer) (m *monitor, run func()) {
	t.Helper()
	m = &monitor{Config: Config{Observer: o, Dumper: d, Avoid: true, Rules: Rules{FirstChance: true}}, ctx: t.Context(),
		watched: map[int]*watched{}, posts: make(chan func(), 4096), quit: make(chan struct{}), slots: make(chan struct{}, 1),
		limits: trigger.Limiter[target.ID]{PerProcess: 1 << 20, Total: 1 << 20}}
	for pid := 1; pid <= processes; pid++ {
		m.watched[pid] = &watched{p: target.Process{PID: pid}, ctx: t.Context(), turn: make(chan struct{}, 1)}
	}
	return m, func() {
		for {
			select {
			case f := <-m.posts:
				f()
			case <-m.quit:
				return
			}
		}
	}
}

// TestAvoidedAtOnce lets many triggers be due at the same moment: with -a one
// thread alone stands for a dump, of one process as of several ones with -r 1.
func TestAvoidedAtOnce(t *testing.T) {
	for _, c := range []struct {
		name      string
		processes int
	}{{"of one process", 1}, {"of several", 64}} {
		t.Run(c.name, func(t *testing.T) {
			const triggers = 64
			for range 200 {
				d, o := &blocked{make(chan struct{}, triggers), make(chan struct{})}, &warned{}
				m, run := avoiding(t, c.processes, d, o)
				var all sync.WaitGroup
				passed := make(chan struct{}, triggers)
				for i := range triggers {
					all.Go(func() {
						m.happened(&tree{}, happening{kind: hapSignal, pid: 1 + i%c.processes, signal: 11, text: "SIGSEGV"})
						passed <- struct{}{}
					})
				}
				go run()
				<-d.begun
				for n := range triggers - 1 {
					select {
					case <-passed:
					case <-time.After(30 * time.Second):
						t.Fatalf("%d triggers stand until the dump is done", triggers-1-n)
					}
				}
				close(d.end)
				all.Wait()
				close(m.quit)
				if o.n != triggers-1 || len(d.begun) > 0 {
					t.Fatalf("%d of %d triggers were skipped, %d more dumps", o.n, triggers, len(d.begun))
				}
			}
		})
	}
}

// TestAvoidedOnlyTriggers: with -a nothing is skipped, and nothing told, that
// would not have been dumped.
func TestAvoidedOnlyTriggers(t *testing.T) {
	d, o := &blocked{make(chan struct{}, 1), make(chan struct{})}, &warned{}
	m, run := avoiding(t, 1, d, o)
	go run()
	defer close(m.quit)
	var first sync.WaitGroup
	first.Go(func() { m.happened(&tree{}, happening{kind: hapSignal, pid: 1, signal: 11}) })
	<-d.begun
	m.happened(&tree{}, happening{kind: hapSignal, pid: 1, signal: 10}) // no error, and so no exception
	close(d.end)
	first.Wait()
	if o.n > 0 {
		t.Errorf("%d warnings of a signal that is no trigger", o.n)
	}
}

// TestFullWhileAvoiding: a dump that a process need not stand for waits.
func TestFullWhileAvoiding(t *testing.T) {
	m, _ := avoiding(t, 1, nil, &warned{})
	w := m.watched[1]
	m.slots <- struct{}{}
	if _, err := m.enter(w, &Due{Held: true}); !errors.Is(err, capture.ErrAvoided) {
		t.Errorf("held: error %v", err)
	}
	done := make(chan error)
	go func() {
		leave, err := m.enter(w, &Due{})
		leave()
		done <- err
	}()
	<-m.slots
	if err := <-done; err != nil {
		t.Errorf("not held: error %v", err)
	}
}
