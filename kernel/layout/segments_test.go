package layout

import (
	"testing"

	"procdump/kdump"
)

// TestSegments: where page tables cannot be read the dump's headers count,
// where they say that an address is not mapped they are right.
func TestSegments(t *testing.T) {
	k := newX86(4, 0xffff888000000000)
	d := k.dump()
	const stack, hole = 0xffffc90000004000, 0xffffc90000010000
	d.Segments = []kdump.Segment{
		{VirtAddr: hole, PhysAddr: kdump.NoPhysAddr, MemSize: 4096},
		{VirtAddr: stack, PhysAddr: 0x8000, MemSize: 0x100},
		{VirtAddr: 0x1000, PhysAddr: 0x9000, MemSize: 4096},
	}
	kernel, err := Open(d)
	if err != nil {
		t.Fatal(err)
	}
	wantTranslate(t, kernel.Space, stack, 0)
	for at := range uint64(4096 / 256) { // the topmost table is not in the dump
		k.mem.Drop(k.root + at*256)
	}
	kernel.Space.Refresh()
	wantTranslate(t, kernel.Space, stack, 0x8000)
	wantTranslate(t, kernel.Space, stack+0xff, 0x80ff)
	for _, va := range []uint64{stack - 1, stack + 0x100, hole, 0x1000} {
		if pa, _, err := kernel.Space.Translate(va); err == nil {
			t.Errorf("%#x is at %#x", va, pa)
		}
	}
}
