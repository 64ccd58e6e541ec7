package unwind

import (
	"encoding/binary"

	"procdump/arch"
	"procdump/kdump"
)

// Regs are the general-purpose registers of a processor, as struct pt_regs and
// struct user_regs_struct hold them: the order is that of arch.Machine.GPNames.
type Regs struct {
	machine arch.Machine
	values  []uint64
}

// Numbers of registers in pt_regs.
const (
	x86R13 = 2
	x86BP  = 4
	x86R10 = 7
	x86DX  = 12
	x86DI  = 14
	x86IP  = 16
	x86CS  = 17
	x86SP  = 19

	armFP     = 29
	armSP     = 31
	armPC     = 32
	armPState = 33
)

// ptRegs is the number of words that struct pt_regs has on each machine, apart
// from what the kernel keeps behind them.
func ptRegs(m arch.Machine) int {
	if m == arch.ARM64 {
		return 34
	}
	return 21
}

// FromPRStatus takes the registers from a processor's NT_PRSTATUS note. It
// returns nil if there are none: a note of zeros stands for a processor whose
// registers are not known.
func FromPRStatus(m arch.Machine, desc []byte) *Regs {
	b := kdump.PRStatusRegisters(m, desc)
	if m.PointerSize() != 8 || len(b) < 8*ptRegs(m) {
		return nil
	}
	r := regsOf(m, b)
	if r.PC() == 0 && r.SP() == 0 {
		return nil
	}
	return r
}

// regsOf reads pt_regs from bytes that are long enough.
func regsOf(m arch.Machine, b []byte) *Regs {
	r := &Regs{machine: m, values: make([]uint64, ptRegs(m))}
	for i := range r.values {
		r.values[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return r
}

func (r *Regs) pick(x86, arm int) uint64 {
	if r.machine == arch.ARM64 {
		return r.values[arm]
	}
	return r.values[x86]
}

// PC is the program counter.
func (r *Regs) PC() uint64 { return r.pick(x86IP, armPC) }

// SP is the stack pointer.
func (r *Regs) SP() uint64 { return r.pick(x86SP, armSP) }

// FP is the frame pointer; on x86-64 that is rbp, whatever it is used for.
func (r *Regs) FP() uint64 { return r.pick(x86BP, armFP) }

// User tells whether the processor was in user mode.
func (r *Regs) User() bool {
	if r.machine == arch.ARM64 {
		return r.values[armPState]&0xf == 0 // PSR_MODE_EL0t
	}
	return r.values[x86CS]&3 == 3
}

// All calls f for each register.
func (r *Regs) All(f func(name string, value uint64)) {
	names := r.machine.GPNames()
	for i, v := range r.values {
		if i < len(names) {
			f(names[i], v)
		}
	}
}
