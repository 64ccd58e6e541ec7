package unwind

import (
	"golang.org/x/arch/x86/x86asm"

	"procdump/arch"
)

// How far code is followed: to a return instruction, and from a function's beginning.
const (
	maxAhead   = 1000
	maxEntered = 2000
)

// exits are the numbers of the system call that ends a thread.
var exits = map[arch.Machine]uint64{arch.AMD64: 60, arch.I386: 1}

// ahead finds a frame's caller by what the function does from here on: where its
// return instruction finds the stack pointer lies the return address, and what it
// has loaded on the way are the caller's registers. For code of programs and
// libraries of amd64 and i386 that has no tables, such as musl's.
func (u *Unwinder) ahead(cur *walk) (next walk, end ending, ok bool) {
	im := u.set.Find(cur.frame.CodePC())
	if hardware[u.p.Machine()] == nil || im == nil {
		return next, goesOn, false
	}
	if entry, ok := im.Entry(); ok && u.called(entry) == cur.pc {
		return next, outermost, true // nobody has called the program's first function
	}
	start := route{registers: cur.registers, straight: true}
	if !cur.frame.Exact {
		for _, n := range u.scratch() {
			start.forget(n)
		}
	}
	end = goesOn
	u.follow(start, maxAhead, func(r *route, inst *x86asm.Inst) bool {
		switch {
		case u.exit(r, inst) && r.straight && !cur.frame.Exact:
			end, ok = outermost, true // what calls the thread's function
		case inst.Op == x86asm.RET, inst.Op == x86asm.JMP && throughTable(inst):
			next, ok = u.arrived(cur, r)
		}
		return ok
	})
	return next, end, ok
}

// scratch are the registers that a function of the process need not keep.
func (u *Unwinder) scratch() []int {
	if u.p.System.OS == "windows" && u.p.Machine() == arch.AMD64 {
		return windowsScratch
	}
	return u.m.scratch
}

// windowsScratch are rax, rdx, rcx and r8 to r11 (Microsoft's x64 calling convention).
var windowsScratch = []int{0, 1, 2, 8, 9, 10, 11}

// throughTable tells whether a jump goes through a word at a fixed place, as
// calls at a function's end do between images.
func throughTable(inst *x86asm.Inst) bool {
	mem, ok := inst.Args[0].(x86asm.Mem)
	return ok && mem.Index == 0 && (mem.Base == x86asm.RIP || mem.Base == 0)
}

// exit tells whether an instruction is the system call that ends a thread.
func (u *Unwinder) exit(r *route, inst *x86asm.Inst) bool {
	number, ok := r.get(0)
	return ok && number == exits[u.p.Machine()] && (inst.Op == x86asm.SYSCALL || inst.Op == x86asm.INT && inst.Args[0] == x86asm.Imm(0x80))
}

// called is the address behind the first call of straight code, 0 if none comes
// soon.
func (u *Unwinder) called(pc uint64) uint64 {
	for range 24 {
		inst, ok := u.instructionAt(pc)
		if !ok {
			break
		}
		pc += uint64(inst.Len)
		if inst.Op == x86asm.CALL {
			return pc
		}
	}
	return 0
}

// arrived is the caller's frame, if there is a return address where the route
// returns to, and that of a call of the function.
func (u *Unwinder) arrived(cur *walk, r *route) (walk, bool) {
	sp, _ := r.get(uint64(u.m.sp))
	ret, ok := u.load(r, sp)
	if !ok || sp < cur.frame.SP || sp-cur.frame.SP > maxFrame || !u.returns(ret) {
		return walk{}, false
	}
	if _, denied := u.entered(cur, ret, sp); denied {
		return walk{}, false
	}
	next := walk{registers: r.registers, frame: Frame{How: ByCode}}
	for _, n := range u.scratch() {
		next.forget(n)
	}
	next.pc = ret
	// Arguments that the return instruction takes away count as the caller's, as in
	// call frame information.
	next.set(u.m.sp, u.m.trim(sp+uint64(u.m.word)))
	return next, true
}

// entrance is what code does from a function's beginning to a place in it.
type entrance struct {
	reaches bool
	never   bool   // it does not
	kept    uint64 // registers that it has not written
	saves   []stored
}

// way is from where to where, and how far the stack pointer goes down.
type way struct{ from, to, down uint64 }

// entered tells of the function that the call before ret is of, whether with the
// return address at slot it comes to where cur stands. Then caller has the
// registers as they were at the call; denied: it does not come there.
func (u *Unwinder) entered(cur *walk, ret, slot uint64) (caller *registers, denied bool) {
	target, ok := u.target(ret)
	if !ok {
		return nil, false
	}
	w := way{target, cur.pc, slot - cur.frame.SP}
	e, ok := u.ways[w]
	if !ok {
		e = u.enter(w)
		if len(u.ways) >= maxRows {
			clear(u.ways)
		}
		u.ways[w] = e
	}
	if !e.reaches {
		return nil, e.never
	}
	caller = new(registers)
	for n := range u.m.columns {
		if v, ok := cur.get(uint64(n)); ok && e.kept>>n&1 != 0 {
			caller.set(n, v)
		}
	}
	for _, s := range e.saves {
		if v, ok := u.word(u.m.trim(slot + s.addr)); ok {
			caller.set(s.reg, v)
		}
	}
	return caller, false
}

// enter follows a function from its beginning. Its stack pointer is taken for 0
// there.
func (u *Unwinder) enter(w way) (e entrance) {
	m := u.m
	start := route{kept: 1<<m.columns - 1}
	start.pc = w.from
	start.set(m.sp, 0)
	for _, n := range u.scratch() {
		start.kept &^= 1 << n
	}
	all := u.follow(start, maxEntered, func(r *route, _ *x86asm.Inst) bool {
		sp, _ := r.get(uint64(m.sp))
		if r.pc != w.to || sp != m.trim(-w.down) {
			return false
		}
		e.reaches, e.kept = true, r.kept
		for _, s := range r.stored {
			if s.reg >= 0 && r.kept>>s.reg&1 == 0 && m.trim(-s.addr) <= w.down {
				e.saves = append(e.saves, s)
			}
		}
		return true
	})
	e.never = all
	return e
}

// target is the function that the call before a return address names, by its
// distance or through a word at a fixed place; false: neither.
func (u *Unwinder) target(ret uint64) (uint64, bool) {
	for _, length := range []uint64{5, 6} {
		inst, ok := u.instructionAt(ret - length)
		if !ok || inst.Op != x86asm.CALL || uint64(inst.Len) != length {
			continue
		}
		if rel, ok := inst.Args[0].(x86asm.Rel); ok && length == 5 {
			to := u.m.trim(ret + uint64(int64(rel)))
			return to, u.code(to)
		}
		if throughTable(&inst) {
			r := route{}
			r.pc = ret
			if at, ok := u.address(&r, inst.Args[0]); ok {
				to, ok := u.word(at)
				return to, ok && u.code(to)
			}
		}
	}
	return 0, false
}
