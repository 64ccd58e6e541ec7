package pages

import (
	"encoding/binary"
	"fmt"
	"testing"

	"procdump/kernel/layout/layouttest"
)

// Where the test puts KVM's structures, in the direct map.
const (
	kvmPhys   = 0x3000000
	mmPhys    = 0x3001000
	slotsPhys = 0x3002000
	slotPhys  = 0x3003000
	userRoot  = 0x3010000
)

func virt(phys uint64) uint64 { return testDirect + phys }

// kvmMachine has one virtual machine with two slots: 4 pages and a block of
// 2 MiB, of which one page is not there. Its memory lies in the first 16 MiB.
func kvmMachine(tree bool) (*machine, *layouttest.BTF) {
	m := newMachine(forms()[3])
	m.sparse()
	b := layouttest.NewBTF()
	u64, u32 := b.Int("unsigned long", 8), b.Int("int", 4)
	list := b.Struct("list_head", 16, layouttest.Member{Name: "next", Type: u64}, layouttest.Member{Name: "prev", Type: u64, Bits: 64})
	node := b.Struct("rb_node", 24, layouttest.Member{Name: "color", Type: u64}, layouttest.Member{Name: "rb_right", Type: u64, Bits: 64}, layouttest.Member{Name: "rb_left", Type: u64, Bits: 128})
	root := b.Struct("rb_root", 8, layouttest.Member{Name: "rb_node", Type: u64})
	b.Struct("mm_struct", 64, layouttest.Member{Name: "pgd", Type: u64, Bits: 128})
	pointers := b.Array(b.Ptr(0), 2)
	b.Struct("kvm", 128, layouttest.Member{Name: "mm", Type: u64}, layouttest.Member{Name: "memslots", Type: pointers, Bits: 64},
		layouttest.Member{Name: "vm_list", Type: list, Bits: 256}, layouttest.Member{Name: "userspace_pid", Type: u32, Bits: 512})
	slot := b.Struct("kvm_memory_slot", 96, layouttest.Member{Name: "gfn_node", Type: b.Array(node, 2)},
		layouttest.Member{Name: "base_gfn", Type: u64, Bits: 384}, layouttest.Member{Name: "npages", Type: u64, Bits: 448}, layouttest.Member{Name: "userspace_addr", Type: u64, Bits: 512})
	if tree {
		b.Struct("kvm_memslots", 64, layouttest.Member{Name: "gfn_tree", Type: root, Bits: 64}, layouttest.Member{Name: "node_idx", Type: u32, Bits: 128})
	} else {
		b.Struct("kvm_memslots", 64, layouttest.Member{Name: "used_slots", Type: u32, Bits: 64}, layouttest.Member{Name: "memslots", Type: b.Array(slot, 0), Bits: 512})
	}

	m.mem.Zero(kvmPhys, 0x10000)
	head := uint64(kvmPhys + 0x800)
	m.mem.Put64(head, virt(kvmPhys+32))
	m.mem.Put64(kvmPhys+32, virt(head))
	m.mem.Put64(kvmPhys, virt(mmPhys))
	m.mem.Put64(kvmPhys+8, virt(slotsPhys))
	m.mem.Put32(kvmPhys+64, 4711)
	m.mem.Put64(mmPhys+16, virt(userRoot))
	write := func(at, gfn, n, host uint64) {
		m.mem.Put64(at+48, gfn)
		m.mem.Put64(at+56, n)
		m.mem.Put64(at+64, host)
	}
	const host1, host2 = 0x7f0000000000, 0x7f0040000000
	if tree {
		// The second tree is the one in use; the second slot hangs below the first.
		m.mem.Put32(slotsPhys+16, 1)
		m.mem.Put64(slotsPhys+8, virt(slotPhys+24))
		m.mem.Put64(slotPhys+24+16, virt(slotPhys+0x100+24))
		write(slotPhys, 0, 4, host1)
		write(slotPhys+0x100, 0x1000, 512, host2)
	} else {
		m.mem.Put32(slotsPhys+8, 2)
		write(slotsPhys+64, 0, 4, host1)
		write(slotsPhys+64+96, 0x1000, 512, host2)
	}
	t := layouttest.AMD64Tables(&m.mem, userRoot+0x1000, 4)
	m.mem.Zero(userRoot, 4096)
	for i := range uint64(3) { // the fourth page is swapped out
		t.Map(userRoot, host1+i*4096, 0x400000+i*0x3000, 1, 511)
	}
	t.Map(userRoot, host2, 0x800000, 2, 511)
	fmt.Fprintf(&m.info, "SYMBOL(vm_list)=%x\n", virt(head))
	return m, b
}

func TestGuests(t *testing.T) {
	for name, tree := range map[string]bool{"tree, since 5.17": true, "array, until 5.16": false} {
		t.Run(name, func(t *testing.T) {
			m, types := kvmMachine(tree)
			k := m.open(t)
			if err := k.UseBTF(types.Bytes()); err != nil {
				t.Fatal(err)
			}
			vms, set, err := Guests(k)
			if err != nil {
				t.Fatal(err)
			}
			want := []VM{{PID: 4711, Pages: 515, Slots: []Slot{{0, 4 * 4096, 0x7f0000000000}, {0x1000 * 4096, 2 << 20, 0x7f0040000000}}}}
			if fmt.Sprint(vms) != fmt.Sprint(want) {
				t.Errorf("virtual machines %+v, want %+v", vms, want)
			}
			if set.Len() != 515 || !set.Has(0x400) || !set.Has(0x403) || !set.Has(0x406) || set.Has(0x401) || !set.Has(0x800) || !set.Has(0x9ff) {
				t.Errorf("%d pages in the set", set.Len())
			}
		})
	}
}

// TestGuestsDamaged follows trees and lists that lead back to themselves.
func TestGuestsDamaged(t *testing.T) {
	m, types := kvmMachine(true)
	m.mem.Put64(slotPhys+0x100+24+8, virt(slotPhys+24)) // a child is its own ancestor
	m.mem.Put64(slotPhys+0x100+56, 1<<40)               // pages of a slot
	m.mem.Put64(kvmPhys+32, virt(kvmPhys+32))           // the list does not come back
	k := m.open(t)
	if err := k.UseBTF(types.Bytes()); err != nil {
		t.Fatal(err)
	}
	vms, set, err := Guests(k)
	if err == nil {
		t.Errorf("damaged structures gave %d machines with %d pages and no error", len(vms), set.Len())
	}
	if set.Len() == 0 {
		t.Error("what could be found was not returned")
	}

	m, types = kvmMachine(false)
	m.mem.Put32(slotsPhys+8, 1<<30)
	k = m.open(t)
	if err := k.UseBTF(types.Bytes()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Guests(k); err == nil {
		t.Error("2^30 slots gave no error")
	}
}

// TestGuestsNone has no KVM.
func TestGuestsNone(t *testing.T) {
	m := newMachine(forms()[3])
	m.sparse()
	b := layouttest.NewBTF()
	u64 := b.Int("unsigned long", 8)
	b.Struct("module", 64, layouttest.Member{Name: "list", Type: u64}, layouttest.Member{Name: "name", Type: u64, Bits: 64})
	m.mem.Zero(kvmPhys, 4096)
	m.mem.Put64(kvmPhys, virt(kvmPhys))
	fmt.Fprintf(&m.info, "SYMBOL(modules)=%x\n", virt(kvmPhys))
	k := m.open(t)
	if err := k.UseBTF(b.Bytes()); err != nil {
		t.Fatal(err)
	}
	vms, set, err := Guests(k)
	if err != nil || len(vms) != 0 || set.Len() != 0 {
		t.Errorf("%d machines, %d pages, %v", len(vms), set.Len(), err)
	}
	// A module of that name without symbols is an error, not "none".
	mod := uint64(kvmPhys + 0x100)
	m.mem.Put64(kvmPhys, virt(mod))
	m.mem.Put64(mod, virt(kvmPhys))
	m.mem.Put64(mod+8, binary.LittleEndian.Uint64([]byte("kvm\x00\x00\x00\x00\x00")))
	if _, _, err := Guests(k); err == nil {
		t.Error("a module kvm without symbols gave no error")
	}
}
