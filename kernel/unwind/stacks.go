package unwind

import (
	"procdump/arch"
	"procdump/kernel/layout"
)

// area is a piece of memory that is a stack.
type area struct {
	name   string // "" for a task's own
	lo, hi uint64
}

func (a area) holds(sp uint64) bool { return a.hi != 0 && sp >= a.lo && sp <= a.hi }

// Where x86-64 maps struct cpu_entry_area of all processors
// (Documentation/arch/x86/x86_64/mm.rst).
var entryArea = area{"entry", 0xfffffe0000000000, 0xfffffe8000000000}

// stacks knows where a kernel's stacks are.
type stacks struct {
	k *layout.Kernel
	// size is that of a task's stack and of that of interrupts.
	size uint64
	cpus map[int][]area
}

// usualStack is THREAD_SIZE without KASAN on x86-64, and on arm64 with pages of
// at most 16 KiB.
const usualStack = 16 << 10

func newStacks(k *layout.Kernel) *stacks {
	s := &stacks{k: k, size: max(usualStack, k.Space.PageSize()), cpus: make(map[int][]area)}
	// The stack of the first task is in the image, between symbols that were
	// renamed in 6.10.
	for _, names := range [][2]string{{"__start_init_stack", "__end_init_stack"}, {"__start_init_task", "__end_init_task"}} {
		from, err := k.Symbol(names[0])
		to, err2 := k.Symbol(names[1])
		if n := to - from; err == nil && err2 == nil && n >= 4<<10 && n <= 256<<10 && n&(n-1) == 0 {
			s.size = n
			break
		}
	}
	return s
}

// of lists the stacks that the trace of a task, or of what a processor does,
// can be on. cpu is -1 for a task that does not run.
func (s *stacks) of(t layout.Task, cpu int) []area {
	var all []area
	if t.Stack != 0 {
		all = append(all, area{lo: t.Stack, hi: t.Stack + s.size})
	}
	if cpu < 0 {
		return all
	}
	own, ok := s.cpus[cpu]
	if !ok {
		if s.k.Machine == arch.ARM64 {
			own = s.arm64(cpu)
		} else {
			own = s.amd64(cpu)
		}
		s.cpus[cpu] = own
	}
	return append(all, own...)
}

// perCPU reads a word of a processor's own memory.
func (s *stacks) perCPU(symbol string, offset uint64, cpu int) (uint64, bool) {
	a, err := s.k.Symbol(symbol)
	if err != nil {
		return 0, false
	}
	if a, err = s.k.PerCPU(a, cpu); err != nil {
		return 0, false
	}
	v, err := s.k.Space.Uint64(a + offset)
	return v, err == nil && v != 0
}

func (s *stacks) amd64(cpu int) []area {
	var all []area
	top, ok := s.perCPU("hardirq_stack_ptr", 0, cpu)
	if !ok {
		if f, err := s.k.Field("pcpu_hot", "hardirq_stack_ptr"); err == nil { // 6.2 to 6.14
			top, ok = s.perCPU("pcpu_hot", f.Offset, cpu)
		}
	}
	if !ok {
		top, ok = s.perCPU("irq_stack_ptr", 0, cpu) // before 5.1
	}
	if ok {
		// Since 5.8 it points 8 bytes below the top.
		top = (top + 15) &^ 15
		all = append(all, area{"irq", top - usualStack, top})
	}
	if base, ok := s.perCPU("cea_exception_stacks", 0, cpu); ok {
		for _, e := range []struct{ member, name string }{
			{"NMI_stack", "nmi"}, {"DF_stack", "exception"}, {"DB_stack", "exception"}, {"DB1_stack", "exception"},
			{"MCE_stack", "exception"}, {"VC_stack", "exception"}, {"VC2_stack", "exception"},
		} {
			if f, err := s.k.Field("cea_exception_stacks", e.member); err == nil && f.Len*f.Elem > 0 && f.Len*f.Elem < 1<<20 {
				all = append(all, area{e.name, base + f.Offset, base + f.Offset + f.Len*f.Elem})
			}
		}
	}
	return append(all, entryArea)
}

func (s *stacks) arm64(cpu int) []area {
	var all []area
	if base, ok := s.perCPU("irq_stack_ptr", 0, cpu); ok {
		all = append(all, area{"irq", base, base + s.size})
	}
	if a, err := s.k.Symbol("overflow_stack"); err == nil {
		if a, err = s.k.PerCPU(a, cpu); err == nil {
			all = append(all, area{"overflow", a, a + 4<<10}) // OVERFLOW_STACK_SIZE
		}
	}
	return all
}

// areaOf returns the stack that sp lies on.
func (w *walker) areaOf(sp uint64) (area, bool) {
	for _, a := range w.areas {
		if a.holds(sp) {
			return a, true
		}
	}
	return area{}, false
}
