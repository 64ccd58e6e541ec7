// Package cache holds a bounded number of blocks that were expensive to get:
// decompressed pages, pieces of a bitmap.
package cache

import "sync"

// Blocks is a set of blocks keyed by number. When it is full, a block that was
// not asked for lately makes room (the clock algorithm). It is safe for use by
// several goroutines.
type Blocks struct {
	mu    sync.Mutex
	slots []slot
	index map[uint64]int
	hand  int
	max   int
}

type slot struct {
	key  uint64
	data []byte
	used bool
}

// New returns a cache of at most n blocks.
func New(n int) *Blocks {
	return &Blocks{index: make(map[uint64]int), max: max(n, 1)}
}

// Get returns the block numbered key, from the cache or by load. The slice is
// shared: it must not be written to. Errors of load are not remembered.
func (c *Blocks) Get(key uint64, load func() ([]byte, error)) ([]byte, error) {
	if b, ok := c.Peek(key); ok {
		return b, nil
	}
	b, err := load()
	if err != nil {
		return nil, err
	}
	c.put(key, b)
	return b, nil
}

// Peek returns the block numbered key if it is there.
func (c *Blocks) Peek(key uint64) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, ok := c.index[key]
	if !ok {
		return nil, false
	}
	c.slots[i].used = true
	return c.slots[i].data, true
}

func (c *Blocks) put(key uint64, b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.index[key]; ok {
		return
	}
	if len(c.slots) < c.max {
		c.index[key] = len(c.slots)
		c.slots = append(c.slots, slot{key, b, false})
		return
	}
	for c.slots[c.hand].used {
		c.slots[c.hand].used = false
		c.hand = (c.hand + 1) % len(c.slots)
	}
	delete(c.index, c.slots[c.hand].key)
	c.slots[c.hand] = slot{key, b, false}
	c.index[key] = c.hand
	c.hand = (c.hand + 1) % len(c.slots)
}
