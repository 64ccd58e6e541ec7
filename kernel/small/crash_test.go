package small_test

import (
	"slices"
	"testing"

	"procdump/kernel/small"
)

// numbers are the PIDs of the tasks that a dump lists.
func numbers(r *small.Report) []int {
	var all []int
	for _, t := range r.Note.Tasks {
		all = append(all, t.PID)
	}
	return all
}

// TestOrder lists the task that panicked first, then those of other processors,
// then tasks that wait, then processors that idled.
func TestOrder(t *testing.T) {
	w := newWorld(change(func(m *machine) { m.cpus, m.blocked, m.modules = 6, 2, 0 }))
	r, d := w.dump(t, small.Options{})
	if got, want := numbers(r), []int{1001, 1000, 1002, 1004, 3000, 3001, 0, 0}; !slices.Equal(got, want) {
		t.Errorf("tasks %v, want %v", got, want)
	}
	for _, task := range r.Note.Tasks {
		if task.PID >= 3000 && (task.State != "D" || task.Stack < 800 || task.CPU != 0) {
			t.Errorf("%+v", task)
		}
	}
	// They have no registers of a processor.
	if len(d.CPUs) != 6 {
		t.Errorf("%d processors", len(d.CPUs))
	}
	if _, _, err := w.kernel(t, d).FindTask(1001); err != nil {
		t.Error(err)
	}
}

// TestEntry has the code by which the kernel was entered, whose address lies
// below the registers of user mode.
func TestEntry(t *testing.T) {
	w := newWorld(usual)
	code := make([]byte, 256)
	for i := range code {
		code[i] = byte(i)
	}
	entry := w.symbol("entry_SYSCALL_64", code)
	const registers = 168 // struct pt_regs
	w.put64(w.sp&^(stackSize-1)+stackSize-registers-8, entry+0x77)
	_, d := w.dump(t, small.Options{})
	k := w.kernel(t, d)
	for _, at := range []uint64{0, 0x60} {
		if b, err := k.Space.Bytes(entry+at, 32); err != nil || !slices.Equal(b, code[at:at+32]) {
			t.Errorf("code at %#x: %x, %v", at, b, err)
		}
	}
	if _, err := k.Space.Bytes(entry+0xc0, 8); err == nil {
		t.Error("more of the code is there than is needed")
	}
}

// TestOtherTask: a number that leads to the task of another is an error.
func TestOtherTask(t *testing.T) {
	w := newWorld(usual)
	k := w.kernel(t, nil)
	task, _, err := k.FindTask(1001)
	if err != nil {
		t.Fatal(err)
	}
	w.put32(task.Addr+taskPID, 5)
	k.Space.Refresh()
	if _, _, err := k.FindTask(1001); err == nil {
		t.Error("the task of number 5 was taken for that of 1001")
	}
}
