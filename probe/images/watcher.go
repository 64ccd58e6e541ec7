package images

import (
	"sync"
	"time"
)

// PollInterval is how often mappings are read where there is no BPF.
const PollInterval = 100 * time.Millisecond

// Watcher watches one process.
type Watcher struct {
	pid    int
	method string
	events chan Event
	done   chan struct{}
	once   sync.Once
	leave  func() // called once, by Close

	mu     sync.Mutex
	queue  []Event
	more   chan struct{} // has something when queue has
	closed bool          // no more events will come
}

// newWatcher starts the handing over of events. The queue has no limit,
// because a watcher that is not read must not hold up the others.
func newWatcher(pid int, method string) *Watcher {
	w := &Watcher{pid: pid, method: method, events: make(chan Event), done: make(chan struct{}), more: make(chan struct{}, 1)}
	go w.hand()
	return w
}

// Method says how changes are noticed, in words.
func (w *Watcher) Method() string { return w.method }

// Events yields what happens, in its order. It is closed by Close and, some
// time after, when the process has ended.
func (w *Watcher) Events() <-chan Event { return w.events }

// Close ends the watching. The process does not notice.
func (w *Watcher) Close() {
	w.once.Do(func() {
		close(w.done)
		if w.leave != nil {
			w.leave()
		}
	})
}

func (w *Watcher) push(e Event) {
	w.mu.Lock()
	w.queue = append(w.queue, e)
	w.mu.Unlock()
	w.wake()
}

// end lets Events be closed when all has been handed over.
func (w *Watcher) end() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.wake()
}

func (w *Watcher) wake() {
	select {
	case w.more <- struct{}{}:
	default:
	}
}

func (w *Watcher) hand() {
	defer close(w.events)
	for {
		w.mu.Lock()
		queue, closed := w.queue, w.closed
		w.queue = nil
		w.mu.Unlock()
		for _, e := range queue {
			select {
			case w.events <- e:
			case <-w.done:
				return
			}
		}
		if len(queue) > 0 {
			continue
		}
		if closed {
			return
		}
		select {
		case <-w.more:
		case <-w.done:
			return
		}
	}
}

// OpenPolling watches a process by reading its mappings again and again.
func OpenPolling(pid int, every time.Duration) (*Watcher, error) {
	return openPolling(procRoot, pid, every, "reading the mappings every "+every.String())
}

func openPolling(proc string, pid int, every time.Duration, method string) (*Watcher, error) {
	maps, err := readMaps(proc, pid)
	if err != nil {
		return nil, err
	}
	t := &tracker{}
	t.sync(maps, time.Now())
	w := newWatcher(pid, method)
	t.emit = w.push
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-w.done:
				return
			case <-tick.C:
			}
			maps, err := readMaps(proc, pid)
			if err != nil || len(maps) == 0 {
				// A process that has ended has no mappings.
				w.end()
				return
			}
			t.sync(maps, time.Now())
		}
	}()
	return w, nil
}
