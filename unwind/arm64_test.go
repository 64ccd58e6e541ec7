package unwind

import (
	"testing"

	"procdump/arch"
	"procdump/image"
	"procdump/snapshot"
)

// armCode is code at 0x900000: at 0x10 a call of 0x40, at 0x50 one through x8;
// the rest is nop.
func armCode() []byte {
	var w []uint32
	for range 64 {
		w = append(w, 0xd503201f)
	}
	w[4], w[20] = 0x94000000|0x30/4, 0xd63f0100
	var b []byte
	for _, i := range w {
		b = append(b, byte(i), byte(i>>8), byte(i>>16), byte(i>>24))
	}
	return b
}

// armStack is the stack of a thread of arm64 in that code, whose FDE at 0x40 has
// these instructions; none: no call frame information.
func armStack(t *testing.T, pc, lr, fp uint64, stack []byte, cfi ...byte) string {
	t.Helper()
	p := &snapshot.Process{System: snapshot.System{Machine: arch.ARM64},
		Modules: []snapshot.Module{{Range: snapshot.Range{Addr: 0x900000, Size: 0x1000}}},
		Regions: []snapshot.Region{
			{Range: snapshot.Range{Addr: 0x900000, Size: 0x1000}, Perm: snapshot.Read | snapshot.Execute},
			{Range: snapshot.Range{Addr: testStack, Size: 0x1000}, Perm: snapshot.Read | snapshot.Write}},
		Memory: memory{testStack: stack, 0x900000: armCode()}}
	set := image.NewSet(p, image.Options{})
	defer set.Close()
	u, err := New(p, set)
	if err != nil {
		t.Fatal(err)
	}
	if cfi != nil {
		s := &frameSection{}
		cie := s.entry(0, 0, 0, 0, 1, 0, 4, 0x78, 30, 0x0c, 31, 0)
		s.fde(cie, 0x900040, false, cfi...)
		x := s.section()
		u.tables[set.Find(0x900000)] = &tables{eh: *x, index: x.index(0, uint64(len(s.b)))}
	}
	r := arch.Registers{Machine: arch.ARM64}
	r.SetGP("pc", pc)
	r.SetGP("sp", testStack)
	r.SetGP("x29", fp)
	r.SetGP("x30", lr)
	return summary(u.Stack(&snapshot.Thread{TID: 1, Registers: r}, 10))
}

func TestARM64(t *testing.T) {
	const code, signature = 0x900000, 0x2a << 48
	nop := []byte{0}
	saved := []byte{0x2d, 0x41, 0x0e, 16, 0x9d, 2, 0x9e, 1} // after paciasp; stp x29, x30, [sp, -16]!
	for _, c := range []struct {
		name       string
		pc, lr, fp uint64
		stack      []byte
		cfi        []byte
		want       string
	}{
		{"leaf", code + 0x60, code + 0x14, 0, words(0, 0), nop, "0x900060 registers; 0x900014 cfi; complete"},
		{"signed", code + 0x60, 1, 0, words(0, signature|code+0x14), saved, "0x900060 registers; 0x900014 cfi; complete"},
		{"just signed", code + 0x40, signature | code + 0x14, 0, words(0), saved, "0x900040 registers; 0x900014 cfi; complete"},
		{"call of null", 0, code + 0x54, 0, words(0, 0), nil, "0x0 registers; 0x900054 call; complete"},
		{"link register", code + 0x60, code + 0x14, 0, words(0, 0), nil, "0x900060 registers; 0x900014 link-register; complete"},
		{"frame records", code + 0x60, 1, testStack, words(testStack+16, signature|code+0x14, 0, 0), nil,
			"0x900060 registers; 0x900014 frame-pointer; complete"},
		{"scan", code + 0x60, 1, 1, words(7, 9, testStack+40, code+0x54, 7, 0, 0), nil,
			"0x900060 registers; 0x900054 scan; complete"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := armStack(t, c.pc, c.lr, c.fp, c.stack, c.cfi...); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestARM64Signal goes through the frame of a signal handler.
func TestARM64Signal(t *testing.T) {
	stack := make([]uint64, 38+1+33)
	context := stack[38+1:]
	context[30], context[31], context[32] = 0x900014, testStack+0x400, 0x900060
	m := memory{testStack: words(stack...), 0xa00000: trampolines[arch.ARM64][0].code}
	p := &snapshot.Process{System: snapshot.System{Machine: arch.ARM64}, Memory: m}
	set := image.NewSet(p, image.Options{})
	defer set.Close()
	u, err := New(p, set)
	if err != nil {
		t.Fatal(err)
	}
	cur := walk{}
	cur.pc = 0xa00000
	cur.set(31, testStack)
	next, ok := u.stepSignal(&cur)
	if lr, _ := next.get(30); !ok || next.pc != 0x900060 || lr != 0x900014 || !next.link || !cur.frame.Signal {
		t.Errorf("%v %+v", ok, next)
	}
}
