package small

import (
	"procdump/arch"
	"procdump/kdump"
	"procdump/kernel/layout"
)

// registers are the general-purpose registers of a note.
type registers []byte

// registersOf returns those of an NT_PRSTATUS descriptor, nil if it has none.
func registersOf(m arch.Machine, prstatus []byte) registers {
	if m.PointerSize() != 8 {
		return nil
	}
	r := registers(kdump.PRStatusRegisters(m, prstatus))
	for _, b := range r {
		if b != 0 {
			return r
		}
	}
	return nil
}

func (r registers) get(m arch.Machine, name string) uint64 {
	for i, n := range m.GPNames() {
		if n == name && len(r) >= i*8+8 {
			return le.Uint64(r[i*8:])
		}
	}
	return 0
}

func (r registers) set(m arch.Machine, name string, v uint64) {
	for i, n := range m.GPNames() {
		if n == name {
			le.PutUint64(r[i*8:], v)
		}
	}
}

// pair returns the instruction and the stack pointer.
func (r registers) pair(m arch.Machine) (ip, sp uint64) {
	if m == arch.ARM64 {
		return r.get(m, "pc"), r.get(m, "sp")
	}
	return r.get(m, "rip"), r.get(m, "rsp")
}

// frameFields are the members of struct inactive_task_frame of x86-64, which
// __switch_to_asm has pushed at thread.sp, with their registers and their
// offsets since 5.8.
var frameFields = []struct {
	member, register string
	offset           uint64
}{
	{"r15", "r15", 0}, {"r14", "r14", 8}, {"r13", "r13", 16}, {"r12", "r12", 24},
	{"bx", "rbx", 32}, {"bp", "rbp", 40}, {"ret_addr", "rip", 48},
}

// sleeping makes the note of a thread that does not run: its registers are
// those that it has once the switch to it has returned.
func (b *builder) sleeping(t layout.Task) (prstatus []byte, sp, ip uint64) {
	m := b.k.Machine
	prstatus = kdump.BlankPRStatus(m, 0)
	r := registers(kdump.PRStatusRegisters(m, prstatus))
	if r == nil {
		return nil, 0, 0
	}
	kdump.SetPRStatusPID(m, prstatus, t.PID)
	if m == arch.ARM64 {
		sp, ip = t.SP, b.k.Space.StripPAC(t.PC)
		for _, name := range []string{"x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28"} {
			if f, err := b.k.Field("task_struct", "thread.cpu_context."+name); err == nil {
				v, _ := b.k.ReadField(t.Addr, f)
				r.set(m, name, v)
			}
		}
		r.set(m, "x29", t.FP)
		r.set(m, "x30", ip)
		r.set(m, "sp", sp)
		r.set(m, "pc", ip)
		return prstatus, sp, ip
	}
	sp = t.SP
	for _, f := range frameFields {
		off := f.offset
		if v, err := b.k.Field("inactive_task_frame", f.member); err == nil {
			off = v.Offset
		}
		v, err := b.k.Space.Uint64(t.SP + off)
		if err != nil {
			return nil, 0, 0
		}
		r.set(m, f.register, v)
		if f.register == "rip" {
			ip, sp = v, t.SP+off+8
		}
	}
	r.set(m, "rsp", sp)
	const kernelCS, kernelDS, flags = 0x10, 0x18, 0x2 // __KERNEL_CS, __KERNEL_DS, the bit that is always set
	r.set(m, "cs", kernelCS)
	r.set(m, "ss", kernelDS)
	r.set(m, "eflags", flags)
	r.set(m, "orig_rax", ^uint64(0)) // not in a system call of its own
	return prstatus, sp, ip
}
