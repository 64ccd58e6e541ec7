package bpf

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
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

	// accounts is how many processes have one of their own. Processes whose
	// numbers are equal in the low bits share one.
	accounts = 1 << 12
)

// The account of a process, one line of the processor's cache:
//
//	 0  u64 time up to which its log messages have used what they may
//	 8  u64 the same of its standard output
//	16  u64 and of its standard error
//	24  u32 number of the program that counted the last write that was not read
//	32  u64 writes that were not read
//	40  u64 writes that were read
//	48  u64 drift
//
// The drift is how many writes the kernel has counted of the process, to
// whatever file, beyond the two numbers here. It changes when the process
// writes while no program is attached, and by nothing else where it writes to
// standard output and standard error only. A program notes it when it is zero:
// as drift << 1 | 1, or as driftUnknown.
const (
	accUsed    = 0
	accProgram = 24
	accSkipped = 32
	accTaken   = 40
	accDrift   = 48
	accSize    = 64

	// driftUnknown is the drift of a process with several threads: each has a
	// count of its own, and they write at the same time.
	driftUnknown = 2
)

// limiter is what the programs of a tap need to limit what is read.
type limiter struct {
	accounts *ebpf.Map
	memory   []byte // of the map
	drifts   bool   // the programs note the drift
}

func newLimiter(k kernel) (_ *limiter, err error) {
	l := new(limiter)
	if l.accounts, err = ebpf.NewMap(&ebpf.MapSpec{Name: "pd_accounts", Type: ebpf.Array, KeySize: 4, ValueSize: accSize,
		MaxEntries: accounts, Flags: unix.BPF_F_MMAPABLE}); err != nil {
		return nil, fmt.Errorf("create BPF map: %w", err)
	}
	l.memory, err = unix.Mmap(l.accounts.FD(), 0, accounts*accSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		_ = l.accounts.Close()
		return nil, fmt.Errorf("map BPF map: %w", err)
	}
	l.drifts = k.countsWrites()
	return l, nil
}

// countsWrites tells whether the kernel counts the writes of each task
// (CONFIG_TASK_XACCT), and programs may look at the task (Linux 5.11).
func (k kernel) countsWrites() bool {
	_, err := k.offset("task_struct", "ioac", "syscw")
	return err == nil && k.has(asm.FnGetCurrentTaskBtf)
}

// word is one of the account of a process.
func (l *limiter) word(pid int, at uintptr) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&l.memory[uintptr(pid&(accounts-1))*accSize+at]))
}

// seen is how many writes of a process the programs have counted, read or not.
func (l *limiter) seen(pid int) int64 {
	return int64(l.word(pid, accSkipped).Load() + l.word(pid, accTaken).Load())
}

// lost is how many writes were not read.
func (l *limiter) lost() (n uint64) {
	for i := range accounts {
		n += l.word(i, accSkipped).Load()
	}
	return n
}

func (l *limiter) close() {
	_ = unix.Munmap(l.memory)
	_ = l.accounts.Close()
}

// account looks up the account of the process with the number in R1 and leaves
// its address in R8.
func (a *assembler) account() asm.Instructions {
	return asm.Instructions{
		asm.And.Imm(asm.R1, accounts-1),
		asm.StoreMem(asm.RFP, slotTmp, asm.R1, asm.Word),
		asm.LoadMapPtr(asm.R1, a.limiter.accounts.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, slotTmp),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, exit),
		asm.Mov.Reg(asm.R8, asm.R0),
	}
}

// limit leaves the program, and counts, if a process has used what it may; else
// it takes what a write of the size in slotRest is worth. The time is in
// slotTime, the number of the process in R1; stream puts the standard
// descriptor, or 0, into R3. Threads that write at the same moment may get a
// write more through. It destroys R8.
func (a *assembler) limit(stream asm.Instruction) asm.Instructions {
	over, skipped := a.label("over"), a.label("skipped")
	within, taken, size := a.label("within"), a.label("taken"), a.label("size")
	ins := append(a.account(),
		stream,
		asm.And.Imm(asm.R3, 3),
		asm.LSh.Imm(asm.R3, 3),
		asm.Add.Reg(asm.R3, asm.R8),
		load(asm.R1, slotTime),
		asm.LoadMem(asm.R2, asm.R3, accUsed, asm.DWord),
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
		asm.StoreMem(asm.R3, accUsed, asm.R2, asm.DWord),
		asm.Mov.Imm(asm.R1, 1),
		asm.AddAtomic.Mem(asm.R8, asm.R1, asm.DWord, accTaken),
	)
	ins = append(ins, a.noteDrift(taken)...)
	ins = append(ins,
		asm.Ja.Label(taken),
		asm.Add.Imm(asm.R1, maxAhead).WithSymbol(over),
		asm.JGE.Reg(asm.R2, asm.R1, skipped),
		asm.Add.Imm(asm.R2, skipNanos),
		asm.StoreMem(asm.R3, accUsed, asm.R2, asm.DWord),
		asm.StoreImm(asm.R8, accProgram, int64(a.number), asm.Word).WithSymbol(skipped),
		asm.Mov.Imm(asm.R1, 1),
		// Atomic because its threads may write at the same time.
		asm.AddAtomic.Mem(asm.R8, asm.R1, asm.DWord, accSkipped),
	)
	ins = append(ins, a.noteDrift(exit)...)
	return append(ins,
		asm.Ja.Label(exit),
		asm.Mov.Imm(asm.R0, 0).WithSymbol(taken),
	)
}

// noteDrift notes the drift in the account at R8 if it is zero there, and goes
// to next if not.
func (a *assembler) noteDrift(next string) asm.Instructions {
	if !a.limiter.drifts {
		return nil
	}
	return append(asm.Instructions{
		asm.LoadMem(asm.R1, asm.R8, accDrift, asm.DWord),
		asm.JNE.Imm(asm.R1, 0, next),
	}, a.drift()...)
}

// drift puts it into the account at R8.
func (a *assembler) drift() asm.Instructions {
	known := a.label("drift_known")
	return asm.Instructions{
		asm.FnGetCurrentTaskBtf.Call(),
		asm.LoadMem(asm.R2, asm.R0, a.off("task_struct", "signal"), asm.DWord),
		asm.LoadMem(asm.R3, asm.R2, a.off("signal_struct", "nr_threads"), asm.Word),
		asm.Mov.Imm(asm.R1, driftUnknown),
		asm.JNE.Imm(asm.R3, 1, known),
		// Of its threads that have ended, and its own.
		asm.LoadMem(asm.R1, asm.R2, a.off("signal_struct", "ioac", "syscw"), asm.DWord),
		asm.LoadMem(asm.R3, asm.R0, a.off("task_struct", "ioac", "syscw"), asm.DWord),
		asm.Add.Reg(asm.R1, asm.R3),
		asm.LoadMem(asm.R3, asm.R8, accSkipped, asm.DWord), asm.Sub.Reg(asm.R1, asm.R3),
		asm.LoadMem(asm.R3, asm.R8, accTaken, asm.DWord), asm.Sub.Reg(asm.R1, asm.R3),
		asm.LSh.Imm(asm.R1, 1),
		asm.Or.Imm(asm.R1, 1),
		asm.StoreMem(asm.R8, accDrift, asm.R1, asm.DWord).WithSymbol(known),
	}
}

// buildExitCount makes the program that notes the drift of a watched process
// that ends, at sched_process_exit: nobody can ask for it afterwards.
func buildExitCount(a *assembler) (asm.Instructions, error) {
	return a.program(
		a.onlyWatched(slotTmp),
		asm.Instructions{asm.Mov.Reg(asm.R1, asm.R7), asm.RSh.Imm(asm.R1, 32)},
		a.account(),
		a.drift(),
	)
}
