package kernel

import (
	"strings"
	"testing"

	"procdump/kernel/layout"
)

// logOf makes records of lines.
func logOf(text string) []layout.LogRecord {
	var all []layout.LogRecord
	for line := range strings.Lines(text) {
		if line = strings.TrimSuffix(line, "\n"); line != "" {
			all = append(all, layout.LogRecord{Text: line})
		}
	}
	return all
}

// The logs are those of real crashes, shortened.
var logs = []struct {
	name, log, kind, reason string
	callers                 int
}{
	{"null dereference", `
BUG: kernel NULL pointer dereference, address: 0000000000000010
#PF: supervisor read access in kernel mode
#PF: error_code(0x0000) - not-present page
Oops: 0000 [#1] PREEMPT SMP NOPTI
CPU: 3 PID: 97 Comm: head Not tainted 6.1.0-56-amd64 #1  Debian 6.1.192-2
RIP: 0010:msr_read+0x2/0xf0 [msr]
Call Trace:
 <TASK>
 ? die+0x2b/0x50
 vfs_read+0xa5/0x310
 ksys_read+0x6b/0xf0
 </TASK>
Modules linked in: msr
---[ end trace 0000000000000000 ]---
RIP: 0010:msr_read+0x2/0xf0 [msr]
Kernel panic - not syncing: Fatal exception
---[ end Kernel panic - not syncing: Fatal exception ]---`, "nullDereference",
		"Null pointer dereference at address 0x10 in function msr_read of module msr; process head (PID 97), CPU 3.", 2},
	{"earlier oops and lockup do not count", `
BUG: kernel NULL pointer dereference, address: 0000000000000000
RIP: 0010:first+0x2/0xf0
CPU: 0 PID: 1 Comm: one Not tainted 6.1
---[ end trace 0000000000000000 ]---
INFO: task touch:107 blocked for more than 120 seconds.
CPU: 1 PID: 2 Comm: two Not tainted 6.1
sysrq: Trigger a crash
Kernel panic - not syncing: sysrq triggered crash
CPU: 1 UID: 0 PID: 146 Comm: a long name (x Not tainted 6.12.117 #1
---[ end Kernel panic - not syncing: sysrq triggered crash ]---`, "sysrq",
		"A crash was asked for through SysRq; process a long name (x (PID 146), CPU 1.", 0},
	{"hung task", `
INFO: task kworker/u8:2+flush-8:0:107 blocked for more than 122 seconds.
      Not tainted 6.1.0-56-amd64 #1 Debian 6.1.192-2
Kernel panic - not syncing: hung_task: blocked tasks
CPU: 1 PID: 29 Comm: khungtaskd Not tainted 6.1.0-56-amd64 #1  Debian 6.1.192-2`, "hungTask",
		"A task was blocked for too long, and the kernel was set to panic then: kworker/u8:2+flush-8:0 (PID 107) waited more than 122 seconds; found by khungtaskd (PID 29), CPU 1.", 0},
	{"soft lockup", `
watchdog: BUG: soft lockup - CPU#2 stuck for 26s! [spin:4711]
CPU: 2 PID: 4711 Comm: spin Tainted: G           OE      6.1.0-56-amd64 #1
RIP: 0010:spin_forever+0x7/0x10 [spin]
Kernel panic - not syncing: softlockup: hung tasks`, "softLockup",
		"A processor did not schedule for too long (soft lockup) in function spin_forever of module spin; process spin (PID 4711), CPU 2.", 0},
	{"general protection fault", `
general protection fault, probably for non-canonical address 0xdead000000000122: 0000 [#1] SMP PTI
CPU: 0 PID: 12 Comm: kworker/0:1 Kdump: loaded Not tainted 5.14.0-70.el9.x86_64 #1
RIP: 0010:list_del_event+0x12/0x40
Kernel panic - not syncing: Fatal exception in interrupt`, "protectionFault",
		"General protection fault (often a pointer that is no address) at address 0xdead000000000122 in function list_del_event; process kworker/0:1 (PID 12), CPU 0.", 0},
	{"BUG", `
kernel BUG at mm/slub.c:4321!
invalid opcode: 0000 [#1] SMP
CPU: 0 PID: 7 Comm: x Not tainted 6.1 #1
RIP: 0010:kfree+0x12/0x40
Kernel panic - not syncing: Fatal exception`, "bug",
		"A check in the kernel's code failed in function kfree; process x (PID 7), CPU 0. The kernel said: kernel BUG at mm/slub.c:4321!.", 0},
	{"second oops", `
BUG: kernel NULL pointer dereference, address: 0000000000000008
Oops: 0000 [#1] SMP
RIP: 0010:first+0x2/0xf0
---[ end trace 0000000000000000 ]---
BUG: kernel NULL pointer dereference, address: 0000000000000018
Oops: 0000 [#2] SMP
CPU: 1 PID: 8 Comm: y Not tainted 6.1 #1
RIP: 0010:second+0x2/0xf0
---[ end trace 0000000000000000 ]---
Kernel panic - not syncing: Fatal exception`, "nullDereference",
		"Null pointer dereference at address 0x18 in function second; process y (PID 8), CPU 1.", 0},
	{"arm64", `
Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008
Mem abort info:
Internal error: Oops: 0000000096000004 [#1] SMP
CPU: 1 PID: 33 Comm: cat Not tainted 6.1.0-56-arm64 #1  Debian 6.1.192-2
pc : broken_show+0x10/0x30 [broken]
lr : seq_read_iter+0xd4/0x490
Call trace:
 broken_show+0x10/0x30 [broken]
 seq_read_iter+0xd4/0x490
Kernel panic - not syncing: Oops: Fatal exception`, "nullDereference",
		"Null pointer dereference at address 0x8 in function broken_show of module broken; process cat (PID 33), CPU 1.", 2},
	{"kexec before panic", `
sysrq: Trigger a crash
BUG: unable to handle page fault for address: ffffc90000a3bfff
Oops: 0002 [#1] PREEMPT SMP
CPU: 0 PID: 5 Comm: y Tainted: P 6.1 #1
RIP: 0010:write_it+0x1/0x2`, "pageFault",
		"Access to memory that is not mapped, or may not be accessed so at address 0xffffc90000a3bfff in function write_it; process y (PID 5), CPU 0.", 0},
	{"out of memory", `
tail invoked oom-killer: gfp_mask=0x140cca
Kernel panic - not syncing: Out of memory: system-wide panic_on_oom is enabled
CPU: 0 PID: 95 Comm: tail Not tainted 6.1.0`, "outOfMemory",
		"Out of memory, and the kernel was set to panic then; process tail (PID 95), CPU 0.", 0},
	{"other panic", `
BUG: kernel NULL pointer dereference, address: 0000000000000000
---[ end trace 0000000000000000 ]---
Kernel panic - not syncing: something that nobody has seen` + "\x01\x02" + `
CPU: 0 PID: 0 Comm: swapper/0 Not tainted 6.1.0`, "panic",
		"The kernel panicked; idle task, CPU 0. The kernel said: something that nobody has seen??.", 0},
}

func TestIncident(t *testing.T) {
	for _, c := range logs {
		t.Run(c.name, func(t *testing.T) {
			l := &linux{r: &Report{Crash: true}, log: logOf(c.log), crashed: -1}
			l.incident()
			if in := l.r.Incident; in == nil || in.Type != c.kind || l.r.Reason != c.reason {
				t.Errorf("%+v\n%s\nwant\n%s", in, l.r.Reason, c.reason)
			}
			g := l.readLog()
			if n := len(l.loggedStack(g)); n != c.callers {
				t.Errorf("%d frames of the log's stack, want %d", n, c.callers)
			}
		})
	}
}

// TestStackOfLog takes the stack of the processor that crashed from the log where
// the dump names no function; that of a task that hung is another's.
func TestStackOfLog(t *testing.T) {
	const trace = `
CPU: 0 PID: 7 Comm: x Not tainted 6.1 #1
Call Trace:
 <TASK>
 spin+0x1/0x20 [spin]
 kthread+0xd0/0x100
 </TASK>
Kernel panic - not syncing: `
	for _, c := range []struct {
		log  string
		want int
	}{
		{"watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [x:7]" + trace + "softlockup: hung tasks", 2},
		{"INFO: task touch:107 blocked for more than 120 seconds." + trace + "hung_task: blocked tasks", 0},
	} {
		l := &linux{r: &Report{Processors: []Processor{{Trace: Trace{Frames: []Frame{{PC: 1}}}}}}, log: logOf(c.log), crashed: -1}
		l.incident()
		p := l.r.Processors[0]
		if p.FromLog != (c.want > 0) || p.FromLog && len(p.Frames) != c.want || l.r.Incident.Subject != nil && c.want > 0 {
			t.Errorf("%s: %+v, %+v", c.log, p, l.r.Incident)
		}
	}
}

// TestNoIncident has a kernel that runs, and had an oops long ago.
func TestNoIncident(t *testing.T) {
	l := &linux{r: &Report{}, certain: true, log: logOf(`
BUG: kernel NULL pointer dereference, address: 0000000000000000
---[ end trace 0000000000000000 ]---
INFO: task touch:107 blocked for more than 120 seconds.`), crashed: -1}
	l.r.Tasks = &Tasks{States: map[string]int{"D": 2}}
	l.incident()
	want := "The machine did not crash: the dump was taken while it ran. 2 tasks waited without being interruptible."
	if l.r.Crash || l.r.Incident != nil || l.r.Reason != want {
		t.Errorf("%+v %s", l.r.Incident, l.r.Reason)
	}
}

// TestUnknown has a dump of which nothing can be read: it says so.
func TestUnknown(t *testing.T) {
	l := &linux{r: &Report{}, crashed: -1}
	l.incident()
	if !strings.Contains(l.r.Reason, "is not known") {
		t.Errorf("reason %s", l.r.Reason)
	}
}

func TestTaints(t *testing.T) {
	var got string
	for _, x := range taintsOf(1<<0 | 1<<7 | 1<<13 | 1<<40) {
		got += x.Letter
	}
	if got != "PDE?" {
		t.Errorf("taints %s", got)
	}
}

// stackOf makes a stack of names; a place that is exact ends in !.
func stackOf(text string) []Frame {
	var frames []Frame
	for name := range strings.FieldsSeq(text) {
		name, exact := strings.CutSuffix(name, "!")
		frames = append(frames, Frame{Symbol: name, Exact: exact})
	}
	return frames
}

// TestHung says in which function the task waits that hung.
func TestHung(t *testing.T) {
	const log = `
INFO: task touch:107 blocked for more than 120 seconds.
Kernel panic - not syncing: hung_task: blocked tasks
CPU: 1 PID: 29 Comm: khungtaskd Not tainted 6.1.0`
	for _, c := range []struct{ stack, want string }{
		{"__schedule schedule io_schedule folio_wait_bit filemap_fault do_fault", "waited more than 120 seconds in function folio_wait_bit, called by filemap_fault; found"},
		{"__schedule schedule", "waited more than 120 seconds; found"},
	} {
		l := &linux{r: &Report{}, log: logOf(log), crashed: -1, hung: map[int]*TaskGroup{107: {Trace: Trace{Frames: stackOf(c.stack)}}}}
		if l.incident(); !strings.Contains(l.r.Reason, c.want) {
			t.Errorf("%s: %s, want %s", c.stack, l.r.Reason, c.want)
		}
	}
}

func TestIdle(t *testing.T) {
	for stack, want := range map[string]bool{
		"default_idle! default_idle_call do_idle cpu_startup_entry":                                       true,
		"crash_nmi_callback! nmi_handle exc_nmi end_repeat_nmi pv_native_safe_halt! default_idle do_idle": true,
		"handle_irq! common_interrupt asm_common_interrupt acpi_idle! cpuidle_enter_state do_idle":        true,
		"vfs_read! ksys_read do_syscall_64":                                                               false,
		"do_idle! sysvec_reschedule asm_sysvec spin! kthread":                                             false,
		"": false,
	} {
		if got := isIdle(stackOf(stack)); got != want {
			t.Errorf("%s: idle %v", stack, got)
		}
	}
}

// TestSignature groups tasks by state and stack.
func TestSignature(t *testing.T) {
	frames := []Frame{{PC: 1}, {PC: 2}}
	all := map[string]bool{}
	for _, s := range []string{
		signature("S", Trace{Frames: frames}), signature("D", Trace{Frames: frames}), signature("S", Trace{Frames: frames[:1]}),
		signature("S", Trace{Frames: []Frame{{PC: 1}, {PC: 2, Unreliable: true}}}), signature("S", Trace{Broken: "it ran"}), signature("S", Trace{Broken: "no memory"}),
	} {
		all[s] = true
	}
	if len(all) != 6 || !all[signature("S", Trace{Frames: frames, Broken: "at the end"})] {
		t.Errorf("%d groups: %v", len(all), all)
	}
}

// TestPlace finds where it happened on the stacks that crashes leave.
func TestPlace(t *testing.T) {
	for _, c := range []struct {
		kind, stack, want string
	}{
		{"nullDereference", "msr_read! vfs_read ksys_read", "msr_read"}, // the crash kernel's note has the registers of the fault
		{"nullDereference", "delay_tsc! panic oops_end.cold page_fault_oops exc_page_fault asm_exc_page_fault msr_read! vfs_read", "msr_read"},
		{"sysrq", "__crash_kexec! panic sysrq_handle_crash __handle_sysrq", "sysrq_handle_crash"},
		{"softLockup", "panic! watchdog_timer_fn __hrtimer_run_queues asm_sysvec_apic_timer_interrupt spin! kthread", "spin"},
		{"panic", "panic! mount_root", "mount_root"},
		{"nullDereference", "panic! lost", "lost"},
		{"panic", "panic!", ""},
		{"panic", "", ""},
	} {
		got, frames := "", stackOf(c.stack)
		if at := placeOf(frames, c.kind); at >= 0 {
			got = frames[at].Symbol
		}
		if got != c.want {
			t.Errorf("%s of %s: %q, want %q", c.kind, c.stack, got, c.want)
		}
	}
}
