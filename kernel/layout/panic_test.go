package layout

import (
	"encoding/binary"
	"testing"
)

// TestPanicCPU finds the processor that panicked in either variable.
func TestPanicCPU(t *testing.T) {
	const none = ^uint32(0)
	for _, c := range []struct {
		variables map[string]uint32
		want      int
		known     bool
	}{
		{map[string]uint32{"crashing_cpu": 3, "panic_cpu": none}, 3, true},
		{map[string]uint32{"crashing_cpu": none, "panic_cpu": 5}, 5, true},
		{map[string]uint32{"panic_cpu": 0}, 0, true},
		{map[string]uint32{"crashing_cpu": none, "panic_cpu": none}, -1, true},
		{map[string]uint32{"crashing_cpu": 1 << 20}, -1, true}, // damaged
		{nil, -1, false},
	} {
		k := newX86(4, 0xffff888000000000)
		at := map[string]uint64{}
		for name, v := range c.variables {
			at[name] = k.put(0, binary.LittleEndian.AppendUint32(nil, v))
		}
		kernel := k.open(t)
		kernel.UseSymbols(func(name string) (uint64, bool) { a, ok := at[name]; return a, ok })
		if n, err := kernel.PanicCPU(); n != c.want || (err == nil) != c.known {
			t.Errorf("%v: %d, %v", c.variables, n, err)
		}
	}
}
