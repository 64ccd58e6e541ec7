package inspect

import (
	"procdump/inspect/wait"
)

// Wait is what a thread waits for.
type Wait struct {
	// Kind is "mutex", "rwlock", "condition variable", "semaphore", "thread" (its
	// end), "barrier", "once", "lock of the C library", "futex" (a lock of another
	// kind), or "call": something else that the kernel has been asked for.
	Kind string `json:"kind"`
	Call string `json:"call,omitempty"` // name of the system call
	Text string `json:"text"`           // all this in words
	// Address is that of the lock.
	Address *Address `json:"address,omitempty"`
	Owner   int      `json:"owner,omitempty"`    // the thread that it waits for
	Forever bool     `json:"deadlock,omitempty"` // it is one of a deadlock
}

// Deadlock are threads of which each waits for the next, and the last for the
// first.
type Deadlock struct {
	Threads []int  `json:"threads"`
	Text    string `json:"text"` // who waits for what
}

// waits says what the threads of the groups wait for, and which for each other.
func (c *Collected) waits(groups []Group) (deadlocks []Deadlock) {
	if c.waiting == nil {
		return nil
	}
	all, place := map[int]*wait.Wait{}, map[int]int{}
	for i := range c.p.Threads {
		place[c.p.Threads[i].TID] = i
	}
	var threads []*Thread
	for i := range groups {
		var functions []string
		for k := range groups[i].Frames {
			f := &groups[i].Frames[k]
			name := f.Function
			if f.Linkage != "" {
				name = f.Linkage
			}
			functions = append(functions, name)
		}
		for k := range groups[i].Threads {
			t := &groups[i].Threads[k]
			if w := c.waiting.Of(place[t.TID], functions); w != nil {
				all[t.TID] = w
				threads = append(threads, t)
			}
		}
	}
	locked := map[int]bool{}
	for _, d := range wait.Deadlocks(all) {
		deadlocks = append(deadlocks, Deadlock(d))
		for _, tid := range d.Threads {
			locked[tid] = true
		}
	}
	for _, t := range threads {
		w := all[t.TID]
		t.Wait = &Wait{Kind: w.Kind, Call: w.Call, Text: w.Text, Owner: w.Owner, Forever: locked[t.TID]}
		if w.Addr != 0 {
			a := Address(w.Addr)
			t.Wait.Address = &a
		}
	}
	return deadlocks
}
