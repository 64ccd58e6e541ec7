package small

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"

	"procdump/kdump"
	"procdump/kernel/layout"
)

var le = binary.LittleEndian

// findSubjects finds the tasks that the dump is about. A crash is about what
// the processors ran, the panicking one first; a running kernel about the
// threads of a process.
func (b *builder) findSubjects() error {
	if b.options.PID != 0 {
		return b.findThreads()
	}
	numbers, _ := b.k.CPUs()
	cpus := b.k.Dump().CPUs
	if len(cpus) > 1<<13 {
		b.miss("processors from number %d on", 1<<13)
		cpus = cpus[:1<<13]
	}
	b.cpus = make([]subject, len(cpus))
	for i := range cpus {
		s := &b.cpus[i]
		// The kernel leaves out processors that are offline; the first note is
		// that of the first one that is online.
		if s.cpu = i; len(numbers) == len(cpus) {
			s.cpu = numbers[i]
		}
		if !b.live {
			s.readRegisters(b.k, cpus[i])
		}
		task, err := b.k.CurrentTask(s.cpu)
		s.task, s.known = task, err == nil
		if s.known && s.prstatus != nil && b.k.Info.CrashTime().IsZero() {
			// QEMU numbers its notes from 1 on. Drgn takes the registers of a task
			// from the note with its number only.
			kdump.SetPRStatusPID(b.k.Machine, s.prstatus, task.PID)
		}
	}
	if len(b.cpus) == 0 {
		b.cpus = []subject{{}}
		b.miss("registers: the dump has none")
	}
	at := b.panicking()
	b.first = &b.cpus[at]
	for i := range b.cpus {
		if i != at {
			b.others = append(b.others, &b.cpus[i])
		}
	}
	if !b.live {
		b.findBlocked()
	}
	// An idle processor tells least.
	slices.SortStableFunc(b.others, func(x, y *subject) int { return cmp.Compare(x.idle(), y.idle()) })
	return nil
}

// findBlocked adds tasks that wait and cannot be interrupted: what hangs is
// often among them, and khungtaskd panics because of one.
func (b *builder) findBlocked() {
	const most, look = 6, 1 << 16
	found, seen := 0, 0
	// A list that is damaged has told some.
	_ = b.k.Tasks(func(t layout.Task) bool {
		if t.State == 'D' && !t.OnCPU && t.SP != 0 {
			s := &subject{cpu: -1, task: t, known: true}
			_, s.sp, s.ip = b.sleeping(t)
			b.others = append(b.others, s)
			found++
		}
		seen++
		return found < most && seen < look
	})
}

// idle is 1 for a processor that ran its idle task, else 0.
func (s *subject) idle() int {
	if s.known && s.task.PID == 0 {
		return 1
	}
	return 0
}

// busy is the first processor that is not idle.
func (b *builder) busy() int {
	return max(slices.IndexFunc(b.cpus, func(s subject) bool { return s.known && s.idle() == 0 }), 0)
}

// panicking is the place of the processor that panicked.
func (b *builder) panicking() int {
	b.facts.CPU = -1
	n, _ := b.k.PanicCPU()
	if n < 0 && !b.live {
		n = b.loggedCPU()
	}
	if n >= 0 {
		if i := slices.IndexFunc(b.cpus, func(s subject) bool { return s.cpu == n }); i >= 0 {
			b.facts.CPU = n
			return i
		}
	}
	if !b.live && len(b.cpus) > 1 {
		b.miss("which processor panicked: neither crashing_cpu nor panic_cpu nor the log tells")
	}
	return b.busy()
}

// loggedCPU is the number of the processor that panicked as the log tells it,
// else -1.
func (b *builder) loggedCPU() int {
	log := b.panicLog()
	for i := len(log) - 1; i >= 0; i-- {
		if m := oopsCPU.FindStringSubmatch(log[i].Text); m != nil {
			if n, err := strconv.Atoi(m[1]); err == nil {
				return n
			}
		}
	}
	return -1
}

// readRegisters takes a processor's registers from its note.
func (s *subject) readRegisters(k *layout.Kernel, c kdump.CPU) {
	regs := registersOf(k.Machine, c.PRStatus)
	if regs == nil {
		return
	}
	s.prstatus = slices.Clone(c.PRStatus)
	ip, sp := regs.pair(k.Machine)
	if inKernel(ip) {
		s.ip = ip
	}
	if inKernel(sp) {
		s.sp = sp
	}
}

// findThreads finds the threads of a process, the one that was named first.
func (b *builder) findThreads() error {
	task, _, err := b.k.FindTask(b.options.PID)
	if err != nil {
		return fmt.Errorf("dump the kernel side of process %d: %w", b.options.PID, err)
	}
	b.facts.CPU = -1
	b.first = &subject{cpu: -1, task: task, known: true}
	const most = 256 // more find no room
	if err := b.k.Threads(task, func(t layout.Task) bool {
		if t.Addr != task.Addr {
			b.others = append(b.others, &subject{cpu: -1, task: t, known: true})
		}
		return len(b.others) < most
	}); err != nil {
		b.miss("%v", err)
	}
	return nil
}

// addSubject adds a task's stack, the code that it is in and its task_struct:
// whole if it is the first, else the parts that tell which task it is.
func (b *builder) addSubject(s *subject, limit int, first bool) {
	if !first && b.mem.cost+b.share(otherStack) > limit {
		return // not half of it
	}
	if b.options.PID != 0 {
		b.addThread(s, limit-b.prstatusNote(), first)
		return
	}
	most := uint64(otherStack)
	if first {
		most = b.thread
	}
	b.addState(s, most, limit, first)
}

// addState adds what is known of a subject.
func (b *builder) addState(s *subject, most uint64, limit int, first bool) {
	if s.sp != 0 {
		s.stack = b.addStack(s, min(most, uint64(b.budget)/3), limit)
	}
	if s.ip != 0 {
		b.mem.add(s.ip&^63-64, 128, limit)
	}
	if s.stack > 0 && s.known {
		b.addEntry(s.task.Stack+b.thread, limit)
	}
	if s.known {
		b.addTask(s.task.Addr, first, limit)
	}
	s.shown = s.known || s.stack > 0
}

// addEntry adds the beginning of the code by which the kernel was entered, whose
// address is below the user's registers at the top of the stack: gdb looks at it
// and ends a backtrace with an error where it is missing. On x86-64 with FRED 16
// bytes are above the registers.
func (b *builder) addEntry(top uint64, limit int) {
	regs := b.size("pt_regs", 168)
	for _, padding := range []uint64{0, 16} {
		raw := b.mem.bytes(top-padding-regs-8, 8)
		if raw == nil || !inKernel(le.Uint64(raw)) {
			continue
		}
		addr := le.Uint64(raw)
		b.mem.add(addr&^15-16, 48, limit)
		const most = 1 << 10 // bytes of that code
		if start, err := b.k.Symbol("entry_SYSCALL_64"); err == nil && addr-start < most {
			b.mem.add(start, 32, limit)
		}
	}
}

// addThread adds a thread of a running machine. If it ran meanwhile it is read
// again: registers, stack and task_struct have to be of one moment.
func (b *builder) addThread(s *subject, limit int, first bool) {
	for try := 1; ; try++ {
		mark := b.mem.mark()
		if t, err := b.k.Task(s.task.Addr); err == nil {
			s.task = t
		}
		switches := b.switches(s.task.Addr)
		s.prstatus, s.sp, s.ip = nil, 0, 0
		if !s.task.OnCPU && s.task.SP != 0 {
			s.prstatus, s.sp, s.ip = b.sleeping(s.task)
		}
		b.addState(s, b.thread, limit, first)
		if s.prstatus == nil {
			b.miss("kernel stack of thread %d: it was running", s.task.PID)
			return
		}
		if b.switches(s.task.Addr) == switches || !b.live {
			break
		}
		if try == 3 {
			b.miss("thread %d ran while it was dumped: its stack may not fit together", s.task.PID)
			break
		}
		b.mem.reset(mark)
	}
	b.notes += b.prstatusNote()
}

// addTask adds a struct task_struct.
func (b *builder) addTask(addr uint64, whole bool, limit int) {
	if size := b.size("task_struct", 0); whole && size > 0 && b.mem.cost+int(size)+phdrSize < limit {
		b.mem.add(addr, size, limit)
		return
	}
	for _, path := range []string{"thread_info.flags", "thread_info.cpu", "cpu", "__state", "state", "exit_state", "stack", "flags", "on_cpu",
		"tasks", "mm", "pid", "tgid", "real_parent", "group_leader", "thread_node", "comm", "signal", "thread.sp", "thread.cpu_context"} {
		if f, err := b.k.Field("task_struct", path); err == nil {
			b.mem.add(addr+f.Offset, f.Size, limit)
		}
	}
}

// redZone is what is added below a stack pointer.
const redZone = 64

// addStack adds the part of a kernel stack that is in use and returns how many
// bytes of it there are. A processor that was interrupted has a second stack:
// that of the interrupt, which leads to the task's own.
func (b *builder) addStack(s *subject, most uint64, limit int) int {
	base := s.task.Stack
	if base == 0 || !s.known {
		base = s.sp &^ (b.thread - 1)
	}
	if s.sp-base < b.thread {
		return b.addPart(s.sp, base+b.thread, most, limit)
	}
	end := b.foreignEnd(s.sp)
	n := b.addPart(s.sp, end, most, limit)
	if s.known && s.task.Stack != 0 {
		if sp := b.interrupted(s.sp, end, base); sp != 0 {
			n += b.addPart(sp, base+b.thread, most, limit)
		}
	}
	return n
}

// foreignEnd is where the stack of an interrupt ends: none is larger than a
// task's, and they end at a multiple of their size or before a page that is
// not mapped.
func (b *builder) foreignEnd(sp uint64) uint64 {
	page := b.k.Space.PageSize()
	for at := sp&^(page-1) + page; ; at += page {
		if at&(b.thread-1) == 0 {
			return at
		}
		if _, _, err := b.k.Space.Translate(at); err != nil {
			return at
		}
	}
}

// addPart adds a stack from sp to its end, or as much of it as allowed.
func (b *builder) addPart(sp, end, most uint64, limit int) int {
	from := max(sp&^7-redZone, (sp-1)&^(b.k.Space.PageSize()-1))
	return int(b.mem.add(from, min(end-from, most), limit))
}

// interrupted finds the stack pointer of a task in the stack of what has
// interrupted it: the lowest address of the task's stack among the last words
// there. The kernel keeps it at the very end (call_on_stack of
// arch/x86/include/asm/irq_stack.h), and so do the registers that the processor
// pushes.
func (b *builder) interrupted(sp, end, base uint64) uint64 {
	const words = 8
	lowest := uint64(0)
	for at := max(end-words*8, sp&^7); at < end; at += 8 {
		raw := b.mem.bytes(at, 8)
		if raw == nil {
			continue
		}
		if v := le.Uint64(raw); v-base < b.thread && v&7 == 0 && (lowest == 0 || v < lowest) {
			lowest = v
		}
	}
	return lowest
}

// switches counts how often a task has been taken off its processor.
func (b *builder) switches(task uint64) uint64 {
	var n uint64
	for _, name := range []string{"nvcsw", "nivcsw"} {
		if f, err := b.k.Field("task_struct", name); err == nil {
			v, _ := b.k.ReadField(task, f)
			n += v
		}
	}
	return n
}
