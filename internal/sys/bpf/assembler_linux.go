package bpf

import (
	"fmt"

	"github.com/cilium/ebpf/asm"
)

// The one entry of the state map: words that all programs share.
const (
	stateLost = 0  // records that did not fit into the ring buffer
	stateTick = 8  // the kernel's jiffies when the clock was last read
	stateTime = 16 // CLOCK_MONOTONIC then
	stateWake = 24 // jiffies when the reader was last woken
	stateSize = 32
)

// Flags of bpf_ringbuf_output (linux/bpf.h).
const (
	noWakeup    = 1
	forceWakeup = 2
)

// exit is the label at the end of every program.
const exit = "exit"

// assembler makes the parts that programs share. By convention R6 holds the
// context until scratch has put the address of the scratch area there; helpers
// keep R6 to R9 and destroy R0 to R5.
type assembler struct {
	kernel                        kernel
	ns                            pidNamespace
	watched, state, ring, scratch int
	limiter                       *limiter // nil: everything is sent
	number                        int      // of the program, among those of the tap
	inner                         *inner   // nil: the context is that of a system call
	labels                        int
	err                           error
}

// label returns a name that no other part of the program has.
func (a *assembler) label(name string) string {
	a.labels++
	return fmt.Sprintf("%s_%d", name, a.labels)
}

// off is kernel.offset; the first failure is kept in err.
func (a *assembler) off(structure string, path ...string) int16 {
	o, err := a.kernel.offset(structure, path...)
	if err != nil && a.err == nil {
		a.err = err
	}
	return o
}

// program puts the parts together and ends them.
func (a *assembler) program(parts ...asm.Instructions) (asm.Instructions, error) {
	var all asm.Instructions
	for _, p := range parts {
		all = append(all, p...)
	}
	all = append(all, asm.Mov.Imm(asm.R0, 0).WithSymbol(exit), asm.Return())
	return all, a.err
}

// onlyWatched leaves the program unless the current process is watched. It is
// what unwatched processes pay. The result is in R7: process number << 32 |
// thread number. It uses the stack from slot up to slot+8.
func (a *assembler) onlyWatched(slot int16) asm.Instructions {
	ins := asm.Instructions{asm.Mov.Reg(asm.R6, asm.R1)}
	if a.ns.inner {
		// struct bpf_pidns_info is {pid, tgid}: the thread comes first. The
		// helper fails for processes of other namespaces.
		ins = append(ins,
			asm.LoadImm(asm.R1, int64(a.ns.dev), asm.DWord),
			asm.LoadImm(asm.R2, int64(a.ns.ino), asm.DWord),
			asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, int32(slot)),
			asm.Mov.Imm(asm.R4, 8),
			asm.FnGetNsCurrentPidTgid.Call(),
			asm.JNE.Imm(asm.R0, 0, exit),
			asm.LoadMem(asm.R7, asm.RFP, slot, asm.DWord),
		)
	} else if a.kernel.has(asm.FnGetCurrentTaskBtf) {
		// It is no call on Linux 6.10 and later, and no slower before.
		ins = append(ins,
			asm.FnGetCurrentTaskBtf.Call(),
			asm.LoadMem(asm.R7, asm.R0, a.off("task_struct", "tgid"), asm.Word),
			asm.LoadMem(asm.R1, asm.R0, a.off("task_struct", "pid"), asm.Word),
			asm.LSh.Imm(asm.R7, 32), asm.Or.Reg(asm.R7, asm.R1),
		)
	} else {
		ins = append(ins, asm.FnGetCurrentPidTgid.Call(), asm.Mov.Reg(asm.R7, asm.R0))
	}
	return append(ins,
		asm.Mov.Reg(asm.R1, asm.R7),
		asm.RSh.Imm(asm.R1, 32),
		asm.Mov.Reg(asm.R8, asm.R1),
		asm.RSh.Imm(asm.R1, 6), // pidsPerWord
		asm.StoreMem(asm.RFP, slot, asm.R1, asm.Word),
		asm.LoadMapPtr(asm.R1, a.watched),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, int32(slot)),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, exit),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
		asm.And.Imm(asm.R8, pidsPerWord-1),
		asm.RSh.Reg(asm.R1, asm.R8),
		asm.And.Imm(asm.R1, 1),
		asm.JEq.Imm(asm.R1, 0, exit),
	)
}

// first looks up the only entry of a map and leaves its address in R0.
func (a *assembler) first(mapFD int, slot int16) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Imm(asm.R1, 0),
		asm.StoreMem(asm.RFP, slot, asm.R1, asm.Word),
		asm.LoadMapPtr(asm.R1, mapFD),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, int32(slot)),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, exit),
	}
}

// clock leaves CLOCK_MONOTONIC in slotTime. It is read only by the first run in
// each tick of the kernel's timer, because that takes long; further runs go by
// the same time, which is at most a tick off (1 to 10 ms). It destroys R8.
func (a *assembler) clock() asm.Instructions {
	same, known := a.label("same_tick"), a.label("time_known")
	ins := a.first(a.state, slotTmp)
	return append(ins,
		asm.Mov.Reg(asm.R8, asm.R0),
		asm.FnJiffies64.Call(),
		asm.LoadMem(asm.R1, asm.R8, stateTick, asm.DWord),
		asm.JEq.Reg(asm.R1, asm.R0, same),
		asm.StoreMem(asm.R8, stateTick, asm.R0, asm.DWord),
		asm.FnKtimeGetNs.Call(),
		asm.StoreMem(asm.R8, stateTime, asm.R0, asm.DWord),
		asm.Ja.Label(known),
		asm.LoadMem(asm.R0, asm.R8, stateTime, asm.DWord).WithSymbol(same),
		save(slotTime, asm.R0).WithSymbol(known),
	)
}

// output sends the scratch area at R6, of the length in R9, and counts it as
// lost if there is no room. Only the first record in each tick of the
// kernel's timer wakes the reader, because that takes long.
func (a *assembler) output() asm.Instructions {
	sent, flagged := a.label("sent"), a.label("flagged")
	ins := a.first(a.state, slotTmp)
	ins = append(ins,
		save(slotState, asm.R0),
		asm.FnJiffies64.Call(),
	)
	return append(ins,
		load(asm.R5, slotState),
		asm.Mov.Imm(asm.R4, noWakeup),
		asm.LoadMem(asm.R1, asm.R5, stateWake, asm.DWord),
		asm.JEq.Reg(asm.R1, asm.R0, flagged),
		asm.StoreMem(asm.R5, stateWake, asm.R0, asm.DWord),
		asm.Mov.Imm(asm.R4, forceWakeup),
		asm.LoadMapPtr(asm.R1, a.ring).WithSymbol(flagged),
		asm.Mov.Reg(asm.R2, asm.R6),
		asm.Mov.Reg(asm.R3, asm.R9),
		asm.FnRingbufOutput.Call(),
		asm.JEq.Imm(asm.R0, 0, sent),
		load(asm.R2, slotState),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R2, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, 0).WithSymbol(sent),
	)
}

// peek reads size bytes of kernel memory at reg+off into the stack at slot;
// what cannot be read is zero.
func peek(slot int16, size int32, reg asm.Register, off int16) asm.Instructions {
	return read(asm.FnProbeReadKernel, slot, size, reg, off)
}

// read is peek with the helper named.
func read(helper asm.BuiltinFunc, slot int16, size int32, reg asm.Register, off int16) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R3, reg),
		asm.Add.Imm(asm.R3, int32(off)),
		asm.Mov.Reg(asm.R1, asm.RFP), asm.Add.Imm(asm.R1, int32(slot)),
		asm.Mov.Imm(asm.R2, size),
		helper.Call(),
	}
}

func load(reg asm.Register, slot int16) asm.Instruction {
	return asm.LoadMem(reg, asm.RFP, slot, asm.DWord)
}

func save(slot int16, reg asm.Register) asm.Instruction {
	return asm.StoreMem(asm.RFP, slot, reg, asm.DWord)
}
