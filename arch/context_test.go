package arch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

func fill(n, seed int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*13 + seed*7 + 1)
	}
	return b
}

func registersOf(m Machine) Registers {
	r := Registers{Machine: m}
	r.Put(NT_PRSTATUS, fill(m.GPSize(), 1))
	switch m {
	case AMD64:
		for _, n := range []string{"cs", "ds", "es", "fs", "gs", "ss"} {
			v, _ := r.GP(n)
			r.SetGP(n, v&0xffff)
		}
		v, _ := r.GP("eflags")
		r.SetGP("eflags", v&0xffffffff)
		r.SetGP("orig_rax", 1<<64-1)
		fx := fill(512, 2)
		clear(fx[464:480]) // where the CONTEXT keeps fs_base and gs_base
		r.Put(NT_PRFPREG, fx)
	case I386:
		for _, n := range []string{"cs", "ds", "es", "fs", "gs", "ss"} {
			v, _ := r.GP(n)
			r.SetGP(n, v&0xffff)
		}
		r.SetGP("orig_eax", 0xffffffff)
		r.Put(NT_PRFPREG, fill(108, 2))
		r.Put(NT_PRXFPREG, fill(512, 3))
	case ARM64:
		v, _ := r.GP("pstate")
		r.SetGP("pstate", v&0xffffffff)
		fp := fill(528, 2)
		clear(fp[520:])
		r.Put(NT_PRFPREG, fp)
	}
	return r
}

func TestContextRoundTrip(t *testing.T) {
	for _, m := range []Machine{AMD64, I386, ARM64} {
		t.Run(m.String(), func(t *testing.T) {
			want := registersOf(m)
			b, err := want.Context()
			if err != nil {
				t.Fatal(err)
			}
			if size := map[Machine]int{AMD64: 1232, I386: 716, ARM64: 912}[m]; len(b) != size {
				t.Errorf("context of %d bytes, want %d", len(b), size)
			}
			got, err := FromContext(m, append(b, fill(100, 9)...)) // as with XSAVE components behind it
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Sets) != len(want.Sets) {
				t.Errorf("got %d regsets, want %d", len(got.Sets), len(want.Sets))
			}
			for _, s := range want.Sets {
				if !bytes.Equal(got.Set(s.Type), s.Data) {
					t.Errorf("regset %#x:\n got %x\nwant %x", s.Type, got.Set(s.Type), s.Data)
				}
			}
		})
	}
}

// TestContextLayout checks the offsets by hand: Microsoft's winnt.h.
func TestContextLayout(t *testing.T) {
	le := binary.LittleEndian
	amd64, i386, arm64 := registersOf(AMD64), registersOf(I386), registersOf(ARM64)
	a, _ := amd64.Context()
	i, _ := i386.Context()
	m, _ := arm64.Context()
	for _, c := range []struct {
		regs *Registers
		name string
		got  uint64
	}{
		{&amd64, "rip", le.Uint64(a[0xf8:])}, {&amd64, "rsp", le.Uint64(a[0x98:])}, {&amd64, "rax", le.Uint64(a[0x78:])},
		{&amd64, "r15", le.Uint64(a[0xf0:])}, {&amd64, "eflags", uint64(le.Uint32(a[0x44:]))}, {&amd64, "ss", uint64(le.Uint16(a[0x42:]))},
		{&amd64, "fs_base", le.Uint64(a[720:])}, {&amd64, "gs_base", le.Uint64(a[728:])},
		{&i386, "eip", uint64(le.Uint32(i[0xb8:]))}, {&i386, "esp", uint64(le.Uint32(i[0xc4:]))}, {&i386, "edi", uint64(le.Uint32(i[0x9c:]))}, {&i386, "gs", uint64(le.Uint32(i[0x8c:]))},
		{&arm64, "x0", le.Uint64(m[8:])}, {&arm64, "x30", le.Uint64(m[0xf8:])}, {&arm64, "sp", le.Uint64(m[0x100:])}, {&arm64, "pc", le.Uint64(m[0x108:])}, {&arm64, "pstate", uint64(le.Uint32(m[4:]))},
	} {
		if want, _ := c.regs.GP(c.name); c.got != want {
			t.Errorf("%v %s: %#x, want %#x", c.regs.Machine, c.name, c.got, want)
		}
	}
	// The flag 0x80000000 would make Breakpad reject the context.
	if f := le.Uint32(a[48:]); f != 0x10000f {
		t.Errorf("amd64 flags %#x", f)
	}
	if f := le.Uint32(i); f != 0x1003f {
		t.Errorf("i386 flags %#x", f)
	}
	if f := le.Uint32(m); f != 0x400007 {
		t.Errorf("arm64 flags %#x", f)
	}
	fp := arm64.Set(NT_PRFPREG)
	if !bytes.Equal(m[272:784], fp[:512]) || !bytes.Equal(m[784:788], fp[516:520]) || !bytes.Equal(m[788:792], fp[512:516]) {
		t.Error("arm64: V0…V31, FPCR, FPSR")
	}
	if !bytes.Equal(a[52:56], amd64.Set(NT_PRFPREG)[24:28]) {
		t.Error("amd64: MxCsr")
	}
}

// TestContextXSave: FXSAVE is the start of the XSAVE area.
func TestContextXSave(t *testing.T) {
	r := Registers{Machine: AMD64}
	r.Put(NT_PRSTATUS, fill(216, 1))
	r.Put(NT_X86_XSTATE, fill(2432, 4))
	b, err := r.Context()
	if err != nil || !bytes.Equal(b[256:256+464], fill(2432, 4)[:464]) {
		t.Errorf("%v", err)
	}
	r.Sets = r.Sets[:1]
	if b, _ = r.Context(); binary.LittleEndian.Uint32(b[48:]) != 0x100007 {
		t.Error("floating point announced that is not there")
	}
	if got, _ := FromContext(AMD64, b); len(got.Sets) != 1 {
		t.Errorf("got %d regsets", len(got.Sets))
	}
}

func TestContextOfLLDB(t *testing.T) {
	r := registersOf(AMD64)
	full, _ := r.Context()
	for _, size := range []int{720, 736} {
		b := bytes.Clone(full[:size])
		binary.LittleEndian.PutUint32(b[48:], 0x80100007)
		got, err := FromContext(AMD64, b)
		if err != nil {
			t.Fatal(err)
		}
		if got.PC() != r.PC() || got.SP() != r.SP() || got.Set(NT_PRFPREG) != nil {
			t.Errorf("%d bytes: pc %#x", size, got.PC())
		}
		want := uint64(0)
		if size == 736 {
			want = r.TLS()
		}
		if got.TLS() != want {
			t.Errorf("%d bytes: fs_base %#x, want %#x", size, got.TLS(), want)
		}
	}
}

func TestContextOldARM64(t *testing.T) {
	r := registersOf(ARM64)
	gp, fp := r.Set(NT_PRSTATUS), r.Set(NT_PRFPREG)
	b := make([]byte, 796)
	binary.LittleEndian.PutUint64(b, 0x80000007)
	copy(b[8:], gp[:264])
	copy(b[272:], gp[264:268])
	copy(b[276:], fp[512:520]) // fpsr, fpcr
	copy(b[284:], fp[:512])
	got, err := FromContext(ARM64, b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Set(NT_PRSTATUS), gp) || !bytes.Equal(got.Set(NT_PRFPREG), fp) {
		t.Errorf("got %x\n%x", got.Set(NT_PRSTATUS), got.Set(NT_PRFPREG))
	}
}

func TestContextErrors(t *testing.T) {
	for _, m := range []Machine{AMD64, I386, ARM64} {
		r := registersOf(m)
		b, _ := r.Context()
		for _, n := range []int{0, 4, 52, 203, 719, 795, 911} {
			if n >= len(b) || m == AMD64 && n >= 720 || m == I386 && n >= 204 {
				continue
			}
			if _, err := FromContext(m, b[:n]); !errors.Is(err, ErrContext) {
				t.Errorf("%v, %d bytes: %v", m, n, err)
			}
		}
		if _, err := FromContext(m, make([]byte, 2000)); !errors.Is(err, ErrContext) {
			t.Errorf("%v, zeros: %v", m, err)
		}
		empty := Registers{Machine: m}
		if _, err := empty.Context(); !errors.Is(err, ErrNoRegisters) {
			t.Errorf("%v without registers: %v", m, err)
		}
	}
	var r Registers
	if _, err := r.Context(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("no machine: %v", err)
	}
	if _, err := FromContext(Unknown, nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("no machine: %v", err)
	}
}
