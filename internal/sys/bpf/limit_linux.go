package bpf

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// A process that does nothing but write would be slowed down by half and more
// if each of its writes were read: what is read of it is limited to what costs
// it a few hundredths of its time. The writes beyond that are only counted.
//
// The limit is the generic cell rate algorithm (ITU-T I.371): there is one word
// for each of a process's standard output, standard error and log messages, the
// time up to which it has used what it may. A write that is read moves it on by
// what the write is worth; it may lie behind by a burst at most, and while it
// lies ahead no write is read. A write that is not read moves it on as well, by
// less, and not so far that none is read any more: in each maxAhead and a tick
// of the kernel's timer some are.
const (
	unitNanos  = 1_000_000_000 / UnitsPerSecond
	burstNanos = BurstUnits * unitNanos
	skipNanos  = unitNanos / SkippedPerUnit
	maxAhead   = 8_000_000
	// unitShift makes units of bytes.
	unitShift = 7

	// limitSlots is how many words there are. Processes whose numbers are equal
	// in the low bits share one.
	limitSlots = 1 << 14
)

// limiter is what the programs of a tap need to limit what is read.
type limiter struct {
	used    *ebpf.Map // by process and descriptor: see above
	skipped *ebpf.Map // by processor: how many writes were not read
}

func newLimiter() (_ *limiter, err error) {
	l := new(limiter)
	if l.used, err = ebpf.NewMap(&ebpf.MapSpec{Name: "pd_used", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: limitSlots}); err != nil {
		return nil, fmt.Errorf("create BPF map: %w", err)
	}
	l.skipped, err = ebpf.NewMap(&ebpf.MapSpec{Name: "pd_skipped", Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		_ = l.used.Close()
		return nil, fmt.Errorf("create BPF map: %w", err)
	}
	return l, nil
}

// lost is how many writes were not read.
func (l *limiter) lost() (n uint64) {
	var each []uint64
	if err := l.skipped.Lookup(uint32(0), &each); err != nil {
		return 0
	}
	for _, x := range each {
		n += x
	}
	return n
}

func (l *limiter) close() {
	_ = l.used.Close()
	_ = l.skipped.Close()
}

// limit leaves the program, and counts, if a process has used what it may; else
// it takes what a write of the size in slotRest is worth. The time is in
// slotTime, the number of the process << 2 | standard descriptor in R1. Threads
// that write at the same moment may get a write more through.
func (a *assembler) limit() asm.Instructions {
	over, skipped := a.label("over"), a.label("skipped")
	within, taken, size := a.label("within"), a.label("taken"), a.label("size")
	ins := asm.Instructions{
		asm.And.Imm(asm.R1, limitSlots-1),
		asm.StoreMem(asm.RFP, slotTmp, asm.R1, asm.Word),
		asm.LoadMapPtr(asm.R1, a.limiter.used.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, slotTmp),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, exit),
		load(asm.R1, slotTime),
		asm.LoadMem(asm.R2, asm.R0, 0, asm.DWord),
		asm.JGT.Reg(asm.R2, asm.R1, over),
		asm.Sub.Imm(asm.R1, burstNanos),
		asm.JSGE.Reg(asm.R2, asm.R1, within),
		asm.Mov.Reg(asm.R2, asm.R1),
		load(asm.R1, slotRest).WithSymbol(within),
		asm.JLE.Imm(asm.R1, maxPieces*PieceBytes, size),
		asm.Mov.Imm(asm.R1, maxPieces*PieceBytes),
		asm.RSh.Imm(asm.R1, unitShift).WithSymbol(size),
		asm.Add.Imm(asm.R1, 1),
		asm.Mul.Imm(asm.R1, unitNanos),
		asm.Add.Reg(asm.R2, asm.R1),
		asm.StoreMem(asm.R0, 0, asm.R2, asm.DWord),
		asm.Ja.Label(taken),
		asm.Add.Imm(asm.R1, maxAhead).WithSymbol(over),
		asm.JGE.Reg(asm.R2, asm.R1, skipped),
		asm.Add.Imm(asm.R2, skipNanos),
		asm.StoreMem(asm.R0, 0, asm.R2, asm.DWord),
	}
	skip := a.first(a.limiter.skipped.FD(), slotTmp)
	skip[0] = skip[0].WithSymbol(skipped)
	ins = append(ins, skip...)
	return append(ins,
		// Atomic because another task may get this processor in between.
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		asm.Ja.Label(exit),
		asm.Mov.Imm(asm.R0, 0).WithSymbol(taken),
	)
}
