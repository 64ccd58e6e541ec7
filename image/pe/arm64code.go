package pe

// Codes of arm64: the first byte, without the bits of what they are about
// (https://learn.microsoft.com/cpp/build/arm64-exception-handling).
const (
	allocS       = 0x00 // 000xxxxx: bytes / 16
	saveR19R20X  = 0x20 // 001zzzzz
	saveFPLR     = 0x40 // 01zzzzzz
	saveFPLRX    = 0x80 // 10zzzzzz
	allocM       = 0xc0 // 11000xxx xxxxxxxx
	saveRegP     = 0xc8 // 110010xx xxzzzzzz
	saveRegPX    = 0xcc // 110011xx xxzzzzzz
	saveReg      = 0xd0 // 110100xx xxzzzzzz
	saveRegX     = 0xd4 // 1101010x xxxzzzzz
	saveLRPair   = 0xd6 // 1101011x xxzzzzzz
	saveFRegP    = 0xd8 // 1101100x xxzzzzzz
	saveFRegPX   = 0xda // 1101101x xxzzzzzz
	saveFReg     = 0xdc // 1101110x xxzzzzzz
	saveFRegX    = 0xde // 11011110 xxxzzzzz
	allocZ       = 0xdf // 11011111 zzzzzzzz: vectors, whose size nothing here tells
	allocL       = 0xe0 // and 3 bytes
	setFP        = 0xe1
	addFP        = 0xe2 // xxxxxxxx
	nop          = 0xe3
	end          = 0xe4
	endC         = 0xe5 // the codes of the function that this is a part of follow
	saveNext     = 0xe6
	saveAnyReg   = 0xe7 // 0pxrrrrr ffoooooo; with ff = 3 registers of SVE
	trapFrame    = 0xe8
	machineFrame = 0xe9
	context      = 0xea
	ecContext    = 0xeb
	clearUnwound = 0xec
	reserved     = 0xed // up to f7
	ignored      = 0xf8 // from here on: of any future instruction that needs no undoing
	pacSignLR    = 0xfc
)

// UndoKind is what an Undo does.
type UndoKind uint8

// Kinds of Undo. The kernel's frame and the contexts are structures on the stack
// from the stack pointer on.
const (
	UndoLoad         UndoKind = iota // read Count registers from Reg on, Offset above the stack pointer, then raise it by Size
	UndoFP                           // the stack pointer becomes x29 less Offset
	UndoSigned                       // x30 was signed
	UndoTrapFrame                    // KTRAP_FRAME
	UndoMachineFrame                 // the stack pointer and the program counter
	UndoContext                      // CONTEXT
	UndoContextEC                    // ARM64EC_NT_CONTEXT
	UndoToCode                       // x30 is where code was interrupted
)

// Undo undoes an instruction of a prolog of arm64, or a part of one.
type Undo struct {
	Kind         UndoKind
	Reg, Count   int
	Offset, Size uint64 // bytes
}

// codeSize returns how long a code is and how many instructions it is of.
func codeSize(first byte) (bytes int, instructions uint32) {
	switch {
	case first < allocM:
		return 1, 1
	case first < allocL, first == addFP:
		return 2, 1
	case first == allocL:
		return 4, 1
	case first == saveAnyReg:
		return 3, 1
	case first >= trapFrame && first < ignored:
		return 1, 0
	case first >= ignored && first < pacSignLR:
		return int(first-ignored) + 2, 1
	}
	return 1, 1
}

// instructions counts those of the codes up to an end; false: there is none.
func instructions(codes []byte) (uint32, bool) {
	n := uint32(0)
	for len(codes) > 0 && codes[0] != end && codes[0] != endC {
		size, of := codeSize(codes[0])
		n += of
		codes = codes[min(size, len(codes)):]
	}
	return n, len(codes) > 0
}

// skip leaves out the codes of n instructions, up to an end.
func skip(codes []byte, n uint32) []byte {
	for n > 0 && len(codes) > 0 && codes[0] != end && codes[0] != endC {
		size, of := codeSize(codes[0])
		n -= of
		codes = codes[min(size, len(codes)):]
	}
	return codes
}

// undo decodes codes up to the end; false: there is none, or they are not known.
func undo(codes []byte) ([]Undo, bool) {
	var all []Undo
	next := 0 // pairs that lie behind the one of the next code
	for len(codes) > 0 {
		size, _ := codeSize(codes[0])
		if len(codes) < size {
			return nil, false
		}
		c := codes[:size]
		codes = codes[size:]
		switch c[0] {
		case saveNext:
			next++
			continue
		case end:
			return all, next == 0
		case endC:
			if next != 0 {
				return nil, false
			}
			continue
		}
		one, ok := undoOne(c)
		if !ok || next > 0 && !one.hasNext(c) {
			return nil, false
		}
		for ; next > 0; next-- {
			more, ok := one.pair(next)
			if !ok {
				return nil, false
			}
			all = append(all, more)
		}
		all = append(all, one.split(c)...)
	}
	return nil, false
}

// hasNext tells whether a code may have pairs behind its own.
func (u Undo) hasNext(c []byte) bool {
	switch first := c[0]; {
	case first&^0x1f == saveR19R20X, first&^7 == saveRegP:
		return true
	case first&^1 == saveFRegP, first&^1 == saveFRegPX:
		return true
	case first == saveAnyReg:
		return c[1]>>6&1 != 0
	}
	return false
}

// pair is the nth pair behind that of u. Behind x28 follow d8 and the others
// that are not kept here.
func (u Undo) pair(n int) (Undo, bool) {
	reg := u.Reg + 2*n
	if u.Count == 0 || reg > 28 {
		return Undo{}, true
	}
	return Undo{Reg: reg, Count: 2, Offset: u.Offset + 16*uint64(n)}, reg < 28
}

// split makes two of a pair that do not follow each other.
func (u Undo) split(c []byte) []Undo {
	if c[0]&^1 != saveLRPair {
		return []Undo{u}
	}
	return []Undo{u, {Reg: 30, Count: 1, Offset: u.Offset + 8}}
}

// undoOne decodes a code.
func undoOne(c []byte) (Undo, bool) {
	first := c[0]
	var u Undo
	switch {
	case first < saveR19R20X:
		u.Size = uint64(first&31) * 16
	case first < saveFPLR:
		u = Undo{Reg: 19, Count: 2, Size: uint64(first&31) * 8}
	case first < saveFPLRX:
		u = Undo{Reg: 29, Count: 2, Offset: uint64(first&63) * 8}
	case first < allocM:
		u = Undo{Reg: 29, Count: 2, Size: uint64(first&63+1) * 8}
	case first < allocZ:
		return undoTwo(c)
	case first == allocL:
		u.Size = (uint64(c[1])<<16 | uint64(c[2])<<8 | uint64(c[3])) * 16
	case first == setFP:
		u.Kind = UndoFP
	case first == addFP:
		u = Undo{Kind: UndoFP, Offset: uint64(c[1]) * 8}
	case first == saveAnyReg:
		return undoAny(c)
	case first >= trapFrame && first < reserved:
		u.Kind = UndoTrapFrame + UndoKind(first-trapFrame)
	case first == pacSignLR:
		u.Kind = UndoSigned
	case first == nop, first >= ignored:
	default:
		return u, false
	}
	return u, true
}

// undoTwo decodes a code of two bytes.
func undoTwo(c []byte) (Undo, bool) {
	v := uint64(c[0])<<8 | uint64(c[1])
	six := int(v >> 6 & 15) // of the register, of codes with 6 bits for the place
	at := v & 63 * 8
	var u Undo
	switch first := c[0]; {
	case first < saveRegP:
		u.Size = v & 0x7ff * 16
	case first < saveRegPX:
		u = Undo{Reg: 19 + six, Count: 2, Offset: at}
	case first < saveReg:
		u = Undo{Reg: 19 + six, Count: 2, Size: at + 8}
	case first < saveRegX:
		u = Undo{Reg: 19 + six, Count: 1, Offset: at}
	case first < saveLRPair:
		u = Undo{Reg: 19 + int(v>>5&15), Count: 1, Size: v&31*8 + 8}
	case first < saveFRegP:
		u = Undo{Reg: 19 + 2*(six&7), Count: 1, Offset: at}
	case first < saveFRegPX, first >= saveFReg && first < saveFRegX: // d8 to d15 are not kept here
	case first < saveFReg:
		u.Size = at + 8
	case first == saveFRegX:
		u.Size = v&31*8 + 8
	}
	return u, u.Reg+u.Count <= 31
}

// undoAny decodes a code that may be of any register.
func undoAny(c []byte) (Undo, bool) {
	pair, lowers := c[1]>>6&1 != 0, c[1]>>5&1 != 0
	class, at := c[2]>>6, uint64(c[2]&63)
	const vector, sve = 2, 3
	if c[1]>>7 != 0 || class == sve {
		return Undo{}, false
	}
	var u Undo
	switch {
	case lowers:
		u.Size = (at + 1) * 16
	case pair || class == vector:
		u.Offset = at * 16
	default:
		u.Offset = at * 8
	}
	if class == 0 {
		u.Reg, u.Count = int(c[1]&31), 1
		if pair {
			u.Count = 2
		}
	}
	return u, u.Reg+u.Count <= 31
}
