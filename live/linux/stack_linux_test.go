package linux

import (
	"encoding/binary"
	"testing"

	"procdump/victims"
)

// TestGoroutineStacks: where a thread of a Go program runs a goroutine, its stack
// ends where the goroutine's does, and not with the heap that it is a piece of.
func TestGoroutineStacks(t *testing.T) {
	p := stop(t, victims.Start(t, "goroutines").PID, Options{}).Process
	word := func(addr uint64) uint64 {
		var b [8]byte
		if _, err := p.Memory.ReadMemory(b[:], addr); err != nil {
			return 0
		}
		return binary.LittleEndian.Uint64(b[:])
	}
	found := 0
	for i := range p.Threads {
		th := &p.Threads[i]
		g := word(th.Registers.TLS() - 8)
		low, high := word(g), word(g+8)
		sp := th.Registers.SP()
		if g == 0 || sp < low || sp >= high {
			continue // on the stack that the system gave the thread
		}
		found++
		if th.Stack.End() != high {
			t.Errorf("thread %d, goroutine %#x: stack %v, want its end at %#x", th.TID, g, th.Stack, high)
		}
	}
	if found == 0 {
		t.Error("no thread runs a goroutine")
	}
}
