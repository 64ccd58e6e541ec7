package zseek

import "sync"

// cacheChunks bounds the decoded chunks held at once, and with it the readers
// that can copy from different ones at the same time.
const cacheChunks = 8

// chunk is a decoded piece of the content. Its fields are the cache's, except
// that who holds a reference may read buf once acquire returned it.
type chunk struct {
	start   int64
	buf     []byte // the buffer is reused
	len     int64  // known before buf is filled; 0: the chunk holds nothing
	loading bool
	err     error // of the load, for those who waited for it
	refs    int
	used    uint64 // time of last use
}

// cache holds the chunks used last, in buffers that it reuses.
type cache struct {
	mu     sync.Mutex
	change sync.Cond // a load ended or a chunk became free
	chunks [cacheChunks]chunk
	clock  uint64
}

// acquire returns the chunk that holds byte off. A missing one is located by
// where, and filled by load, once, however many ask for it. The caller must
// release it.
func (c *cache) acquire(off int64, where func() (start, size int64, err error), load func(k *chunk) error) (*chunk, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.lookup(off); k != nil {
		return c.wait(k)
	}
	c.mu.Unlock()
	start, size, err := where()
	c.mu.Lock()
	if err != nil {
		return nil, err
	}
	for {
		// Another reader may have got there while the lock was not held.
		if k := c.lookup(off); k != nil {
			return c.wait(k)
		}
		if k := c.victim(); k != nil {
			return c.fill(k, start, size, load)
		}
		c.change.Wait()
	}
}

func (c *cache) lookup(off int64) *chunk {
	for i := range c.chunks {
		if k := &c.chunks[i]; off >= k.start && off-k.start < k.len {
			return k
		}
	}
	return nil
}

// victim returns the chunk that was not used for longest among the free ones.
func (c *cache) victim() (oldest *chunk) {
	for i := range c.chunks {
		if k := &c.chunks[i]; k.refs == 0 && (oldest == nil || k.used < oldest.used) {
			oldest = k
		}
	}
	return oldest
}

// wait takes a reference to a chunk that is filled, perhaps by another reader.
func (c *cache) wait(k *chunk) (*chunk, error) {
	c.hold(k)
	for k.loading {
		c.change.Wait()
	}
	if k.err != nil {
		err := k.err
		c.drop(k)
		return nil, err
	}
	return k, nil
}

// fill loads a free chunk, without holding the lock meanwhile.
func (c *cache) fill(k *chunk, start, size int64, load func(k *chunk) error) (*chunk, error) {
	c.hold(k)
	k.start, k.len, k.err, k.loading = start, size, nil, true
	c.mu.Unlock()
	err := load(k)
	c.mu.Lock()
	k.loading, k.err = false, err
	c.change.Broadcast()
	if err != nil {
		k.len = 0
		c.drop(k)
		return nil, err
	}
	return k, nil
}

func (c *cache) hold(k *chunk) {
	k.refs++
	c.clock++
	k.used = c.clock
}

func (c *cache) drop(k *chunk) {
	k.refs--
	if k.refs == 0 {
		c.change.Broadcast()
	}
}

func (c *cache) release(k *chunk) {
	c.mu.Lock()
	c.drop(k)
	c.mu.Unlock()
}
