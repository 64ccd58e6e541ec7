package capture

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"procdump/dumpkind"
)

// TestRunPaced: what is copied from a clone never runs ahead of its pace, and
// what is copied while the process stands does not wait. The clock is a false one.
func TestRunPaced(t *testing.T) {
	const size, rate = 8 << 20, 1 << 20
	for _, name := range formats {
		for _, method := range []Method{Clone, Stand} {
			t.Run(name, func(t *testing.T) {
				dir := t.TempDir()
				synctest.Test(t, func(t *testing.T) {
					src, m := newSource(size)
					begin, ahead := time.Now(), 0.0
					m.onRead = func(done uint64) error {
						ahead = max(ahead, float64(done)-rate*time.Since(begin).Seconds())
						return nil
					}
					j := &Job{Outputs: []Output{output(t, dir, name, dumpkind.Full, 1)}, Method: method, Pacer: NewPacer(rate)}
					if err := j.Prepare(src.p); err != nil {
						t.Fatal(err)
					}
					res := j.Run(t.Context(), &fakeCloner{fakeSource: src})
					j.Discard()
					took := time.Since(begin)
					m.resumed.Store(false)
					m.onRead = nil
					check(t, &res[0], m)
					if method == Stand {
						if took != 0 {
							t.Errorf("it stood, and took %v", took)
						}
						return
					}
					const batches = 2 * rate / 16 // of two readers
					if ahead > batches || took < (size-batches)*time.Second/rate {
						t.Errorf("%.0f bytes ahead, %d may be; %v in all", ahead, int64(batches), took)
					}
				})
			})
		}
	}
}

// TestPacerShared: who shares a Pacer shares its bytes, and one who has waited
// long has none in store.
func TestPacerShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(100)
		time.Sleep(time.Hour)
		begin := time.Now()
		for range 5 {
			go func() {
				if err := p.wait(t.Context(), 50); err != nil {
					t.Error(err)
				}
			}()
		}
		synctest.Wait()
		if err := p.wait(t.Context(), 50); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took != 2500*time.Millisecond {
			t.Errorf("the sixth 50 bytes came after %v, want 2.5 s", took)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		because := errors.New("cancelled")
		cancel(because)
		if err := p.wait(ctx, 50); !errors.Is(err, because) {
			t.Errorf("error %v", err)
		}
	})
}

func TestPacerBatch(t *testing.T) {
	for _, c := range []struct {
		pace *Pacer
		want int
	}{{nil, 4 << 20}, {NewPacer(1), page}, {NewPacer(1 << 20), 64 << 10}, {NewPacer(100<<20 + 17), (100 << 20) / 16}, {NewPacer(1 << 40), 4 << 20}} {
		if c.want > 4<<20 {
			c.want = 4 << 20
		}
		if got := c.pace.batch(4 << 20); got != c.want {
			t.Errorf("%+v: %d, want %d", c.pace, got, c.want)
		}
	}
}
