package unwind

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

// armWindowsCode is 0x2000 bytes of nop, with a call before each place that the
// tests return to.
func armWindowsCode() []byte {
	b := bytes.Repeat([]byte{0x1f, 0x20, 0x03, 0xd5}, 0x800)
	for _, to := range []int{0x1804, 0x1904} {
		binary.LittleEndian.PutUint32(b[to-codeAt-4:], 0x94000000)
	}
	return b
}

// armRecord is the record of a function of that many bytes without epilogs.
func armRecord(size uint32, codes ...byte) []byte {
	for len(codes)%4 != 0 {
		codes = append(codes, 0xe3)
	}
	return append(binary.LittleEndian.AppendUint32(nil, size/4|uint32(len(codes)/4)<<27), codes...)
}

// at puts words at a place of a stack.
func at(stack []uint64, place int, w ...uint64) []uint64 {
	stack = append(stack, make([]uint64, max(0, place/8+len(w)-len(stack)))...)
	copy(stack[place/8:], w)
	return stack
}

// TestWindowsARM64Codes leaves a function by what the compiled ones do not have.
func TestWindowsARM64Codes(t *testing.T) {
	const one, two = windowsBase + 0x1804, windowsBase + 0x1904
	const here, inOne, inTwo = "0x140001100 registers; ", "0x140001804 pe; ", "0x140001904 pe; "
	// What lies behind the structures: the caller's frame, which keeps x29 and x30.
	const above = 0x600
	caller := []uint64{testStack + 0x77, two, 0, 0}
	machine := at(at(nil, 0, testStack+above, one), above, caller...)
	context := at(at(at(nil, 8+19*8, 0x19), 0xf0, 0x29, 0x30, testStack+above, one), above, caller...)
	inLeaf := at(slices.Clone(context), 0xf8, one, testStack+above, windowsBase+0x2000)
	returned := at(slices.Clone(context), 0, 0x20400003)
	trap := at(at(at(nil, 0x98, testStack+above), 0x138, 0x30, 0x29, one), above, caller...)
	ec := at(at(at(at(at(nil, 0x98, testStack+above, 0x29), 0xd8, 0x19), 0xf8, one), 0x120, 0x30), above, caller...)
	for _, c := range []struct {
		name  string
		info  []byte
		entry uint32 // packed
		stack []uint64
		want  string
		x19   uint64 // of the caller
		exact bool
	}{
		{name: "machine frame", info: armRecord(0x200, 0xe9, 0xe4), stack: machine, want: here + inOne + inTwo, x19: 0xb, exact: true},
		{name: "context", info: armRecord(0x200, 0xea, 0xe4), stack: context, want: here + inOne + inTwo, x19: 0x19, exact: true},
		{name: "context of a caller", info: armRecord(0x200, 0xea, 0xe4), stack: returned, want: here + inOne + inTwo, x19: 0x19},
		{name: "context of a function without entry", info: armRecord(0x200, 0xea, 0xe4), stack: inLeaf,
			want: here + "0x140002000 pe; " + inOne, x19: 0x19, exact: true},
		{name: "trap frame", info: armRecord(0x200, 0xe8, 0xe4), stack: trap, want: here + inOne + inTwo, x19: 0xb, exact: true},
		{name: "context of ARM64EC", info: armRecord(0x200, 0xeb, 0xe4), stack: ec, want: here + inOne + inTwo, x19: 0x19, exact: true},
		{name: "a context below", info: armRecord(0x200, 0x02, 0xea, 0xe4), stack: append(make([]uint64, 4), context...),
			want: here + inOne, x19: 0x19, exact: true},
		{name: "link register of code", info: armRecord(0x200, 0x02, 0x41, 0xec, 0xe4), stack: at(nil, 0x28, testStack, one, 0, 0),
			want: here + inOne, x19: 0xb, exact: true},
		{name: "the code signed it", info: armRecord(0x200, 0x9f, 0xfc, 0xe4), stack: at(at(nil, 8, signature|one), 0x100, caller...),
			want: here + inOne + inTwo, x19: 0xb},
		{name: "packed, signed", entry: 1 | 0x80<<2 | 1<<16 | 2<<21 | 3<<23, stack: at(at(nil, 0x40, 0x29, signature|one, 0, 0, 7), 0x70, caller...),
			want: here + inOne + inTwo, x19: 7},
		{name: "part of a function", entry: 2 | 0x80<<2 | 2<<16 | 3<<21 | 3<<23, stack: at(at(nil, 0x40, 0x29, one, 0, 0, 7), 0x70, caller...),
			want: here + inOne + inTwo, x19: 7},
		{name: "no entry", entry: 1 | 4<<2, stack: caller, want: here + "0x140001800 pe; "},
		{name: "vectors of SVE", info: armRecord(0x200, 0xdf, 0x01, 0x91, 0xe4), stack: append([]uint64{5, 5}, caller...),
			want: here + "0x140001904 scan; "},
		{name: "version 1", info: []byte{0x80, 0, 4, 8, 1, 0xe4, 0xe4, 0xe4}, stack: append([]uint64{5, 5}, caller...),
			want: here + "0x140001904 scan; "},
	} {
		t.Run(c.name, func(t *testing.T) {
			info := make([]byte, 0x200)
			copy(info, c.info)
			copy(info[0x100:], armRecord(0x200, 0x83, 0xe4)) // save_fplr_x
			entry := uint32(infoAt)
			if c.entry != 0 {
				entry = c.entry
			}
			code := armWindowsCode()
			if c.name == "no entry" {
				binary.LittleEndian.PutUint32(code[0x1800-4-codeAt:], 0xd63f0100)
			}
			table := entries(0x10f0, entry, 0x17f0, infoAt+0x100)
			u, th := windowsProcess(t, onARM64(windowsImage(code, table, info)), words(append(c.stack, 0, 0)...), windowsBase+0x1100)
			s := u.Stack(th, 3)
			got := summary(Stack{Frames: s.Frames})
			if len(got) < len(c.want) || got[:len(c.want)] != c.want {
				t.Errorf("%s, not %s; %s", got, c.want, s.End)
			}
			if c.x19 == 0 {
				return
			}
			cur := walk{registers: u.m.start(&th.Registers), frame: Frame{PC: th.Registers.PC(), SP: testStack, Exact: true}, link: true}
			next, _ := u.step(&cur)
			if v, _ := next.get(19); v != c.x19 || next.frame.Exact != c.exact {
				t.Errorf("x19 is %#x, not %#x; exact: %v", v, c.x19, next.frame.Exact)
			}
		})
	}
}

// TestWindowsARM64Called does not take the link register for a return address where
// a call has come between.
func TestWindowsARM64Called(t *testing.T) {
	for name, entry := range map[string]uint32{"it does not save the link register": infoAt, "no entry": 1 | 4<<2} {
		img := onARM64(windowsImage(armWindowsCode(), entries(0x10f0, entry), armRecord(0x200, 0x02, 0xe4)))
		u, th := windowsProcess(t, img, words(1, 2, 3, 4, 5, 6), windowsBase+0x1104)
		cur := walk{registers: u.m.start(&th.Registers), frame: Frame{PC: windowsBase + 0x1104, SP: testStack}}
		cur.set(30, windowsBase+0x1804)
		if next, end := u.step(&cur); end == goesOn {
			t.Errorf("%s: %#x, by %v", name, next.pc, next.frame.How)
		}
	}
}
