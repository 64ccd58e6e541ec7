package unwind

import (
	"golang.org/x/arch/x86/x86asm"

	"procdump/arch"
)

// route is a way through code of amd64 or i386, and what is known on it of
// registers and of words that it has put on the stack.
type route struct {
	registers // pc is that of the next instruction
	stored    []stored
	// kept has a bit for each register that no instruction has written.
	kept uint64
	// straight tells that nothing but instructions one after another came.
	straight bool
}

// stored is a word that a route has put on the stack.
type stored struct {
	addr, v uint64
	known   bool
	reg     int // that held v and was kept, -1: none
}

// course is how a route goes on after an instruction.
type course int

const (
	falls    course = iota // with the next instruction
	branches               // with that or at the target
	jumps                  // at the target
	ends                   // not: it cannot be followed
	stops                  // not: nothing comes after this instruction
)

const (
	maxInstruction = 15
	maxStored      = 32
	maxWays        = 64 // routes that wait to be followed
	// instructionWork is what an instruction counts of maxWork: decoding it takes
	// that much longer than looking at a word.
	instructionWork = 8
)

// hardware are the numbers of registers as instructions have them, by DWARF's.
var hardware = map[arch.Machine][]int{
	arch.AMD64: {0, 2, 1, 3, 7, 6, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15},
	arch.I386:  {0, 1, 2, 3, 4, 5, 6, 7},
}

// column is the DWARF number of a general register and its size in bytes, 0 if it
// is none of them. The high byte of a register counts as 2 bytes.
func (u *Unwinder) column(r x86asm.Reg) (n, size int) {
	switch {
	case r >= x86asm.AL && r <= x86asm.BL:
		n, size = int(r-x86asm.AL), 1
	case r >= x86asm.AH && r <= x86asm.BH:
		n, size = int(r-x86asm.AH), 2
	case r >= x86asm.SPB && r <= x86asm.R15B:
		n, size = int(r-x86asm.SPB)+4, 1
	case r >= x86asm.AX && r <= x86asm.R15W:
		n, size = int(r-x86asm.AX), 2
	case r >= x86asm.EAX && r <= x86asm.R15L:
		n, size = int(r-x86asm.EAX), 4
	case r >= x86asm.RAX && r <= x86asm.R15:
		n, size = int(r-x86asm.RAX), 8
	default:
		return 0, 0
	}
	all := hardware[u.p.Machine()]
	if n >= len(all) {
		return 0, 0
	}
	return all[n], size
}

// instructionAt decodes one; false: it is not known or not there.
func (u *Unwinder) instructionAt(pc uint64) (inst x86asm.Inst, ok bool) {
	var b [maxInstruction]byte
	code := b[:u.read(b[:], pc)]
	// Two that the decoder does not know: endbr64 and endbr32, vzeroupper.
	if len(code) >= 4 && code[0] == 0xf3 && code[1] == 0x0f && code[2] == 0x1e && code[3]&^1 == 0xfa {
		return x86asm.Inst{Op: x86asm.NOP, Len: 4}, true
	}
	if len(code) >= 3 && code[0] == 0xc5 && code[1] == 0xf8 && code[2] == 0x77 {
		return x86asm.Inst{Op: x86asm.NOP, Len: 3}, true
	}
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	inst, err := x86asm.Decode(code, 8*u.m.word)
	return inst, err == nil && inst.Op != 0
}

// follow takes a route and those that branch off, each instruction once and at
// most limit of them, the straight one first. at looks at each instruction before it is
// carried out, and ends it all by true. The result tells whether every route was
// followed to its end.
func (u *Unwinder) follow(start route, limit int, at func(*route, *x86asm.Inst) bool) bool {
	ways, seen, all := []route{start}, map[uint64]bool{}, true
	for len(ways) > 0 {
		r := ways[len(ways)-1]
		ways = ways[:len(ways)-1]
	way:
		for !seen[r.pc] {
			seen[r.pc] = true
			inst, ok := u.instructionAt(r.pc)
			if limit--; limit < 0 || !ok || !u.spend(instructionWork) {
				all = false
				break
			}
			if at(&r, &inst) {
				return false
			}
			r.pc = u.m.trim(r.pc + uint64(inst.Len))
			how, target := u.execute(&r, &inst)
			if inst.Op == x86asm.CALL && len(ways) > 0 && u.padded(r.pc) {
				// It may be the call of what never returns, and the function's last.
				ways = append([]route{r}, ways...)
				break
			}
			switch how {
			case branches:
				r.straight = false
				if len(ways) == maxWays {
					all = false
					break
				}
				other := r
				other.pc, other.stored = target, append([]stored(nil), r.stored...)
				ways = append(ways, other)
			case jumps:
				r.pc, r.straight = target, false
			case ends:
				all = false
				break way
			case stops:
				break way
			}
		}
	}
	return all
}

// padded tells whether the code at pc is there only for what follows to be aligned.
func (u *Unwinder) padded(pc uint64) bool {
	inst, ok := u.instructionAt(pc)
	return ok && pc%16 != 0 && (inst.Op == x86asm.NOP || inst.Op == x86asm.XCHG && inst.Args[0] == inst.Args[1])
}

// execute carries out what an instruction does to the registers and the stack.
// The route's pc is already that of the next one.
func (u *Unwinder) execute(r *route, inst *x86asm.Inst) (how course, target uint64) {
	m, word := u.m, uint64(u.m.word)
	sp, ok := r.get(uint64(m.sp))
	if !ok {
		return ends, 0
	}
	if rel, ok := inst.Args[0].(x86asm.Rel); ok {
		target = m.trim(r.pc + uint64(int64(rel)))
		switch {
		case inst.Op == x86asm.JMP:
			return jumps, target
		case inst.Op != x86asm.CALL:
			return branches, target
		case target == r.pc: // the way of i386 to learn the program counter
			r.push(m, stored{v: target, known: true, reg: -1})
			return falls, 0
		}
	}
	switch inst.Op {
	case x86asm.CALL:
		for _, n := range u.scratch() {
			r.write(n, 0, false)
		}
		r.straight = false
	case x86asm.JMP:
		if at, ok := u.address(r, inst.Args[0]); ok {
			if to, ok := u.load(r, at); ok && u.code(to) {
				return jumps, to
			}
		}
		return ends, 0
	case x86asm.RET:
		// A word that the route has put there: the instruction is a jump.
		for _, s := range r.stored {
			if s.addr == sp {
				return ends, 0
			}
		}
		return stops, 0
	case x86asm.HLT, x86asm.UD2, x86asm.UD1, x86asm.IRET, x86asm.IRETD, x86asm.IRETQ, x86asm.LRET, x86asm.LJMP:
		return stops, 0
	case x86asm.INT:
		if inst.Args[0] == x86asm.Imm(3) {
			return stops, 0
		}
		r.write(0, 0, false)
	case x86asm.SYSCALL:
		for _, n := range []int{0, 2, 11} { // rax, rcx, r11
			r.write(n, 0, false)
		}
	case x86asm.PUSH:
		v, known := u.operand(r, inst.Args[0])
		s := stored{v: v, known: known, reg: -1}
		if reg, ok := inst.Args[0].(x86asm.Reg); ok {
			if n, size := u.column(reg); size == m.word && r.kept>>n&1 != 0 {
				s.reg = n
			}
		}
		r.push(m, s)
	case x86asm.POP:
		v, known := u.load(r, sp)
		r.set(m.sp, m.trim(sp+word))
		if reg, ok := inst.Args[0].(x86asm.Reg); ok {
			if n, size := u.column(reg); size != 0 {
				r.write(n, v, known && size == m.word)
			}
		}
	case x86asm.LEAVE:
		fp, ok := r.get(uint64(m.fp))
		if !ok {
			return ends, 0
		}
		v, known := u.load(r, fp)
		r.set(m.sp, m.trim(fp+word))
		r.write(m.fp, v, known)
	case x86asm.PUSHF, x86asm.PUSHFD, x86asm.PUSHFQ, x86asm.PUSHA, x86asm.PUSHAD, x86asm.POPA, x86asm.POPAD, x86asm.POPF, x86asm.POPFD,
		x86asm.POPFQ, x86asm.ENTER:
		return ends, 0
	default:
		u.compute(r, inst)
	}
	if _, ok := r.get(uint64(m.sp)); !ok {
		return ends, 0
	}
	return falls, 0
}

// compute carries out an instruction that only writes its first operands.
func (u *Unwinder) compute(r *route, inst *x86asm.Inst) {
	m := u.m
	if onlyRead[inst.Op] {
		return
	}
	if elementwise[inst.Op] {
		for _, n := range hardware[u.p.Machine()][6:8] { // source and destination
			r.write(n, 0, false)
		}
		return
	}
	if at, ok := inst.Args[0].(x86asm.Mem); ok {
		if reg, ok := inst.Args[1].(x86asm.Reg); ok && inst.Op == x86asm.MOV {
			u.save(r, at, reg)
		}
		return
	}
	reg, ok := inst.Args[0].(x86asm.Reg)
	n, size := u.column(reg)
	if !ok || size == 0 {
		return
	}
	old, known := r.get(uint64(n))
	v, ok := u.operand(r, inst.Args[1])
	switch inst.Op {
	case x86asm.MOV:
		if size == 1 { // the rest stays
			v, ok = old&^0xff|v&0xff, ok && known
		}
	case x86asm.LEA:
		v, ok = u.address(r, inst.Args[1])
	case x86asm.ADD:
		v, ok = old+v, ok && known
	case x86asm.SUB:
		v, ok = old-v, ok && known
	case x86asm.AND:
		v, ok = old&v, ok && known
	case x86asm.XOR:
		same := inst.Args[1] == x86asm.Arg(reg)
		v, ok = old^v, ok && known
		if same {
			v, ok = 0, true
		}
	case x86asm.INC:
		v, ok = old+1, known
	case x86asm.XCHG:
		if other, is := inst.Args[1].(x86asm.Reg); is {
			if k, _ := u.column(other); k != n {
				r.write(k, 0, false)
			}
		}
		ok = false
	default:
		ok = false
	}
	if size == 4 {
		v = uint64(uint32(v))
	}
	r.write(n, m.trim(v), ok && size != 2 && (size != 1 || inst.Op == x86asm.MOV))
}

// elementwise are instructions on strings, which move the registers that point there.
var elementwise = map[x86asm.Op]bool{x86asm.MOVSB: true, x86asm.MOVSW: true, x86asm.MOVSD: true, x86asm.MOVSQ: true, x86asm.STOSB: true,
	x86asm.STOSW: true, x86asm.STOSD: true, x86asm.STOSQ: true, x86asm.LODSB: true, x86asm.LODSW: true, x86asm.LODSD: true, x86asm.LODSQ: true,
	x86asm.SCASB: true, x86asm.SCASW: true, x86asm.SCASD: true, x86asm.SCASQ: true, x86asm.CMPSB: true, x86asm.CMPSW: true,
	x86asm.CMPSD: true, x86asm.CMPSQ: true}

// onlyRead are instructions that do not write their first operand, a register.
var onlyRead = map[x86asm.Op]bool{x86asm.CMP: true, x86asm.TEST: true, x86asm.BT: true, x86asm.NOP: true, x86asm.MUL: true, x86asm.DIV: true,
	x86asm.IDIV: true}

// save notes that a register's value went to the stack.
func (u *Unwinder) save(r *route, mem x86asm.Mem, reg x86asm.Reg) {
	n, size := u.column(reg)
	at, ok := u.address(r, mem)
	if !ok || size != u.m.word || n == u.m.sp {
		return
	}
	s := stored{addr: at, reg: -1}
	s.v, s.known = r.get(uint64(n))
	if r.kept>>n&1 != 0 {
		s.reg = n
	}
	r.store(s)
}

// operand is the value of a register, a number or a word in memory.
func (u *Unwinder) operand(r *route, a x86asm.Arg) (uint64, bool) {
	switch a := a.(type) {
	case x86asm.Imm:
		return uint64(int64(a)), true
	case x86asm.Reg:
		n, size := u.column(a)
		v, ok := r.get(uint64(n))
		return v, ok && size == u.m.word
	case x86asm.Mem:
		if at, ok := u.address(r, a); ok {
			return u.load(r, at)
		}
	}
	return 0, false
}

// address is where an operand in memory lies.
func (u *Unwinder) address(r *route, a x86asm.Arg) (uint64, bool) {
	mem, ok := a.(x86asm.Mem)
	if !ok || mem.Index != 0 || mem.Segment == x86asm.FS || mem.Segment == x86asm.GS {
		return 0, false
	}
	base := uint64(0)
	switch mem.Base {
	case 0:
	case x86asm.RIP:
		base = r.pc
	default:
		n, size := u.column(mem.Base)
		if base, ok = r.get(uint64(n)); !ok || size != u.m.word {
			return 0, false
		}
	}
	return u.m.trim(base + uint64(mem.Disp)), true
}

// load reads a word: what the route has put there, else what memory holds.
func (u *Unwinder) load(r *route, at uint64) (uint64, bool) {
	for _, s := range r.stored {
		if s.addr == at {
			return s.v, s.known
		}
	}
	return u.word(at)
}

func (r *route) push(m *machine, s stored) {
	s.addr = m.trim(r.v[m.sp] - uint64(m.word))
	r.set(m.sp, s.addr)
	r.store(s)
}

// store notes a word of the stack; beyond the limit the oldest is forgotten.
func (r *route) store(s stored) {
	for i := range r.stored {
		if r.stored[i].addr == s.addr {
			r.stored[i] = s
			return
		}
	}
	if len(r.stored) == maxStored {
		r.stored = r.stored[1:]
	}
	r.stored = append(r.stored, s)
}

// write changes a register.
func (r *route) write(n int, v uint64, known bool) {
	r.kept &^= 1 << n
	if r.forget(n); known {
		r.set(n, v)
	}
}
