package layout

import "fmt"

// PIDPath is what leads from a number to its task in memory: struct idr of the
// initial namespace, the nodes of its tree, and struct pid.
type PIDPath []Range

// maxPIDNodes is more than the levels of any tree of numbers of 31 bits.
const maxPIDNodes = 12

// FindTask finds the thread of a number in the initial namespace, and the path
// to it as far as it could be walked. It knows kernels since 4.15.
func (k *Kernel) FindTask(pid int) (Task, PIDPath, error) {
	addr, path, err := k.findPID(pid)
	if err == nil && addr == 0 {
		err = fmt.Errorf("layout: the kernel has no thread %d", pid)
	}
	if err != nil {
		return Task{}, path, fmt.Errorf("find thread %d: %w", pid, err)
	}
	t, err := k.Task(addr)
	if err == nil && t.PID != pid {
		err = fmt.Errorf("layout: the task of thread %d calls itself %d", pid, t.PID)
	}
	return t, path, err
}

// findPID returns the address of a thread's struct task_struct, 0 if there is
// none.
func (k *Kernel) findPID(pid int) (task uint64, path PIDPath, err error) {
	namespace, err := k.Symbol("init_pid_ns")
	if err != nil {
		return 0, nil, err
	}
	idr, err := k.Field("pid_namespace", "idr")
	if err != nil {
		return 0, nil, err
	}
	path = PIDPath{{namespace + idr.Offset, idr.Size}}
	// Inner entries of a tree are marked in their lowest bits: those of a radix
	// tree, until 4.19, by 1, those of an XArray by 2.
	nodeType, mark := "xa_node", uint64(2)
	root, err := k.Field("pid_namespace", "idr.idr_rt.xa_head")
	if err != nil {
		nodeType, mark = "radix_tree_node", 1
		if root, err = k.Field("pid_namespace", "idr.idr_rt.rnode"); err != nil {
			return 0, path, err
		}
	}
	shift, err := k.Field(nodeType, "shift")
	if err != nil {
		return 0, path, err
	}
	slots, err := k.Field(nodeType, "slots")
	if err != nil {
		return 0, path, err
	}
	size, err := k.typeSize(nodeType)
	if err != nil {
		return 0, path, err
	}
	e, err := k.ReadField(namespace, root)
	for n := 0; err == nil && e&3 == mark && e > 4096; n++ {
		if n == maxPIDNodes || slots.Len == 0 {
			return 0, path, fmt.Errorf("layout: the tree of threads has more than %d levels", maxPIDNodes)
		}
		node := e &^ 3
		path = append(path, Range{node, size})
		var bits uint64
		if bits, err = k.ReadField(node, shift); err != nil {
			break
		}
		if bits > 31 {
			return 0, path, fmt.Errorf("layout: node %#x of the tree of threads has a shift of %d", node, bits)
		}
		e, err = k.Space.Uint64(node + slots.Offset + uint64(pid)>>bits%slots.Len*8)
	}
	if err != nil || e == 0 {
		return 0, path, err
	}
	return k.taskOfPID(e, path)
}

// taskOfPID goes from a struct pid to the thread that has it.
func (k *Kernel) taskOfPID(pid uint64, path PIDPath) (uint64, PIDPath, error) {
	size, err := k.typeSize("pid")
	if err != nil {
		return 0, path, err
	}
	upid, err := k.typeSize("upid")
	if err != nil {
		return 0, path, err
	}
	// Since 6.5 the array of numbers, one for each namespace, is not counted.
	path = append(path, Range{pid, size + upid})
	first, err := k.Field("pid", "tasks.0.first")
	if err != nil {
		return 0, path, err
	}
	link, err := k.firstField("task_struct", "pid_links.0", "pids.0.node")
	if err != nil {
		return 0, path, err
	}
	node, err := k.ReadField(pid, first)
	if err != nil || node == 0 {
		return 0, path, err
	}
	return node - link.Offset, path, nil
}

func (k *Kernel) typeSize(name string) (uint64, error) {
	b, err := k.BTF()
	if err != nil {
		return 0, err
	}
	return b.Size(name)
}

// Threads calls f for each thread of the process that the thread t belongs to,
// until f returns false.
func (k *Kernel) Threads(t Task, f func(Task) bool) error {
	fields, err := k.taskFields()
	if err != nil {
		return err
	}
	count := 0
	err = k.threads(t.Addr, &fields, func(addr uint64) bool {
		task, err := k.readTask(addr, &fields)
		count++
		return count < maxList && (err != nil || f(task))
	})
	if err != nil {
		return fmt.Errorf("list threads of process %d: %w", t.TGID, err)
	}
	return nil
}
