package small

import (
	"fmt"
	"strings"

	"procdump/kernel/layout"
)

// Parts of the budget, in bytes of MaxSize; with a smaller budget they shrink
// in proportion.
const (
	keepForLog     = 12 << 10 // at least
	keepForOthers  = 24 << 10 // processors and threads other than the first, at most
	keepForModules = 16 << 10 // struct module of all modules, at most
	// keepForMissing is kept for what the note says at last.
	keepForMissing = 512
	// otherStack is how much of the stacks of tasks is taken that the dump is
	// not about.
	otherStack = 1 << 10
)

// subject is a task that the dump is about, or a processor with what it ran.
type subject struct {
	cpu      int // its place among the processors' notes; -1: none
	task     layout.Task
	known    bool   // task is
	prstatus []byte // nil if its registers are not known
	sp, ip   uint64 // of these, 0 if in user mode
	stack    int    // bytes of its kernel stack in the dump
	shown    bool   // it is listed in the note
	blank    bool   // its note has zeros for registers
	empty    bool   // its note has nothing
}

type builder struct {
	k       *layout.Kernel
	options Options
	budget  int
	live    bool
	mem     pieces
	facts   Note
	cpus    []subject // of a crash: all processors in order
	first   *subject
	others  []*subject // in the order of importance
	notes   int        // bytes of the notes but the JSON
	modules []layout.Module
	tail    *layout.LogTail // what is in the dump
	thread  uint64          // THREAD_SIZE
}

func newBuilder(k *layout.Kernel, o Options) (*builder, error) {
	b := &builder{k: k, options: o, budget: o.Budget}
	k.Space.Refresh()
	// QEMU dumps kernels that panicked without a crash kernel, which would have
	// noted the time.
	panicked, _ := k.PanicCPU()
	b.live = k.Info.CrashTime().IsZero() && panicked < 0
	if b.budget <= 0 || b.budget > MaxSize {
		b.budget = MaxSize
	}
	b.mem.space = k.Space
	b.thread = max(16<<10, k.Space.PageSize())
	if t, err := k.BTF(); err != nil {
		b.miss("structures, the log excepted: %v", err)
	} else if n, err := t.Size("thread_union"); err == nil && n >= 4096 && n <= 1<<20 && n&(n-1) == 0 {
		b.thread = n
	}
	if o.PID < 0 || o.PID > 1<<22 {
		return nil, fmt.Errorf("dump the kernel side of process %d: there is no such number", o.PID)
	}
	if err := b.findSubjects(); err != nil {
		return nil, err
	}
	return b, nil
}

// share is a part of the budget.
func (b *builder) share(n int) int { return n * b.budget / MaxSize }

// miss notes what is not in the dump.
func (b *builder) miss(format string, args ...any) {
	const most = 12
	if len(b.facts.Missing) < most {
		b.facts.Missing = append(b.facts.Missing, clean(fmt.Sprintf(format, args...), 160))
	}
}

// clean makes text from damaged memory fit for the note: printable, and no
// longer than limit bytes.
func clean(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r == '\n' {
			return ' '
		}
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	if len(s) > limit {
		s = s[:limit-3] + "..."
	}
	return s
}

// room is the limit for the cost of b.mem that leaves keep bytes of the file.
func (b *builder) room(keep int) int {
	return b.budget - ehdrSize - phdrSize - b.notes - b.noteSize() - keepForMissing - keep
}

// fill collects all parts, in the order in which they count.
func (b *builder) fill() {
	b.describe()
	b.countNotes()
	log := b.share(keepForLog)
	b.addSubject(b.first, b.room(log), true)
	b.addPID(b.first, b.room(log))
	b.addGlobals(b.room(log))
	before := b.mem.cost
	for _, s := range b.others {
		b.addSubject(s, min(before+b.share(keepForOthers), b.room(log)), false)
	}
	for _, s := range b.others {
		b.addPID(s, b.room(log))
	}
	b.addModules(b.room(log))
	b.addLog()
}

// addGlobals adds variables of the kernel that debuggers read at their start.
func (b *builder) addGlobals(limit int) {
	count := uint64(max(len(b.cpus), 1))
	if a, err := b.k.Symbol("nr_cpu_ids"); err == nil {
		if n, err := b.k.Space.Uint32(a); err == nil && n > 0 && n <= 8192 {
			count = max(count, uint64(n))
		}
	}
	mask := (count + 63) / 64 * 8
	for _, v := range []struct {
		name string
		size uint64
	}{
		{"crashing_cpu", 4}, {"panic_cpu", 4}, {"nr_cpu_ids", 4},
		{"page_offset_base", 8}, {"vmalloc_base", 8}, {"vmemmap_base", 8}, {"memstart_addr", 8},
		{"init_uts_ns", b.size("uts_namespace", 408)}, {"linux_banner", 256},
		{"tainted_mask", 8}, {"jiffies_64", 8}, {"modules", 16},
		{"__cpu_online_mask", mask}, {"__cpu_possible_mask", mask}, {"__cpu_present_mask", mask},
		{"__per_cpu_offset", 8 * min(count, 256)},
	} {
		if a, err := b.k.Symbol(v.name); err == nil {
			b.mem.add(a, v.size, limit)
		}
	}
	if v, _ := b.k.Info.Number("pgtable_l5_enabled"); v == 1 {
		for _, name := range []string{"pgdir_shift", "ptrs_per_p4d", "__pgtable_l5_enabled"} {
			if a, err := b.k.Symbol(name); err == nil {
				b.mem.add(a, 4, limit)
			}
		}
	}
	b.addRunQueues(limit)
}

// addRunQueues adds which task each processor runs, of the first subject's
// before the others'.
func (b *builder) addRunQueues(limit int) {
	rq, err := b.k.Symbol("runqueues")
	if err != nil {
		return
	}
	curr, err := b.k.Field("rq", "curr")
	if err != nil {
		return
	}
	limit = min(limit, b.mem.cost+b.share(4<<10))
	if b.options.PID != 0 {
		return
	}
	for _, s := range append([]*subject{b.first}, b.others...) {
		if a, err := b.k.PerCPU(rq, s.cpu); err == nil {
			b.mem.add(a+curr.Offset, curr.Size, limit)
		}
	}
}

// size is that of a structure by the type data, else usual.
func (b *builder) size(structure string, usual uint64) uint64 {
	if t, err := b.k.BTF(); err == nil {
		if n, err := t.Size(structure); err == nil {
			return n
		}
	}
	return usual
}

// addPID adds what leads from the number of a subject to its task.
func (b *builder) addPID(s *subject, limit int) {
	if !s.shown || !s.known || s.task.PID == 0 {
		return
	}
	_, path, err := b.k.FindTask(s.task.PID)
	for _, r := range path {
		b.mem.add(r.Addr, r.Size, limit)
	}
	if err != nil && s == b.first {
		b.miss("%v", err)
	}
}

// addModules adds struct module of each module. Where there is no room for
// that it is the part that leads from one to the next and names it; the module
// that the first task was in is whole if possible.
func (b *builder) addModules(limit int) {
	size := b.size("module", 0)
	name, err := b.k.Field("module", "name")
	list, err2 := b.k.Field("module", "list")
	if size == 0 || err != nil || err2 != nil || len(b.modules) == 0 {
		return
	}
	limit = min(limit, b.mem.cost+b.share(keepForModules))
	fits := func(each uint64) bool { return b.mem.cost+len(b.modules)*(int(each)+phdrSize) <= limit }
	switch from, to := min(name.Offset, list.Offset), max(name.Offset+name.Size, list.Offset+list.Size); {
	case fits(size):
		for _, m := range b.modules {
			b.mem.add(m.Addr, size, limit)
		}
		return
	case fits(to - from):
		b.miss("struct module of %d modules, but for their names: no room", len(b.modules))
		for _, m := range b.modules {
			b.mem.add(m.Addr+from, to-from, limit)
		}
	default:
		b.miss("struct module of %d modules: no room", len(b.modules))
	}
	for _, m := range b.modules {
		if m.Contains(b.first.ip) {
			b.mem.add(m.Addr, size, limit)
		}
	}
}

// addLog adds the end of the log with what room is left.
func (b *builder) addLog() {
	// Each of three rings may wrap, which makes two pieces of data and one or
	// two of zeros, and each pointer is one of its own.
	const headers = 14 * phdrSize
	limit := b.room(b.padding(b.mem.dataSize()))
	t, err := b.k.LogTail(uint64(max(limit-b.mem.cost-headers, 0)))
	if err != nil {
		b.miss("log: %v", err)
		return
	}
	for _, r := range t.Head {
		b.mem.add(r.Addr, r.Size, limit)
	}
	for _, r := range t.Kept {
		b.mem.add(r.Addr, r.Size, limit)
	}
	for _, r := range t.Buffers {
		b.mem.addZero(r, limit)
	}
	b.tail = t
	if raw := b.mem.bytes(t.First, 4); t.First != 0 && raw != nil {
		le.PutUint32(raw, t.FirstValue)
	}
}

// symbol names an address of code: "sysrq_handle_crash+0x16", with the module
// in brackets behind; "" if it is not known.
func (b *builder) symbol(addr uint64) string {
	const most = 1 << 20
	for _, m := range b.modules {
		if !m.Contains(addr) {
			continue
		}
		if s, err := b.k.ModuleSymbols(m); err == nil {
			if sym, off, ok := s.Find(addr); ok && off < most {
				return fmt.Sprintf("%s+%#x [%s]", sym.Name, off, m.Name)
			}
		}
		return fmt.Sprintf("%#x [%s]", addr, m.Name)
	}
	s, err := b.k.Symbols()
	if err != nil {
		return ""
	}
	if sym, off, ok := s.Find(addr); ok && off < most {
		return fmt.Sprintf("%s+%#x", sym.Name, off)
	}
	return ""
}

// inKernel tells whether an address may be one of the kernel: both machines
// have it in the upper half.
func inKernel(addr uint64) bool { return int64(addr) < 0 }
