package snapshot

import (
	"bytes"
	"testing"

	"procdump/arch"
)

func TestShareRegisters(t *testing.T) {
	p := &Process{Threads: make([]Thread, 100)}
	want := func(i int, typ uint32) []byte {
		switch typ {
		case arch.NT_PRSTATUS:
			return bytes.Repeat([]byte{byte(i)}, 216)
		case arch.NT_PRFPREG:
			return bytes.Repeat([]byte{byte(i % 2)}, 512)
		}
		return bytes.Repeat([]byte{byte(i % 3)}, 512+i%2)
	}
	types := []uint32{arch.NT_PRSTATUS, arch.NT_PRFPREG, arch.NT_X86_XSTATE}
	for i := range p.Threads {
		for _, typ := range types {
			p.Threads[i].Registers.Put(typ, want(i, typ))
		}
	}
	p.ShareRegisters()
	distinct := map[*byte]bool{}
	for i := range p.Threads {
		for _, typ := range types {
			got := p.Threads[i].Registers.Set(typ)
			if !bytes.Equal(got, want(i, typ)) {
				t.Fatalf("thread %d: set %#x has changed", i, typ)
			}
			distinct[&got[0]] = true
		}
	}
	// 100 general-purpose sets, and blocks of 512 bytes with 3 and of 513 with
	// 3 different contents; two of these may have got into each other's way.
	if n := len(distinct); n < 106 || n > 106+100 {
		t.Errorf("%d of 300 sets are in RAM, want 106", n)
	}
}
