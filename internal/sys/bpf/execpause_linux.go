package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

const (
	// pauseTurns is how often the program looks for a tracer, and pauseReads how
	// often it reads the clock in between, which takes some 20 ns: about half a
	// millisecond altogether. The verifier follows 8192 branches at most.
	pauseTurns = 4_000
	pauseReads = 5
	pausePIDs  = 4096
)

// ExecPause keeps processes in execve(2) for the moment that another needs to
// attach to them: after the kernel has given up cred_guard_mutex and before
// PTRACE_EVENT_EXEC is due (exec_binprm, fs/exec.c). A tracer that waits for the
// mutex on another processor attaches meanwhile; one on the same processor runs
// next.
type ExecPause struct {
	pids *ebpf.Map
	prog *ebpf.Program
	link link.Link
}

// OpenExecPause loads and attaches the program. The caller closes the ExecPause.
func OpenExecPause() (_ *ExecPause, err error) {
	const feature = "keeping programs until they are traced"
	k, err := loadKernel()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", feature, err)
	}
	ns, err := ownPIDNamespace()
	if err != nil {
		return nil, err
	}
	if ns.inner {
		return nil, fmt.Errorf("%s: it needs the machine's first PID namespace: %w", feature, errors.ErrUnsupported)
	}
	_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
	e := &ExecPause{}
	defer func() {
		if err != nil {
			e.Close()
		}
	}()
	if e.pids, err = ebpf.NewMap(&ebpf.MapSpec{Name: "pd_executing", Type: ebpf.LRUHash, KeySize: 4, ValueSize: 4, MaxEntries: pausePIDs}); err != nil {
		return nil, explain(feature, err)
	}
	a := &assembler{kernel: k}
	ins, err := a.pause(e.pids.FD())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", feature, err)
	}
	e.prog, err = ebpf.NewProgram(&ebpf.ProgramSpec{Name: "procdump", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp,
		AttachTo: "sched_process_exec", Instructions: ins, License: "Dual MIT/GPL"})
	if err != nil {
		return nil, explain(feature, err)
	}
	if e.link, err = link.AttachTracing(link.TracingOptions{Program: e.prog, AttachType: ebpf.AttachTraceRawTp}); err != nil {
		return nil, explain(feature, err)
	}
	return e, nil
}

// Add has a process kept when it executes a program the next time.
func (e *ExecPause) Add(pid int) error {
	if err := e.pids.Put(uint32(pid), uint32(1)); err != nil {
		return fmt.Errorf("keep process %d: %w", pid, err)
	}
	return nil
}

// Close lets everybody go on.
func (e *ExecPause) Close() {
	if e.link != nil {
		_ = e.link.Close()
	}
	if e.prog != nil {
		_ = e.prog.Close()
	}
	if e.pids != nil {
		_ = e.pids.Close()
	}
}

// pause makes the program.
func (a *assembler) pause(pids int) (asm.Instructions, error) {
	const again = "again"
	key := asm.Instructions{
		asm.LoadMapPtr(asm.R1, pids),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, slotTmp),
	}
	ins := asm.Instructions{
		asm.FnGetCurrentPidTgid.Call(),
		asm.RSh.Imm(asm.R0, 32),
		asm.StoreMem(asm.RFP, slotTmp, asm.R0, asm.Word),
	}
	ins = append(ins, key...)
	ins = append(ins, asm.FnMapLookupElem.Call(), asm.JEq.Imm(asm.R0, 0, exit))
	ins = append(ins, key...)
	ins = append(ins,
		asm.FnMapDeleteElem.Call(),
		asm.FnGetCurrentTask.Call(),
		asm.Mov.Reg(asm.R8, asm.R0),
		asm.Mov.Imm(asm.R7, 0),
		asm.Mov.Imm(asm.R0, 0).WithSymbol(again),
	)
	ins = append(ins, peek(slotPeek, 4, asm.R8, a.off("task_struct", "ptrace"))...)
	ins = append(ins, asm.LoadMem(asm.R1, asm.RFP, slotPeek, asm.Word), asm.JNE.Imm(asm.R1, 0, exit))
	for range pauseReads {
		ins = append(ins, asm.FnKtimeGetNs.Call())
	}
	ins = append(ins,
		asm.Add.Imm(asm.R7, 1),
		asm.JLT.Imm(asm.R7, pauseTurns, again),
	)
	return a.program(ins)
}
