package cache

import (
	"errors"
	"testing"
)

func TestBlocks(t *testing.T) {
	c := New(3)
	loads := 0
	get := func(key uint64) {
		t.Helper()
		b, err := c.Get(key, func() ([]byte, error) { loads++; return []byte{byte(key)}, nil })
		if err != nil || b[0] != byte(key) {
			t.Fatalf("block %d: %v, %v", key, b, err)
		}
	}
	for _, key := range []uint64{1, 2, 3, 1, 1, 2} {
		get(key)
	}
	if loads != 3 {
		t.Errorf("%d loads of 3 blocks", loads)
	}
	get(4) // 3 was not asked for again and makes room
	if _, ok := c.Peek(3); ok {
		t.Error("block 3 is still there")
	}
	for _, key := range []uint64{1, 2, 4} {
		if _, ok := c.Peek(key); !ok {
			t.Errorf("block %d is gone", key)
		}
	}
	for key := range uint64(1000) {
		get(key)
	}
	if len(c.slots) != 3 || len(c.index) != 3 {
		t.Errorf("%d slots, %d keys", len(c.slots), len(c.index))
	}
	failure := errors.New("failure")
	if _, err := c.Get(5000, func() ([]byte, error) { return nil, failure }); err != failure {
		t.Errorf("got %v", err)
	}
	get(5000)
}
