package small_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"procdump/arch"
	"procdump/kdump"
	"procdump/kdump/vmcore"
	"procdump/kernel/layout"
	"procdump/kernel/layout/layouttest"
	"procdump/kernel/small"
)

var le = binary.LittleEndian

// Where the made-up kernel's image lies, and where it is linked to.
const (
	image     = 0xffffffff81000000
	imagePhys = 0x1200000 // a phys_base of 2 MiB
	stackSize = 16 << 10
)

// Offsets in the made-up structures.
const (
	taskStack, taskOnCPU, taskCPU, taskTasks     = 8, 16, 20, 24
	taskPID, taskTGID, taskComm, taskState       = 40, 44, 48, 64
	taskSignal, taskNode, taskLinks, taskThread  = 88, 96, 112, 176
	taskSwitches, taskSize                       = 184, 4096
	moduleList, moduleName, moduleBase, moduleSz = 8, 24, 88, 896
)

// machine is what a made-up kernel of x86-64 is.
type machine struct {
	cpus, panicked int // panicked -1: it runs
	modules        int
	threads        int // of process 4000, which sleeps
	messages       int
	text           int // bytes of each message
	descBits       int
	textBits       int
	oldLog         bool // of kernels before 5.10
	noTypes        bool
	noSymbols      bool // nor types
	irq            bool // the panicking processor is on an interrupt's stack
	twice          bool // the log begins with an oops that has the panic's message
	blocked        int  // tasks that wait and cannot be interrupted
}

// world is a made-up kernel.
type world struct {
	machine
	mem     layouttest.Memory
	next    uint64
	info    strings.Builder
	symbols map[string]uint64
	cpuList []kdump.CPU
	log     []string
	modList []string
	sp      uint64 // of the task that panicked
}

func (w *world) phys(va uint64) uint64 { return va - image + imagePhys }

// put stores bytes in the image.
func (w *world) put(b []byte) uint64 {
	at := w.next
	w.next = (w.next + uint64(len(b)) + 63) &^ 63
	w.mem.Write(w.phys(at), b)
	return at
}

func (w *world) put64(at, v uint64)        { w.mem.Put64(w.phys(at), v) }
func (w *world) put32(at uint64, v uint32) { w.mem.Put32(w.phys(at), v) }

// symbol makes a variable.
func (w *world) symbol(name string, b []byte) uint64 {
	w.symbols[name] = w.put(b)
	return w.symbols[name]
}

func newWorld(m machine) *world {
	w := &world{machine: m, next: image + 0x100000, symbols: map[string]uint64{}}
	root := w.put(make([]byte, 4096))
	fmt.Fprintf(&w.info, "OSRELEASE=6.1.0-made-up\nPAGESIZE=4096\nSYMBOL(swapper_pg_dir)=%x\nNUMBER(phys_base)=%d\nNUMBER(KERNEL_IMAGE_SIZE)=1073741824\nKERNELOFFSET=0\n",
		root, imagePhys-0x1000000)
	uts := kdump.Uname{Sysname: "Linux", Nodename: "host", Release: "6.1.0-made-up", Version: "#1", Machine: "x86_64"}.Encode()
	w.symbol("init_uts_ns", append(uts, make([]byte, 10)...))
	w.symbol("crashing_cpu", le.AppendUint32(nil, uint32(m.panicked)))
	w.symbol("nr_cpu_ids", le.AppendUint32(nil, uint32(m.cpus)))
	mask := make([]byte, (m.cpus+63)/64*8)
	for i := range m.cpus {
		mask[i/8] |= 1 << (i % 8)
	}
	w.symbol("__cpu_online_mask", mask)
	w.symbol("tainted_mask", le.AppendUint64(nil, 0x200))
	w.processors()
	w.process()
	w.block()
	w.loadModules()
	if m.oldLog {
		w.recordLog()
	} else {
		w.ringLog()
	}
	if m.panicked >= 0 {
		w.info.WriteString("CRASHTIME=1700000000\n")
	}
	return w
}

// task makes a struct task_struct with a stack.
func (w *world) task(pid, cpu int, comm string) (task, stack uint64) {
	b := make([]byte, taskSize)
	w.next = (w.next + stackSize - 1) &^ (stackSize - 1)
	s := make([]byte, stackSize)
	for i := range s {
		s[i] = byte(pid + i/8)
	}
	stack = w.put(s)
	le.PutUint64(b[taskStack:], stack)
	le.PutUint32(b[taskCPU:], uint32(cpu))
	le.PutUint32(b[taskPID:], uint32(pid))
	le.PutUint32(b[taskTGID:], uint32(pid))
	copy(b[taskComm:], comm)
	return w.put(b), stack
}

// processors gives each processor a task: every second one idles.
func (w *world) processors() {
	w.symbols["runqueues"] = image + 0x1000
	var offsets []byte
	code := w.put(make([]byte, 256)) + 128
	for i := range w.cpus {
		pid := 1000 + i
		if i%2 == 1 && i != w.panicked {
			pid = 0
		}
		task, stack := w.task(pid, i, fmt.Sprintf("task%d", i))
		w.put32(task+taskOnCPU, 1)
		rq := w.put(le.AppendUint64(make([]byte, 8), task))
		offsets = le.AppendUint64(offsets, rq-w.symbols["runqueues"])
		status := kdump.BlankPRStatus(arch.AMD64, 0)
		sp := stack + stackSize - 3000
		if i == w.panicked {
			w.sp = sp
			if w.irq {
				irq := make([]byte, stackSize)
				le.PutUint64(irq[stackSize-8:], sp)
				w.next = (w.next + stackSize - 1) &^ (stackSize - 1)
				sp = w.put(irq) + stackSize - 200
			}
			w.pid(pid, task)
		}
		le.PutUint32(status[32:], uint32(pid))
		le.PutUint64(status[112+16*8:], code)
		le.PutUint64(status[112+19*8:], sp)
		w.cpuList = append(w.cpuList, kdump.CPU{Number: i, PRStatus: status})
	}
	w.symbol("__per_cpu_offset", offsets)
}

// pid makes a number findable: two levels of nodes.
func (w *world) pid(pid int, task uint64) {
	if w.symbols["init_pid_ns"] == 0 {
		w.symbol("init_pid_ns", make([]byte, 64))
	}
	root := w.symbols["init_pid_ns"] + 8
	var raw [8]byte
	w.mem.ReadPhys(raw[:], w.phys(root))
	slot := root
	for _, shift := range []int{6, 0} {
		w.mem.ReadPhys(raw[:], w.phys(slot))
		node := le.Uint64(raw[:]) &^ 3
		if node == 0 {
			b := make([]byte, 576)
			b[0] = byte(shift)
			node = w.put(b)
			w.put64(slot, node|2)
		}
		slot = node + 8 + uint64(pid>>shift&63)*8
	}
	w.put64(slot, w.put(le.AppendUint64(make([]byte, 0, 112), task+taskLinks)))
}

// process makes process 4000 and its threads, which sleep.
func (w *world) process() {
	if w.threads == 0 {
		return
	}
	signal := w.put(make([]byte, 64))
	last := signal
	for i := range w.threads {
		pid := 4000 + i
		task, stack := w.task(pid, 0, "sleeper")
		w.put32(task+taskTGID, 4000)
		w.put32(task+taskState, 1)
		sp := stack + stackSize - 800
		w.put64(sp+48, image+0x2000) // the return address
		w.put64(task+taskThread, sp)
		w.put64(task+taskSignal, signal)
		w.put64(last, task+taskNode)
		last = task + taskNode
		w.pid(pid, task)
	}
	w.put64(last, signal)
}

// block makes the list of tasks, with those that wait.
func (w *world) block() {
	first, _ := w.task(0, 0, "swapper")
	w.symbols["init_task"] = first
	last := first
	for i := range w.blocked {
		task, stack := w.task(3000+i, 0, "blocked")
		sp := stack + stackSize - 800
		w.put32(task+taskState, 2)
		w.put64(sp+48, image+0x2000)
		w.put64(task+taskThread, sp)
		w.put64(last+taskTasks, task+taskTasks)
		last = task
	}
	w.put64(last+taskTasks, first+taskTasks)
}

func (w *world) loadModules() {
	head := w.symbol("modules", make([]byte, 16))
	last := head
	for i := range w.modules {
		b := make([]byte, moduleSz)
		name := fmt.Sprintf("module_%d", i)
		w.modList = append(w.modList, name)
		copy(b[moduleName:], name)
		le.PutUint64(b[moduleBase:], 0xffffffffc0000000+uint64(i)<<16)
		le.PutUint64(b[moduleBase+8:], 4096)
		at := w.put(b)
		w.put64(last, at+moduleList)
		last = at + moduleList
	}
	w.put64(last, head)
}

// message is the nth message of the log. The last ones tell of a panic.
func (w *world) message(n int) string {
	if w.twice {
		switch n {
		case 10:
			return "BUG: kernel NULL pointer dereference, address: 0000000000000000"
		case 11:
			return "Oops: 9999 [#1] PREEMPT SMP NOPTI"
		case 12:
			return "RIP: 0010:first_function+0x1/0x2"
		case 13:
			return "---[ end trace 0000000000000000 ]---"
		}
	}
	if w.panicked >= 0 {
		switch w.messages - n {
		case 5:
			return "BUG: kernel NULL pointer dereference, address: 0000000000000000"
		case 4:
			return "Oops: 0002 [#1] PREEMPT SMP NOPTI"
		case 3:
			return fmt.Sprintf("CPU: %d PID: %d Comm: task Not tainted 6.1.0 #1", w.panicked, 1000+w.panicked)
		case 2:
			return "RIP: 0010:bad_function+0x16/0x20 [module_1]"
		case 1:
			return "Kernel panic - not syncing: Fatal exception in interrupt"
		}
	}
	s := fmt.Sprintf("message %d ", n)
	return s + strings.Repeat("x", max(w.text-len(s), 0))
}

// ringLog writes the messages into a ring, which may wrap.
func (w *world) ringLog() {
	r := layouttest.Ring{DescBits: uint(w.descBits), TextBits: uint(w.textBits), Head: uint64(w.messages - 1)}
	count, size := uint64(1)<<w.descBits, uint64(1)<<w.textBits
	r.Text = make([]byte, size)
	begin, first := uint64(0), 0
	starts := make([]uint64, w.messages)
	for n := range w.messages {
		m := w.message(n)
		block := (8 + uint64(len(m)) + 7) &^ 7
		next := begin + block
		at := begin
		if begin/size != (next-1)/size { // it goes to the beginning
			next = next/size*size + block
			at = next - block
		}
		starts[n] = begin
		r.Descs = append(r.Descs, layouttest.RingDesc{ID: uint64(n), State: 2, Begin: begin, Next: next,
			Seq: uint64(n), Nanoseconds: uint64(n) * 1000, Length: uint16(len(m))})
		copy(r.Text[at%size+8:], m)
		w.log = append(w.log, m)
		begin = next
		for begin-starts[first] > size || uint64(n-first) >= count-1 {
			first++
		}
	}
	w.log = w.log[first:]
	r.Tail = uint64(first)
	w.info.WriteString(r.Put(w.put))
}

// recordLog writes the messages as kernels before 5.10 did.
func (w *world) recordLog() {
	size := uint64(1) << w.textBits
	buf := make([]byte, size)
	at, wrapped := uint64(0), false
	var starts []uint64
	for n := range w.messages {
		m := w.message(n)
		step := (16 + uint64(len(m)) + 7) &^ 7
		if at+step+16 > size {
			clear(buf[at:min(at+16, size)])
			at, wrapped = 0, true
		}
		le.PutUint64(buf[at:], uint64(n)*1000)
		le.PutUint16(buf[at+8:], uint16(step))
		le.PutUint16(buf[at+10:], uint16(len(m)))
		copy(buf[at+16:], m)
		w.log = append(w.log, m)
		starts = append(starts, at)
		at += step
	}
	first := 0
	if wrapped { // what the newest messages have not overwritten
		for i := len(starts) - 1; i >= 0; i-- {
			if i < len(starts)-1 && starts[i] > starts[i+1] {
				for first = i; first > 0 && starts[first-1] > at+16 && starts[first-1] < starts[first]; first-- {
				}
				break
			}
		}
	}
	w.log = w.log[first:]
	fmt.Fprintf(&w.info, "SIZE(printk_log)=16\nOFFSET(printk_log.ts_nsec)=0\nOFFSET(printk_log.len)=8\nOFFSET(printk_log.text_len)=10\n")
	for name, b := range map[string][]byte{
		"log_buf": le.AppendUint64(nil, w.put(buf)), "log_buf_len": le.AppendUint32(nil, uint32(size)),
		"log_first_idx": le.AppendUint32(nil, uint32(starts[first])), "log_next_idx": le.AppendUint32(nil, uint32(at)),
	} {
		fmt.Fprintf(&w.info, "SYMBOL(%s)=%x\n", name, w.put(b))
	}
}

// types are the kernel's type data.
func types() []byte {
	b := layouttest.NewBTF()
	u8, u32, u64 := b.Int("u8", 1), b.Int("u32", 4), b.Int("u64", 8)
	m := func(name string, typ uint32, offset uint32) layouttest.Member {
		return layouttest.Member{Name: name, Type: typ, Bits: offset * 8}
	}
	pair := b.Struct("list_head", 16, m("next", u64, 0), m("prev", u64, 8))
	hlist := b.Struct("hlist_head", 8, m("first", u64, 0))
	thread := b.Struct("thread_struct", 8, m("sp", u64, 0))
	b.Struct("task_struct", taskSize, m("flags", u32, 0), m("stack", u64, taskStack), m("on_cpu", u32, taskOnCPU), m("cpu", u32, taskCPU),
		m("tasks", pair, taskTasks), m("pid", u32, taskPID), m("tgid", u32, taskTGID), m("comm", b.Array(u8, 16), taskComm),
		m("__state", u32, taskState), m("signal", u64, taskSignal), m("thread_node", pair, taskNode), m("pid_links", b.Array(pair, 4), taskLinks),
		m("thread", thread, taskThread), m("nvcsw", u64, taskSwitches))
	b.Struct("signal_struct", 64, m("thread_head", pair, 0))
	b.Struct("rq", 16, m("curr", u64, 8))
	core := b.Struct("module_layout", 16, m("base", u64, 0), m("size", u32, 8))
	b.Struct("module", moduleSz, m("state", u32, 0), m("list", pair, moduleList), m("name", b.Array(u8, 56), moduleName), m("taints", u64, 80), m("core_layout", core, moduleBase))
	radix := b.Struct("xarray", 16, m("xa_head", u64, 8))
	idr := b.Struct("idr", 24, m("idr_rt", radix, 0))
	b.Struct("pid_namespace", 64, m("idr", idr, 0))
	b.Struct("xa_node", 576, m("shift", u8, 0), m("slots", b.Array(u64, 64), 8))
	b.Struct("pid", 96, m("tasks", b.Array(hlist, 4), 0))
	b.Struct("upid", 16)
	b.Struct("uts_namespace", 400, m("name", b.Array(u8, 390), 0))
	b.Union("thread_union", stackSize, m("stack", b.Array(u64, stackSize/8), 0))
	return b.Bytes()
}

// kernel opens the made-up kernel, or a dump of it.
func (w *world) kernel(t testing.TB, d *kdump.Dump) *layout.Kernel {
	t.Helper()
	if d == nil {
		d = layouttest.Dump(arch.AMD64, &w.mem, w.info.String(), kdump.Run{Addr: 0x1000, Size: 1 << 30})
		d.CPUs = w.cpuList
	}
	k, err := layout.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	if w.noSymbols {
		return k
	}
	k.UseSymbols(func(name string) (uint64, bool) { a, ok := w.symbols[name]; return a, ok })
	if !w.noTypes {
		if err := k.UseBTF(types()); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

// dump writes a small dump and opens it.
func (w *world) dump(t testing.TB, o small.Options) (*small.Report, *kdump.Dump) {
	t.Helper()
	var b bytes.Buffer
	r, err := small.Write(&b, w.kernel(t, nil), o)
	if err != nil {
		t.Fatal(err)
	}
	most := small.MaxSize
	if o.Budget != 0 {
		most = o.Budget
	}
	if b.Len() > most || b.Len() != r.Size {
		t.Fatalf("%d bytes, %d were said, want at most %d", b.Len(), r.Size, most)
	}
	d, err := vmcore.Open(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if d.Incomplete {
		t.Error("the file ends early")
	}
	if o.Budget == 0 {
		wantPages(t, b.Bytes())
	}
	return r, d
}

// wantPages checks that whole pages can be read of what ends within one, which
// is the log, as crash(8) does: the file does not end there.
func wantPages(t testing.TB, file []byte) {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range f.Progs {
		if end := int(p.Off + p.Filesz); p.Type == elf.PT_LOAD && p.Filesz > 0 && p.Memsz > p.Filesz && len(file)-end < 4096 {
			t.Errorf("%d bytes of the file come behind the log at %#x", len(file)-end, p.Vaddr)
		}
	}
}
