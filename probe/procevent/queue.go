package procevent

import (
	"sync"
	"time"
)

// queueMax is how many events wait for a reader, 56 bytes each. What comes
// while so many wait is lost.
const queueMax = 1 << 18

// queue passes events to a channel and never makes their source wait.
type queue struct {
	handle func(Event) bool // sees events first, and may keep them; nil: none
	out    chan Event
	wake   chan struct{} // of size 1: something is in items
	done   chan struct{} // closed: nobody will read any more

	mu     sync.Mutex
	max    int
	items  []Event
	lost   bool // what came last did not fit
	moving bool // deliver holds events that are older than items
}

func newQueue(handle func(Event) bool) *queue {
	return &queue{handle: handle, out: make(chan Event, 256), wake: make(chan struct{}, 1), done: make(chan struct{}), max: queueMax}
}

// add takes events in order.
func (q *queue) add(events []Event) {
	if q.handle != nil {
		kept := events[:0]
		for _, e := range events {
			if q.handle(e) {
				kept = append(kept, e)
			}
		}
		events = kept
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range events {
		// Past the waiting ones is the short way, which needs no other goroutine.
		if len(q.items) == 0 && !q.moving {
			select {
			case q.out <- e:
				continue
			default:
			}
		}
		switch {
		case len(q.items) < q.max:
			q.items = append(q.items, e)
			q.lost = false
		case !q.lost:
			q.items = append(q.items, Event{Kind: Lost, Time: time.Now()})
			q.lost = true
		}
	}
	if len(q.items) > 0 {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

// deliver moves waiting events to the channel until done is closed; when the
// source of events has ended too, it closes the channel.
func (q *queue) deliver(ended <-chan struct{}) {
	defer func() {
		<-ended
		close(q.out)
	}()
	for {
		select {
		case <-q.done:
			return
		case <-q.wake:
		}
		for items := q.take(); len(items) > 0; items = q.take() {
			for _, e := range items {
				select {
				case q.out <- e:
				case <-q.done:
					return
				}
			}
		}
	}
}

// take takes all that waits.
func (q *queue) take() []Event {
	q.mu.Lock()
	defer q.mu.Unlock()
	items := q.items
	q.items, q.moving = nil, len(items) > 0
	return items
}
