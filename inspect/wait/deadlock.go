package wait

import (
	"fmt"
	"slices"
	"strings"
)

// Deadlock are threads of which each waits for the next and the last for the
// first: none of them will ever go on.
type Deadlock struct {
	Threads []int
	// Text says so: "threads 12 and 14 wait for each other: 12 for mutex 0x5000,
	// held by thread 14; 14 for mutex 0x6000, held by thread 12".
	Text string
}

// Deadlocks finds the circles of threads that wait for each other, each from
// its lowest thread on.
func Deadlocks(waits map[int]*Wait) (all []Deadlock) {
	var threads []int
	for tid := range waits {
		threads = append(threads, tid)
	}
	slices.Sort(threads)
	seen := map[int]int{} // the walk that has met a thread
	for n, from := range threads {
		tid := from
		for seen[tid] == 0 {
			seen[tid] = n + 1
			if w := waits[tid]; forever(w) {
				tid = w.Owner
			}
		}
		w := waits[tid]
		if seen[tid] != n+1 || !forever(w) {
			continue // it ends, or at what an earlier walk has seen
		}
		var circle []int
		for next := tid; len(circle) == 0 || next != tid; next = waits[next].Owner {
			circle = append(circle, next)
		}
		lowest := slices.Index(circle, slices.Min(circle))
		circle = slices.Concat(circle[lowest:], circle[:lowest])
		all = append(all, Deadlock{circle, words(circle, waits)})
	}
	return all
}

// forever tells whether a thread goes on only if another one does.
func forever(w *Wait) bool { return w != nil && w.Owner != 0 && !w.Timed }

// words says who waits for what. Of a long circle it names the first.
func words(circle []int, waits map[int]*Wait) string {
	if len(circle) == 1 {
		return fmt.Sprintf("thread %d waits for itself: %s", circle[0], waits[circle[0]].Text)
	}
	const most = 6
	var who, what []string
	for i, tid := range circle {
		if i == most {
			break
		}
		who, what = append(who, fmt.Sprint(tid)), append(what, fmt.Sprintf("%d for %s", tid, waits[tid].Text))
	}
	last := len(who) - 1
	names := strings.Join(who[:last], ", ") + " and " + who[last]
	if n := len(circle) - most; n > 0 {
		names, what = fmt.Sprintf("%s and %d more", strings.Join(who, ", "), n), append(what, "…")
	}
	return fmt.Sprintf("threads %s wait for each other: %s", names, strings.Join(what, "; "))
}
