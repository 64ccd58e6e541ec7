package unwind

import (
	"encoding/binary"
	"reflect"
	"testing"
)

// frameSection is call frame information as assemblers write it: entries with
// their length in front, padded with DW_CFA_nop.
type frameSection struct{ b []byte }

func (s *frameSection) entry(body ...byte) (at uint64) {
	at = uint64(len(s.b))
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	s.b = binary.LittleEndian.AppendUint32(s.b, uint32(len(body)))
	s.b = append(s.b, body...)
	return at
}

func (s *frameSection) u32(v uint64) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(v)) }
func (s *frameSection) u64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

// cie adds a CIE of .eh_frame, code factor 1, data factor -8, absolute addresses:
// the CFA is rsp+8, the return address is below it.
func (s *frameSection) cie(augmentation string, data ...byte) uint64 {
	body := append([]byte{0, 0, 0, 0, 1}, augmentation...)
	body = append(body, 0, 1, 0x78, 16)
	if augmentation != "" {
		body = append(append(body, byte(len(data))), data...)
	}
	return s.entry(append(body, 0x0c, 7, 8, 0x90, 1)...)
}

// fde adds an FDE for 256 bytes of code.
func (s *frameSection) fde(cie, start uint64, augmented bool, code ...byte) uint64 {
	body := append(s.u32(uint64(len(s.b))+4-cie), s.u64(start)...)
	body = append(body, s.u64(256)...)
	if augmented {
		body = append(body, 0)
	}
	return s.entry(append(body, code...)...)
}

func (s *frameSection) section() *section {
	return &section{eh: true, word: 8, spend: func(int) bool { return true }, read: func(p []byte, at uint64) int {
		if at >= uint64(len(s.b)) {
			return 0
		}
		return copy(p, s.b[at:])
	}}
}

// offset is the rule of a register that lies below the CFA.
func offset(n int64) rule { return rule{kind: atOffset, off: n} }

func TestRows(t *testing.T) {
	type rules map[int]rule
	ra := rule{kind: atOffset, off: -8}
	for _, c := range []struct {
		name   string
		code   []byte
		pc     uint64
		reg    uint64
		off    int64
		rules  rules
		broken bool
	}{
		{name: "at entry", code: []byte{0x41, 0x0e, 16, 0x86, 2}, pc: 0, reg: 7, off: 8},
		{name: "after push", code: []byte{0x41, 0x0e, 16, 0x86, 2}, pc: 1, reg: 7, off: 16, rules: rules{6: offset(-16)}},
		{name: "frame pointer", code: []byte{0x41, 0x0e, 16, 0x86, 2, 0x43, 0x0d, 6}, pc: 4, reg: 6, off: 16, rules: rules{6: offset(-16)}},
		{name: "before it", code: []byte{0x41, 0x0e, 16, 0x86, 2, 0x43, 0x0d, 6}, pc: 3, reg: 7, off: 16, rules: rules{6: offset(-16)}},
		{name: "wide advances", code: []byte{0x02, 16, 0x0e, 16, 0x03, 16, 0, 0x0e, 24, 0x04, 16, 0, 0, 0, 0x0e, 32}, pc: 47, reg: 7, off: 24},
		{name: "state restored", code: []byte{0x41, 0x0e, 16, 0x86, 2, 0x0a, 0x41, 0x0e, 8, 0xc6, 0x41, 0x0b}, pc: 3, reg: 7, off: 16, rules: rules{6: offset(-16)}},
		{name: "state before", code: []byte{0x41, 0x0e, 16, 0x86, 2, 0x0a, 0x41, 0x0e, 8, 0xc6, 0x41, 0x0b}, pc: 2, reg: 7, off: 8},
		{name: "signed", code: []byte{0x12, 6, 0x7e, 0x11, 3, 0x7f}, reg: 6, off: 16, rules: rules{3: offset(8)}},
		{name: "values", code: []byte{0x14, 3, 2, 0x15, 12, 0x7f}, reg: 7, off: 8, rules: rules{3: {kind: isOffset, off: -16}, 12: {kind: isOffset, off: 8}}},
		{name: "other register", code: []byte{0x09, 3, 12, 0x07, 6, 0x08, 12}, reg: 7, off: 8,
			rules: rules{3: {kind: inRegister, off: 12}, 6: {kind: undefined}, 12: {kind: sameValue}}},
		{name: "vector registers", code: []byte{0x05, 64, 2, 0x06, 40, 0x2e, 16}, reg: 7, off: 8},
		{name: "cut off", code: []byte{0x0c}, broken: true},
		{name: "nothing to restore", code: []byte{0x0b}, broken: true},
		{name: "unknown", code: []byte{0x3f}, broken: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &frameSection{}
			cie := s.cie("zR", 0)
			// Padding would be the operand of what is cut off.
			at := s.fde(cie, 0x1000, true, c.code...)
			e, err := s.section().entryAt(at)
			if err != nil {
				t.Fatal(err)
			}
			f, err := s.section().fdeOf(&e)
			if err != nil || f.start != 0x1000 || f.size != 256 {
				t.Fatalf("%+v, %v", f, err)
			}
			f.instructions = f.instructions[:len(c.code)]
			r, err := f.rowAt(0x1000+c.pc, 8, 0)
			if c.broken {
				if err == nil {
					t.Fatalf("got %+v", r)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var want [maxColumns]rule
			want[16] = ra
			for reg, rule := range c.rules {
				want[reg] = rule
			}
			if r.cfaReg != c.reg || r.cfaOff != c.off || !reflect.DeepEqual(r.rules, want) {
				t.Errorf("CFA %d%+d, rules %+v, want %d%+d, %+v", r.cfaReg, r.cfaOff, r.rules, c.reg, c.off, want)
			}
		})
	}
}

func TestIndex(t *testing.T) {
	s := &frameSection{}
	plain, signal := s.cie(""), s.cie("zSR", 0)
	second := s.fde(signal, 0x3000, true)
	first := s.fde(plain, 0x1000, false)
	s.b = append(s.b, 0, 0, 0, 0)
	x := s.section()
	spans := x.index(0, uint64(len(s.b)))
	if len(spans) != 2 || spans[0].at != first || spans[1].at != second {
		t.Fatalf("%+v, want entries at %#x and %#x", spans, first, second)
	}
	for pc, want := range map[uint64]bool{0xfff: false, 0x1000: true, 0x10ff: true, 0x1100: false, 0x30ff: true, 0x3100: false} {
		at, ok := findSpan(spans, pc)
		if ok != want {
			t.Errorf("%#x: found %v", pc, ok)
		}
		if r := x.rowOf(at, pc); ok && (r == nil || r.signal != (pc >= 0x3000)) {
			t.Errorf("%#x: row %+v", pc, r)
		}
	}
}

// TestInstructionsBounded: the instructions of a CIE, of which every address of its
// code costs all, are work that is bounded.
func TestInstructionsBounded(t *testing.T) {
	const size = 1 << 19
	u, _ := process(t)
	s := &frameSection{}
	cie := s.entry(append([]byte{0, 0, 0, 0, 1, 0, 1, 0x78, 16, 0x0c, 7, 8, 0x90, 1}, make([]byte, size)...)...)
	at := s.fde(cie, 0x1000, false)
	x := s.section()
	x.spend = u.spend
	if x.rowOf(at, 0x1000) == nil || u.work < size {
		t.Fatalf("%d units of work", u.work)
	}
	u.work = maxWork - 3*size
	rows := uint64(0)
	for ; rows < 4 && x.rowOf(at, 0x1000+rows) != nil; rows++ {
	}
	if rows == 0 || rows == 4 {
		t.Errorf("%d rows of %d instructions each", rows, size)
	}
}

func TestExpressions(t *testing.T) {
	u, _ := process(t)
	var regs registers
	regs.set(7, testStack)
	regs.pc = 0x40100c
	cfa := uint64(100)
	for _, c := range []struct {
		name string
		code []byte
		want uint64
		bad  bool
	}{
		{name: "CFA", want: 100},
		{name: "literals", code: []byte{0x30 + 31, 0x30 + 2, 0x1c}, want: 29},
		{name: "register", code: []byte{0x77, 8}, want: testStack + 8},
		{name: "return address", code: []byte{0x80, 0}, want: 0x40100c},
		{name: "memory", code: []byte{0x77, 0, 0x06}, want: 0x401035},
		{name: "byte", code: []byte{0x77, 0, 0x94, 1}, want: 0x35},
		{name: "linkage table", code: []byte{0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22}, want: testStack + 8 + 8},
		{name: "negative", code: []byte{0x09, 0xff, 0x19}, want: 1},
		{name: "shift of a sign", code: []byte{0x09, 0xf0, 0x32, 0x26}, want: ^uint64(3)},
		{name: "rotation", code: []byte{0x31, 0x32, 0x33, 0x17, 0x13}, want: 1},
		{name: "branch", code: []byte{0x31, 0x28, 1, 0, 0x35, 0x34}, want: 4},
		{name: "without end", code: []byte{0x2f, 0xfd, 0xff}, bad: true},
		{name: "division by zero", code: []byte{0x31, 0x30, 0x1b}, bad: true},
		{name: "unknown register", code: []byte{0x73, 0}, bad: true},
		{name: "unreadable", code: []byte{0x30, 0x06}, bad: true},
		{name: "too few values", code: []byte{0x13, 0x22}, bad: true},
		{name: "unknown", code: []byte{0xe0}, bad: true},
	} {
		got, ok := u.expression(c.code, &regs, &cfa)
		if ok == c.bad || ok && got != c.want {
			t.Errorf("%s: %#x, %v, want %#x", c.name, got, ok, c.want)
		}
	}
}
