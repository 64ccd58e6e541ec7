package procevent

import (
	"slices"
	"testing"
	"testing/synctest"
)

// Whoever reads late gets all that is kept, in order, and is told of the rest.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(nil)
		q.max = 1000
		ended := make(chan struct{})
		go q.deliver(ended)
		number := 0
		for range 50 {
			var events []Event
			for range 30 {
				number++
				events = append(events, Event{PID: number})
			}
			q.add(events)
			synctest.Wait() // deliver holds some, which do not count
		}
		var got []int
		lost := 0
		for range 2 {
			for len(q.out) > 0 {
				e := <-q.out
				synctest.Wait()
				if e.Kind == Lost {
					lost++
					continue
				}
				if lost == 0 {
					got = append(got, e.PID)
				}
			}
			q.add([]Event{{PID: -1}})
			synctest.Wait()
		}
		if !slices.IsSorted(got) || len(got) < 1000+256 || got[0] != 1 || got[len(got)-1] != len(got) {
			t.Errorf("%d events in order", len(got))
		}
		if lost != 1 {
			t.Errorf("%d losses told", lost)
		}
		close(ended)
		close(q.done)
		synctest.Wait()
		for range q.out {
		}
	})
}

// Events are passed in the order in which they came, whether they wait or not.
func TestQueueOrder(t *testing.T) {
	q := newQueue(nil)
	ended := make(chan struct{})
	go q.deliver(ended)
	const n = 200000
	go func() {
		for i := 1; i <= n; i++ {
			q.add([]Event{{PID: i}})
		}
		close(ended)
	}()
	for i := 1; i <= n; i++ {
		if e := <-q.out; e.PID != i || e.Kind == Lost {
			t.Fatalf("event %d: %+v", i, e)
		}
	}
	close(q.done)
}
