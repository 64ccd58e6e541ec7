package pages

import (
	"fmt"

	"procdump/kernel/layout"
)

// VM is a virtual machine of KVM that runs on the host.
type VM struct {
	PID   int // of the process that owns it; 0 if unknown
	Slots []Slot
	// Pages is how many pages of the host its memory takes.
	Pages uint64
}

// Slot is a range of a virtual machine's memory.
type Slot struct {
	GuestAddr uint64 // physical address in the guest
	Size      uint64 // bytes
	HostAddr  uint64 // virtual address in the process
}

const (
	// maxVMs and maxSlots bound what is read from damaged memory.
	// KVM_USER_MEM_SLOTS is 32,764, for two address spaces.
	maxVMs   = 1 << 16
	maxSlots = 1 << 17
)

// Guests finds the memory of all virtual machines of KVM in the kernel: the
// pages that their processes have mapped at the memory slots. No virtual
// machines are no error. With an error, what could be found is returned.
//
// It needs the symbols and the type data of the kernel and of the module kvm.
// Memory that only the guest can reach (guest_memfd, since 6.8) is mapped in no
// process and is not found.
func Guests(k *layout.Kernel) ([]VM, *Set, error) {
	set := &Set{}
	g, err := openGuests(k)
	if g == nil || err != nil {
		return nil, set, err
	}
	g.set = set
	var vms []VM
	err = k.List(g.list, g.vmList.Offset, func(addr uint64) bool {
		vm, err := g.vm(addr)
		if err != nil && g.err == nil {
			g.err = err
		}
		vms = append(vms, vm)
		return len(vms) < maxVMs
	})
	if err == nil {
		err = g.err
	}
	if err != nil {
		err = fmt.Errorf("find memory of virtual machines: %w", err)
	}
	return vms, set, err
}

// guests reads the structures of KVM.
type guests struct {
	k     *layout.Kernel
	types *layout.BTF
	list  uint64 // address of vm_list
	set   *Set
	err   error // the first that did not stop the search
	// Bounds on page tables that lead in circles: mapped pages that may still
	// be seen, and walks that failed.
	budget uint64
	failed int

	vmList, mm, slots, pid    layout.Field // of struct kvm
	pgd                       layout.Field // of struct mm_struct
	tree, index               layout.Field // of struct kvm_memslots, since 5.17 …
	array, used               layout.Field // … and before
	node, gfn, npages, host   layout.Field // of struct kvm_memory_slot
	nodeSize, rbLeft, rbRight uint64
}

// openGuests finds KVM's list of virtual machines; nil without an error if KVM
// is not there.
func openGuests(k *layout.Kernel) (*guests, error) {
	// Slots of several machines may share memory, but not all of it many times.
	g := &guests{k: k, budget: 8*k.Dump().Pages() + 1<<20}
	types, err := k.BTF()
	if err != nil {
		return nil, fmt.Errorf("find memory of virtual machines: %w", err)
	}
	g.types = types
	modules, err := k.Modules()
	for _, m := range modules {
		if m.Name != "kvm" {
			continue
		}
		symbols, err := k.ModuleSymbols(m)
		if err != nil {
			return nil, err
		}
		var ok bool
		if g.list, ok = symbols.Lookup("vm_list"); !ok {
			return nil, &layout.MissingError{What: "symbol vm_list of module kvm"}
		}
		if g.types, err = k.ModuleBTF(m); err != nil {
			return nil, err
		}
		return g, g.fields()
	}
	if g.list, _ = k.Symbol("vm_list"); g.list != 0 { // KVM is part of the kernel
		return g, g.fields()
	}
	if err != nil {
		return nil, fmt.Errorf("find module kvm: %w", err)
	}
	return nil, nil
}

// fieldOf says which member goes where.
type fieldOf struct {
	to                *layout.Field
	structure, member string
}

func (g *guests) fields() error {
	need := []fieldOf{
		{&g.vmList, "kvm", "vm_list"}, {&g.mm, "kvm", "mm"}, {&g.slots, "kvm", "memslots"}, {&g.pgd, "mm_struct", "pgd"},
		{&g.gfn, "kvm_memory_slot", "base_gfn"}, {&g.npages, "kvm_memory_slot", "npages"}, {&g.host, "kvm_memory_slot", "userspace_addr"},
	}
	if _, err := g.types.Field("kvm_memslots", "gfn_tree"); err == nil {
		need = append(need, fieldOf{&g.tree, "kvm_memslots", "gfn_tree.rb_node"}, fieldOf{&g.index, "kvm_memslots", "node_idx"},
			fieldOf{&g.node, "kvm_memory_slot", "gfn_node"})
	} else {
		need = append(need, fieldOf{&g.array, "kvm_memslots", "memslots"}, fieldOf{&g.used, "kvm_memslots", "used_slots"})
	}
	for _, f := range need {
		v, err := g.types.Field(f.structure, f.member)
		if err != nil {
			return fmt.Errorf("find memory of virtual machines: %w", err)
		}
		*f.to = v
	}
	g.pid, _ = g.types.Field("kvm", "userspace_pid")
	if g.node.Elem != 0 {
		g.nodeSize = g.node.Elem
		left, err := g.types.Field("rb_node", "rb_left")
		right, err2 := g.types.Field("rb_node", "rb_right")
		if err != nil || err2 != nil {
			return &layout.MissingError{What: "struct rb_node in its type data"}
		}
		g.rbLeft, g.rbRight = left.Offset, right.Offset
	}
	return nil
}

// vm reads the virtual machine whose struct kvm is at addr.
func (g *guests) vm(addr uint64) (VM, error) {
	var vm VM
	if g.pid.Size != 0 {
		pid, _ := g.k.ReadField(addr, g.pid)
		vm.PID = int(int32(pid))
	}
	before := g.set.Len()
	mm, err := g.k.ReadField(addr, g.mm)
	if err != nil {
		return vm, err
	}
	pgd, err := g.k.ReadField(mm, g.pgd)
	if err != nil {
		return vm, err
	}
	root, _, err := g.k.Space.Translate(pgd)
	if err != nil {
		return vm, err
	}
	// One set of slots for each address space; on x86 the second is that of
	// system management mode, with the same memory.
	spaces := min(max(g.slots.Len, 1), 8)
	for i := range spaces {
		slots, err := g.k.Space.Uint64(addr + g.slots.Offset + i*8)
		if err != nil {
			return vm, err
		}
		if slots == 0 {
			continue
		}
		found, err := g.slotsOf(slots)
		if err != nil && g.err == nil {
			g.err = err
		}
		for _, s := range found {
			if i == 0 {
				vm.Slots = append(vm.Slots, s)
			}
			g.add(root, s)
		}
	}
	vm.Pages = g.set.Len() - before
	return vm, nil
}

// add puts the pages that are mapped at a slot into the set.
func (g *guests) add(root uint64, s Slot) {
	page := g.k.Space.PageSize()
	const maxFailed = 64
	if s.HostAddr+s.Size < s.HostAddr || g.failed > maxFailed || g.budget == 0 {
		return
	}
	err := g.k.Space.Walk(root, s.HostAddr, s.HostAddr+s.Size, func(m layout.Mapping) bool {
		n := min(m.Size/page, g.budget)
		if g.budget -= n; g.budget == 0 {
			return false
		}
		// Only what is RAM: a slot may also map a device.
		for _, r := range g.k.Dump().Runs {
			from, to := max(m.Phys, r.Addr), min(m.Phys+m.Size, r.End())
			if from < to {
				g.set.Add(from/page, (to-from+page-1)/page)
			}
		}
		return true
	})
	if err == nil && g.budget == 0 {
		err = fmt.Errorf("pages: virtual machines have more memory mapped than there is: implausible")
	}
	if err != nil {
		g.failed++
		if g.err == nil {
			g.err = err
		}
	}
}

func (g *guests) slotsOf(slots uint64) ([]Slot, error) {
	if g.nodeSize == 0 {
		return g.slotsOfArray(slots)
	}
	index, err := g.k.ReadField(slots, g.index)
	if err != nil {
		return nil, err
	}
	if index >= max(g.node.Len, 1) {
		return nil, fmt.Errorf("pages: memory slots of a virtual machine have tree %d: implausible", index)
	}
	node := g.node.Offset + index*g.nodeSize
	top, err := g.k.ReadField(slots, g.tree)
	if err != nil {
		return nil, err
	}
	var out []Slot
	seen := make(map[uint64]bool)
	for todo := []uint64{top}; len(todo) > 0; {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if at == 0 {
			continue
		}
		if seen[at] || len(out) >= maxSlots {
			return out, fmt.Errorf("pages: tree of memory slots of a virtual machine leads in a circle after %d slots", len(out))
		}
		seen[at] = true
		s, err := g.slot(at - node)
		if err != nil {
			return out, err
		}
		out = append(out, s)
		for _, child := range []uint64{g.rbLeft, g.rbRight} {
			p, err := g.k.Space.Uint64(at + child)
			if err != nil {
				return out, err
			}
			todo = append(todo, p)
		}
	}
	return out, nil
}

func (g *guests) slotsOfArray(slots uint64) ([]Slot, error) {
	n, err := g.k.ReadField(slots, g.used)
	if err != nil {
		return nil, err
	}
	if n > maxSlots || g.array.Elem == 0 {
		return nil, fmt.Errorf("pages: %d memory slots of a virtual machine: implausible", n)
	}
	var out []Slot
	for i := range n {
		s, err := g.slot(slots + g.array.Offset + i*g.array.Elem)
		if err != nil {
			return out, err
		}
		out = append(out, s)
	}
	return out, nil
}

func (g *guests) slot(addr uint64) (Slot, error) {
	var v [3]uint64
	for i, f := range []layout.Field{g.gfn, g.npages, g.host} {
		x, err := g.k.ReadField(addr, f)
		if err != nil {
			return Slot{}, err
		}
		v[i] = x
	}
	page := g.k.Space.PageSize()
	if v[1] > 1<<52/page {
		return Slot{}, fmt.Errorf("pages: memory slot of %d pages: implausible", v[1])
	}
	return Slot{GuestAddr: v[0] * page, Size: v[1] * page, HostAddr: v[2]}, nil
}
