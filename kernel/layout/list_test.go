package layout

import (
	"fmt"
	"testing"

	"procdump/kernel/layout/layouttest"
)

func TestList(t *testing.T) {
	k := newX86(4, 0xffff888000000000)
	head := k.put(0, make([]byte, 16))
	nodes := make([]uint64, 5)
	for i := range nodes {
		nodes[i] = k.put(0, make([]byte, 64)) + 24
	}
	link := func(from, to uint64) { k.mem.Put64(k.phys(from), to) }
	link(head, nodes[0])
	for i := range nodes {
		link(nodes[i], append(nodes, head)[i+1])
	}
	kernel := k.open(t)
	walk := func() (n int, err error) {
		err = kernel.List(head, 24, func(addr uint64) bool {
			if addr != nodes[n%len(nodes)]-24 {
				t.Errorf("element %d at %#x, want %#x", n, addr, nodes[n%len(nodes)]-24)
			}
			n++
			return true
		})
		return n, err
	}
	if n, err := walk(); n != 5 || err != nil {
		t.Errorf("%d elements, %v", n, err)
	}
	link(nodes[4], nodes[0]) // a loop that does not go through the head
	if n, err := walk(); err == nil || n < 5 || n > 20 {
		t.Errorf("%d elements of a loop, %v", n, err)
	}
	link(nodes[4], nodes[4])
	if n, err := kernelList(kernel, head); err == nil || n > 20 {
		t.Errorf("%d elements of a loop of one, %v", n, err)
	}
	link(nodes[2], 0)
	if n, err := walk(); err == nil || n != 3 {
		t.Errorf("%d elements before a null pointer, %v", n, err)
	}
	link(nodes[2], 0xffffc90000000000)
	if _, err := kernelList(kernel, head); err == nil {
		t.Error("a list into unmapped memory gave no error")
	}
	link(head, head)
	if n, err := walk(); n != 0 || err != nil {
		t.Errorf("%d elements of an empty list, %v", n, err)
	}
}

func kernelList(k *Kernel, head uint64) (n int, err error) {
	err = k.List(head, 24, func(uint64) bool { n++; return true })
	return n, err
}

func TestTaskState(t *testing.T) {
	for state, want := range map[uint64]byte{
		0: 'R', 1: 'S', 2: 'D', 0x402: 'I', 0x4: 'T', 0x8: 't', 0x10: 'X', 0x20: 'Z', 0x40: 'P',
		0x102: 'D', 0x2001: 'S', 0x100: 'R', 0x404: 'T', 0x22: 'Z',
	} {
		if got := taskState(state); got != want {
			t.Errorf("state %#x is %c, want %c", state, got, want)
		}
	}
}

func TestModuleContains(t *testing.T) {
	m := Module{Areas: []ModuleArea{{0x1000, 0x2000}, {0x8000, 0x1000}}}
	for addr, want := range map[uint64]bool{0xfff: false, 0x1000: true, 0x2fff: true, 0x3000: false, 0x8fff: true, 0x9000: false} {
		if m.Contains(addr) != want {
			t.Errorf("module contains %#x: %v", addr, m.Contains(addr))
		}
	}
	if m.Base() != 0x1000 || m.Size() != 0x3000 || (Module{}).Base() != 0 {
		t.Errorf("base %#x, size %#x", m.Base(), m.Size())
	}
}

// TestUnloadedModules reads the list of modules that tainted the kernel.
func TestUnloadedModules(t *testing.T) {
	k := newX86(4, 0xffff888000000000)
	b := layouttest.NewBTF()
	u64 := b.Int("unsigned long", 8)
	list := b.Struct("list_head", 16, layouttest.Member{Name: "next", Type: u64})
	b.Struct("mod_unload_taint", 96, layouttest.Member{Name: "list", Type: list}, layouttest.Member{Name: "name", Type: b.Array(b.Int("char", 1), 56), Bits: 128},
		layouttest.Member{Name: "taints", Type: u64, Bits: 576}, layouttest.Member{Name: "count", Type: u64, Bits: 640})
	head, node := k.put(0, make([]byte, 16)), k.put(0, make([]byte, 96))
	k.mem.Put64(k.phys(head), node)
	k.mem.Put64(k.phys(node), head)
	k.mem.Write(k.phys(node)+16, []byte("rootkit\x00"))
	k.mem.Put64(k.phys(node)+72, 0x3000)
	k.mem.Put64(k.phys(node)+80, 2)
	fmt.Fprintf(&k.info, "SYMBOL(unloaded_tainted_modules)=%x\n", head)
	kernel := k.open(t)
	if err := kernel.UseBTF(b.Bytes()); err != nil {
		t.Fatal(err)
	}
	got, err := kernel.UnloadedModules()
	if err != nil || len(got) != 1 || got[0] != (UnloadedModule{"rootkit", 0x3000, 2}) {
		t.Errorf("unloaded modules %+v, %v", got, err)
	}
}

// TestTaskCut reads a task of which part is not in the dump.
func TestTaskCut(t *testing.T) {
	k := newX86(4, 0xffff888000000000)
	b := layouttest.NewBTF()
	u64, u32 := b.Int("unsigned long", 8), b.Int("int", 4)
	b.Struct("task_struct", 4096, layouttest.Member{Name: "tasks", Type: u64}, layouttest.Member{Name: "pid", Type: u32, Bits: 64},
		layouttest.Member{Name: "tgid", Type: u32, Bits: 96}, layouttest.Member{Name: "comm", Type: b.Array(b.Int("char", 1), 16), Bits: 128},
		layouttest.Member{Name: "__state", Type: u32, Bits: 256}, layouttest.Member{Name: "stack", Type: u64, Bits: 2048 * 8}, layouttest.Member{Name: "cpu", Type: u32, Bits: 2056 * 8})
	addr := k.put(0, make([]byte, 4096))
	k.mem.Put32(k.phys(addr)+8, 12)
	k.mem.Put32(k.phys(addr)+12, 11)
	k.mem.Write(k.phys(addr)+16, []byte("worker\x00"))
	k.mem.Put32(k.phys(addr)+32, 2)
	k.mem.Put64(k.phys(addr)+2048, 0x5000)
	kernel := k.open(t)
	if err := kernel.UseBTF(b.Bytes()); err != nil {
		t.Fatal(err)
	}
	got, err := kernel.Task(addr)
	want := Task{Addr: addr, PID: 12, TGID: 11, Comm: "worker", State: 'D', Stack: 0x5000}
	if err != nil || got != want {
		t.Errorf("task %+v (%v), want %+v", got, err, want)
	}
	k.mem.Drop(k.phys(addr) + 2048)
	want.Stack, want.CPU = 0, -1
	if got, err := kernel.Task(addr); err != nil || got != want {
		t.Errorf("task without its second half %+v (%v), want %+v", got, err, want)
	}
	k.mem.Drop(k.phys(addr))
	if _, err := kernel.Task(addr); err == nil {
		t.Error("a task that is not there was read")
	}
}
