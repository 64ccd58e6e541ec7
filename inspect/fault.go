package inspect

import (
	"encoding/binary"
	"fmt"
	"strings"

	"procdump/inspect/access"
	"procdump/internal/signals"
	"procdump/snapshot"
)

// lowest is where the first page that a process may map begins, as a rule: what
// lies below is a null pointer and an offset.
const lowest = 64 << 10

// near is how far below the stack pointer a stack that overflows is touched, in
// bytes.
const near = 1 << 20

// linuxFault says what a signal means.
func linuxFault(p *snapshot.Process, t *snapshot.Thread, e *snapshot.Exception, a *Access) string {
	code := int32(e.Code)
	if code <= 0 && e.Signal != 0 {
		return sentText(p, t, e)
	}
	switch e.Signal {
	case signals.SEGV, signals.BUS:
		return memoryFault(p, t, e, a)
	case signals.FPE:
		if s, ok := map[int32]string{1: "integer division by zero", 2: "integer overflow", 3: "floating-point division by zero",
			4: "floating-point overflow", 5: "floating-point underflow", 6: "floating-point inexact result", 7: "floating-point invalid operation"}[code]; ok {
			return s
		}
	case signals.ILL:
		return "an instruction that the processor does not know"
	case signals.TRAP:
		return "a breakpoint or trap instruction"
	case signals.SYS:
		return "a system call that seccomp forbids"
	}
	return signals.Code(e.Signal, code)
}

// sentText says who sent a signal: a siginfo of that kind has the sender's PID
// and UID after signal number, errno and code (sigaction(2)).
func sentText(p *snapshot.Process, t *snapshot.Thread, e *snapshot.Exception) string {
	at := 12
	if p.Machine().PointerSize() == 8 {
		at = 16
	}
	const siUser, siQueue, siTkill = 0, -1, -6
	code := int32(e.Code)
	if t == nil || len(t.Siginfo) < at+8 || code != siUser && code != siQueue && code != siTkill {
		return signals.Code(e.Signal, code)
	}
	pid, uid := binary.LittleEndian.Uint32(t.Siginfo[at:]), binary.LittleEndian.Uint32(t.Siginfo[at+4:])
	if int(pid) == p.PID && p.PID != 0 || len(p.Info.NSPID) > 0 && int(pid) == p.Info.NSPID[len(p.Info.NSPID)-1] {
		return "the process sent it to itself"
	}
	return fmt.Sprintf("process %d of user %d sent it", pid, uid)
}

// Access is what the instruction at a fault did.
type Access struct {
	Kind  string `json:"kind"` // "read", "write" or "execute"
	Bytes int    `json:"bytes,omitempty"`
	// Register is the one that held the bad address, or the bad index, and Value
	// what it held; "" if there is none.
	Register    string  `json:"register,omitempty"`
	Value       Address `json:"value"`
	Instruction string  `json:"instruction,omitempty"`

	addr uint64
	null bool // the register held a null pointer
}

// words begin a sentence about the access; the address follows.
func (a *Access) words() string {
	if a == nil {
		return "access to"
	}
	size := ""
	if a.Bytes > 0 {
		size = " of " + plural(a.Bytes, "byte")
	}
	switch a.Kind {
	case "execute":
		return "call or jump to"
	case "read":
		return "read" + size + " from"
	}
	return "write" + size + " to"
}

// accessOf finds the access that a thread faulted at, nil if it is not known.
func (c *Collected) accessOf(t *snapshot.Thread, e *snapshot.Exception) *Access {
	if t == nil {
		return nil
	}
	pc, known := t.Registers.PC(), signals.HasAddress(e.Signal, int32(e.Code)) && e.Code != siKernel
	if known && pc == e.Addr {
		return &Access{Kind: "execute"}
	}
	code := make([]byte, 16)
	n, _ := c.set.ReadMemory(code, pc)
	all, _ := access.Of(code[:n], &t.Registers)
	for _, a := range all {
		if known && e.Addr-a.Addr >= uint64(max(a.Bytes, 1)) || !known && canonical(a.Addr) {
			continue
		}
		out := &Access{Kind: "read", Bytes: a.Bytes, Register: a.Base, Value: Address(a.Value), Instruction: a.Instruction, addr: a.Addr}
		if a.Write {
			out.Kind = "write"
		}
		if a.Index != "" && (a.Base == "" || a.Value >= lowest && c.p.FindRegion(a.Value) >= 0) {
			out.Register, out.Value = a.Index, Address(a.IndexValue)
		}
		out.null = a.Base != "" && a.Value == 0
		return out
	}
	return nil
}

// overflow begins the sentence of a stack that overflowed.
const overflow = "stack overflow"

// siKernel is the code of a fault whose address the kernel does not know (SI_KERNEL).
const siKernel = 0x80

// canonical tells whether an address of a 64-bit program can be one of memory.
func canonical(addr uint64) bool {
	top := int64(addr) >> 47
	return top == 0 || top == -1
}

// memoryFault says what was wrong with an access; a is nil if only its address
// is known.
func memoryFault(p *snapshot.Process, t *snapshot.Thread, e *snapshot.Exception, a *Access) string {
	const mapErr, accErr, pkuErr = 1, 2, 4
	if e.Code == siKernel || !signals.HasAddress(e.Signal, int32(e.Code)) {
		if a != nil {
			return fmt.Sprintf("%s %#x, an address that no memory can have (not canonical)", a.words(), a.addr)
		}
		return "access to an address that no memory can have (not canonical)"
	}
	var sp uint64
	if t != nil {
		sp = t.Registers.SP()
	}
	access := a.words()
	i := p.FindRegion(e.Addr)
	if a == nil && i >= 0 && e.Code == accErr && p.Regions[i].Perm&(snapshot.Read|snapshot.Write) == snapshot.Read {
		access = "write to"
	}
	if e.Signal == signals.BUS {
		switch e.Code {
		case 1:
			return fmt.Sprintf("%s %#x, which is not aligned", access, e.Addr)
		case 2:
			return fmt.Sprintf("%s %#x, beyond the end of the mapped file%s", access, e.Addr, regionPath(p, i))
		}
		return fmt.Sprintf("memory error of the machine at %#x", e.Addr)
	}
	if overflows(p, e.Addr, sp) {
		return fmt.Sprintf(overflow+": %s %#x, below the thread's stack", access, e.Addr)
	}
	switch {
	case e.Addr == 0:
		return access + " 0x0: a null pointer"
	case e.Addr < lowest || i < 0 && a != nil && a.null:
		return fmt.Sprintf("%s %#x: a null pointer plus %d", access, e.Addr, e.Addr)
	case i < 0:
		return fmt.Sprintf("%s %#x, where nothing is mapped%s", access, e.Addr, gap(p, e.Addr))
	}
	perm := "memory that nobody may access"
	switch g := &p.Regions[i]; {
	case e.Code == mapErr:
		perm = "where nothing was mapped when it happened"
	case e.Code == pkuErr:
		perm = "memory that a protection key guards"
	case g.Perm&snapshot.Write != 0 && g.Perm&snapshot.Execute != 0:
		perm = "memory that may be written and executed"
	case g.Perm&snapshot.Write != 0 && g.Perm&snapshot.Execute == 0:
		perm = "memory of data"
	case g.Perm&snapshot.Write == 0 && g.Perm&snapshot.Read != 0:
		perm = "memory that is read-only"
	}
	return fmt.Sprintf("%s %#x, %s%s", access, e.Addr, perm, regionPath(p, i))
}

// gap says what lies round an address where nothing is mapped: it is just behind
// a mapping, or in a hole among others, which is what is left of one that the
// program has given back.
func gap(p *snapshot.Process, addr uint64) string {
	const justBehind, widest = 64 << 10, 1 << 30 // bytes
	next := 0
	for next < len(p.Regions) && p.Regions[next].Addr <= addr {
		next++
	}
	if next == 0 {
		return ""
	}
	last := &p.Regions[next-1]
	if behind := addr - last.End(); behind < justBehind {
		name := "a mapping"
		if last.Path != "" {
			name = base(last.Path)
		}
		return fmt.Sprintf(": %s behind the end of %s", plural(int(behind), "byte"), name)
	}
	if next == len(p.Regions) || p.Regions[next].Addr-last.End() > widest || strings.HasPrefix(last.Path, "[heap]") {
		return ""
	}
	return fmt.Sprintf(" any more, it seems: it is a hole of %d KiB among mappings", (p.Regions[next].Addr-last.End())>>10)
}

func regionPath(p *snapshot.Process, i int) string {
	if i < 0 || p.Regions[i].Path == "" {
		return ""
	}
	return " (" + base(p.Regions[i].Path) + ")"
}

// overflows tells whether an address lies just below a stack, near the stack
// pointer.
func overflows(p *snapshot.Process, addr, sp uint64) bool {
	if sp == 0 || addr > sp+near || addr+near < sp {
		return false
	}
	i := p.FindRegion(addr)
	if i >= 0 && p.Regions[i].Perm&snapshot.Write != 0 {
		return false
	}
	// The stack itself begins above, with no more than its guard between.
	for k := range p.Regions {
		g := &p.Regions[k]
		if g.Addr > addr {
			if g.Perm&snapshot.Write != 0 {
				return g.Addr-addr <= near
			}
			if g.Addr-addr > near {
				return false
			}
		}
	}
	return false
}
