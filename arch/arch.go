// Package arch holds the register sets of the machines procdump dumps: amd64,
// i386 and arm64.
//
// A thread's registers are kept as the kernel hands them out: one byte slice
// per regset, keyed by its ELF note type (linux/elf.h, NT_*). That form loses
// nothing, goes into an ELF core verbatim, and is what
// ptrace(PTRACE_GETREGSET) returns. Accessors read the few registers the rest
// of procdump needs by name; context.go converts to and from the CONTEXT
// structures of minidumps.
package arch

import (
	"encoding/binary"
	"fmt"
)

// Machine is an instruction set and its register layout.
type Machine uint8

const (
	Unknown Machine = iota
	AMD64
	I386
	ARM64
)

// String returns the machine's name as Go spells it, but "i386" for 386.
func (m Machine) String() string {
	switch m {
	case AMD64:
		return "amd64"
	case I386:
		return "i386"
	case ARM64:
		return "arm64"
	}
	return "unknown"
}

// PointerSize is the size of a target address in bytes: 8 or 4 (0 if unknown).
func (m Machine) PointerSize() int {
	switch m {
	case AMD64, ARM64:
		return 8
	case I386:
		return 4
	}
	return 0
}

// RedZone is the number of bytes below the stack pointer that belong to the
// running function (System V AMD64 ABI, 3.2.2).
func (m Machine) RedZone() uint64 {
	if m == AMD64 {
		return 128
	}
	return 0
}

// Regset types: the n_type of the ELF core note that carries each
// (include/uapi/linux/elf.h).
const (
	NT_PRSTATUS             = 1          // general-purpose registers (the pr_reg part)
	NT_PRFPREG              = 2          // amd64: FXSAVE, 512 B; i386: FSAVE, 108 B; arm64: FPSIMD, 528 B
	NT_PRXFPREG             = 0x46e62b7f // i386: FXSAVE, 512 B
	NT_386_TLS              = 0x200      // i386: struct user_desc[3], 48 B
	NT_X86_XSTATE           = 0x202      // XSAVE area, XCR0 at byte 464
	NT_X86_SHSTK            = 0x204      // shadow stack pointer, 8 B
	NT_X86_XSAVE_LAYOUT     = 0x205      // core only: offsets of the XSAVE components
	NT_ARM_TLS              = 0x401
	NT_ARM_HW_BREAK         = 0x402
	NT_ARM_HW_WATCH         = 0x403
	NT_ARM_SYSTEM_CALL      = 0x404
	NT_ARM_SVE              = 0x405
	NT_ARM_PAC_MASK         = 0x406
	NT_ARM_TAGGED_ADDR_CTRL = 0x409
	NT_ARM_SSVE             = 0x40b
	NT_ARM_ZA               = 0x40c
	NT_ARM_ZT               = 0x40d
	NT_ARM_FPMR             = 0x40e
	NT_ARM_GCS              = 0x410
)

// Regset is one kernel register set of a thread.
type Regset struct {
	Type uint32 // NT_*
	Data []byte // exactly as PTRACE_GETREGSET returned it
}

// Registers are all registers of one thread.
type Registers struct {
	Machine Machine
	// Sets holds NT_PRSTATUS first (the bare user_regs_struct: 216 bytes on
	// amd64, 68 on i386, 272 on arm64), then the others in the order in which
	// the kernel writes them to a core.
	Sets []Regset
}

// Set returns the regset of the given type, or nil.
func (r *Registers) Set(typ uint32) []byte {
	for i := range r.Sets {
		if r.Sets[i].Type == typ {
			return r.Sets[i].Data
		}
	}
	return nil
}

// Put replaces the regset of the given type or appends it.
func (r *Registers) Put(typ uint32, data []byte) {
	for i := range r.Sets {
		if r.Sets[i].Type == typ {
			r.Sets[i].Data = data
			return
		}
	}
	r.Sets = append(r.Sets, Regset{typ, data})
}

// GPNames lists the general-purpose registers in the order of the kernel's
// user_regs_struct (arch/x86/include/asm/user_64.h, user_32.h,
// arch/arm64/include/uapi/asm/ptrace.h).
func (m Machine) GPNames() []string {
	switch m {
	case AMD64:
		return amd64Names
	case I386:
		return i386Names
	case ARM64:
		return arm64Names
	}
	return nil
}

var amd64Names = []string{"r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8",
	"rax", "rcx", "rdx", "rsi", "rdi", "orig_rax", "rip", "cs", "eflags", "rsp", "ss",
	"fs_base", "gs_base", "ds", "es", "fs", "gs"}

var i386Names = []string{"ebx", "ecx", "edx", "esi", "edi", "ebp", "eax", "ds", "es", "fs", "gs",
	"orig_eax", "eip", "cs", "eflags", "esp", "ss"}

var arm64Names = func() []string {
	var n []string
	for i := range 31 {
		n = append(n, fmt.Sprintf("x%d", i))
	}
	return append(n, "sp", "pc", "pstate")
}()

// GPSize is the size of the general-purpose regset in bytes.
func (m Machine) GPSize() int { return len(m.GPNames()) * m.PointerSize() }

// GP returns the general-purpose register of that name (see GPNames), and
// whether it is there.
func (r *Registers) GP(name string) (uint64, bool) {
	for i, n := range r.Machine.GPNames() {
		if n == name {
			return r.gpAt(i)
		}
	}
	return 0, false
}

// SetGP sets a general-purpose register, making the regset if it is missing.
func (r *Registers) SetGP(name string, v uint64) {
	for i, n := range r.Machine.GPNames() {
		if n != name {
			continue
		}
		gp := r.Set(NT_PRSTATUS)
		if len(gp) < r.Machine.GPSize() {
			gp = append(gp, make([]byte, r.Machine.GPSize()-len(gp))...)
			r.Put(NT_PRSTATUS, gp)
		}
		if r.Machine.PointerSize() == 4 {
			binary.LittleEndian.PutUint32(gp[i*4:], uint32(v))
		} else {
			binary.LittleEndian.PutUint64(gp[i*8:], v)
		}
	}
}

// Values returns the general-purpose registers in GPNames order.
func (r *Registers) Values() []uint64 {
	var v []uint64
	for i := range r.Machine.GPNames() {
		x, ok := r.gpAt(i)
		if !ok {
			break
		}
		v = append(v, x)
	}
	return v
}

func (r *Registers) gpAt(i int) (uint64, bool) {
	gp, w := r.Set(NT_PRSTATUS), r.Machine.PointerSize()
	if w == 0 || len(gp) < (i+1)*w {
		return 0, false
	}
	if w == 4 {
		return uint64(binary.LittleEndian.Uint32(gp[i*4:])), true
	}
	return binary.LittleEndian.Uint64(gp[i*8:]), true
}

// PC returns the program counter, or 0 if there are no registers.
func (r *Registers) PC() uint64 { return r.named("rip", "eip", "pc") }

// SP returns the stack pointer, or 0 if there are no registers.
func (r *Registers) SP() uint64 { return r.named("rsp", "esp", "sp") }

// FP returns the frame pointer, or 0 if there are no registers.
func (r *Registers) FP() uint64 { return r.named("rbp", "ebp", "x29") }

func (r *Registers) named(amd64, i386, arm64 string) uint64 {
	name := ""
	switch r.Machine {
	case AMD64:
		name = amd64
	case I386:
		name = i386
	case ARM64:
		name = arm64
	}
	v, _ := r.GP(name)
	return v
}

// TLS returns the thread pointer: fs_base on amd64, the base of the gs
// descriptor on i386, TPIDR_EL0 on arm64; 0 if unknown.
func (r *Registers) TLS() uint64 {
	switch r.Machine {
	case AMD64:
		v, _ := r.GP("fs_base")
		return v
	case I386:
		// struct user_desc {entry_number, base_addr, limit, flags}; the gs
		// selector's index names the entry (asm/ldt.h).
		gs, _ := r.GP("gs")
		tls := r.Set(NT_386_TLS)
		for ; len(tls) >= 16; tls = tls[16:] {
			if uint64(binary.LittleEndian.Uint32(tls)) == gs>>3 {
				return uint64(binary.LittleEndian.Uint32(tls[4:]))
			}
		}
	case ARM64:
		if t := r.Set(NT_ARM_TLS); len(t) >= 8 {
			return binary.LittleEndian.Uint64(t)
		}
	}
	return 0
}
