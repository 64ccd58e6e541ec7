package layout

import (
	"fmt"

	"procdump/arch"
)

// Task is a thread.
type Task struct {
	Addr uint64 // of its struct task_struct
	PID  int    // the thread's own number
	TGID int    // that of its process
	Comm string
	// State is the letter of ps(1): R running or runnable, S sleeping, D
	// waiting and not interruptible, I idle kernel thread, T stopped, t traced,
	// Z zombie, X dead, P parked, '?' unknown.
	State  byte
	Kernel bool // a kernel thread
	// CPU is the processor it runs or ran last on; OnCPU says that it runs. CPU
	// is -1 if unknown.
	CPU   int
	OnCPU bool
	// Stack is the lowest address of its kernel stack, SP the saved stack
	// pointer of a task that does not run. 0 means unknown. PC and FP are saved
	// beside it on arm64; on amd64 the stack at SP begins with the registers
	// that __switch_to_asm pushed.
	Stack, SP, PC, FP uint64
	// MM is the address of its struct mm_struct, 0 for a kernel thread.
	MM uint64
	// Parent is the address of its parent's struct task_struct.
	Parent uint64
}

// taskFields are the members of struct task_struct that are read. Those that a
// kernel lacks have size 0.
type taskFields struct {
	tasks, pid, tgid, comm              Field
	state, exitState, flags, cpu, onCPU Field
	stack, sp, pc, fp, mm, parent       Field
	signal, threadNode, threadHead      Field
}

func (k *Kernel) taskFields() (taskFields, error) {
	var t taskFields
	for _, f := range []struct {
		to   *Field
		name string
	}{{&t.tasks, "tasks"}, {&t.pid, "pid"}, {&t.tgid, "tgid"}, {&t.comm, "comm"}} {
		v, err := k.Field("task_struct", f.name)
		if err != nil {
			return t, err
		}
		*f.to = v
	}
	optional := func(to *Field, names ...string) { *to, _ = k.firstField("task_struct", names...) }
	optional(&t.state, "__state", "state")
	optional(&t.exitState, "exit_state")
	optional(&t.flags, "flags")
	optional(&t.cpu, "thread_info.cpu", "cpu")
	optional(&t.onCPU, "on_cpu")
	optional(&t.stack, "stack")
	optional(&t.mm, "mm")
	optional(&t.parent, "real_parent")
	optional(&t.signal, "signal")
	optional(&t.threadNode, "thread_node")
	if k.Machine == arch.ARM64 {
		optional(&t.sp, "thread.cpu_context.sp")
		optional(&t.pc, "thread.cpu_context.pc")
		optional(&t.fp, "thread.cpu_context.fp")
	} else {
		optional(&t.sp, "thread.sp")
	}
	t.threadHead, _ = k.Field("signal_struct", "thread_head")
	return t, nil
}

// Tasks calls f for every thread, the idle threads excepted, until f returns
// false. The main thread of each process comes first.
func (k *Kernel) Tasks(f func(Task) bool) error {
	fields, err := k.taskFields()
	if err != nil {
		return err
	}
	first, err := k.Symbol("init_task")
	if err != nil {
		return err
	}
	going, count := true, 0
	visit := func(addr uint64) bool {
		t, err := k.readTask(addr, &fields)
		count++
		if err == nil {
			going = f(t)
		}
		return going && count < maxList
	}
	var inner error
	err = k.List(first+fields.tasks.Offset, fields.tasks.Offset, func(leader uint64) bool {
		if err := k.threads(leader, &fields, visit); err != nil && inner == nil {
			inner = err
		}
		return going && count < maxList
	})
	if err == nil {
		err = inner
	}
	if err != nil {
		return fmt.Errorf("list tasks: %w", err)
	}
	return nil
}

// threads visits the threads of the process that leader is the main thread of.
func (k *Kernel) threads(leader uint64, fields *taskFields, visit func(uint64) bool) error {
	if fields.signal.Size == 0 || fields.threadNode.Size == 0 || fields.threadHead.Size == 0 {
		visit(leader)
		return nil
	}
	signal, err := k.ReadField(leader, fields.signal)
	if err != nil || signal == 0 {
		visit(leader)
		return err
	}
	seen := false
	err = k.List(signal+fields.threadHead.Offset, fields.threadNode.Offset, func(addr uint64) bool {
		seen = seen || addr == leader
		return visit(addr)
	})
	if !seen && err != nil {
		visit(leader)
	}
	return err
}

// Task reads the struct task_struct at addr.
func (k *Kernel) Task(addr uint64) (Task, error) {
	fields, err := k.taskFields()
	if err != nil {
		return Task{}, err
	}
	return k.readTask(addr, &fields)
}

// CurrentTask returns the task that a processor ran.
func (k *Kernel) CurrentTask(cpu int) (Task, error) {
	rq, err := k.Symbol("runqueues")
	if err != nil {
		return Task{}, err
	}
	curr, err := k.Field("rq", "curr")
	if err != nil {
		return Task{}, err
	}
	if rq, err = k.PerCPU(rq, cpu); err != nil {
		return Task{}, err
	}
	addr, err := k.ReadField(rq, curr)
	if err != nil {
		return Task{}, fmt.Errorf("read run queue of processor %d: %w", cpu, err)
	}
	return k.Task(addr)
}

func (k *Kernel) readTask(addr uint64, f *taskFields) (Task, error) {
	pid, err := k.ReadField(addr, f.pid)
	if err != nil {
		return Task{}, fmt.Errorf("read task %#x: %w", addr, err)
	}
	read := func(m Field) (v uint64, ok bool) {
		if m.Size == 0 {
			return 0, false
		}
		v, err := k.ReadField(addr, m)
		return v, err == nil
	}
	optional := func(m Field) uint64 {
		v, _ := read(m)
		return v
	}
	comm, err := k.Space.String(addr+f.comm.Offset, int(min(f.comm.Size, 64)))
	if err != nil {
		return Task{}, fmt.Errorf("read task %#x: %w", addr, err)
	}
	t := Task{
		Addr: addr, PID: int(int32(pid)), TGID: int(int32(optional(f.tgid))), Comm: comm, State: '?', CPU: -1,
		Stack: optional(f.stack), SP: optional(f.sp), PC: optional(f.pc), FP: optional(f.fp),
		MM: optional(f.mm), Parent: optional(f.parent), OnCPU: optional(f.onCPU) != 0,
		Kernel: optional(f.flags)&taskKernel != 0,
	}
	if v, ok := read(f.state); ok {
		t.State = taskState(v | optional(f.exitState))
	}
	if v, ok := read(f.cpu); ok {
		t.CPU = int(int32(v))
	}
	return t, nil
}

// taskKernel is PF_KTHREAD of task_struct.flags.
const taskKernel = 0x00200000

// Bits of task_struct.__state and exit_state (include/linux/sched.h).
const (
	taskUninterruptible = 0x02
	taskNoLoad          = 0x400
	taskReportMask      = 0x7f
)

// taskState is the letter that /proc/PID/stat shows (task_index_to_char).
func taskState(state uint64) byte {
	if state&(taskUninterruptible|taskNoLoad) == taskUninterruptible|taskNoLoad {
		return 'I'
	}
	state &= taskReportMask
	if state == 0 {
		return 'R'
	}
	const letters = "SDTtXZP" // of bits 0 to 6; the highest bit counts
	for bit := len(letters) - 1; bit >= 0; bit-- {
		if state>>bit&1 == 1 {
			return letters[bit]
		}
	}
	return '?'
}
