package bpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"procdump/victims/need"
)

// arithmetic is a random program that computes.
func arithmetic(random *rand.Rand) asm.Instructions {
	regs := []asm.Register{asm.R0, asm.R6, asm.R7, asm.R8, asm.R9}
	ops := []asm.ALUOp{asm.Mov, asm.Add, asm.Sub, asm.Mul, asm.Div, asm.Mod, asm.Or, asm.And, asm.Xor, asm.LSh, asm.RSh, asm.ArSh}
	jumps := []asm.JumpOp{asm.JEq, asm.JNE, asm.JGT, asm.JGE, asm.JLT, asm.JLE, asm.JSet, asm.JSGT, asm.JSGE, asm.JSLT, asm.JSLE}
	var p asm.Instructions
	for _, r := range regs {
		p = append(p, asm.LoadImm(r, int64(random.Uint64()), asm.DWord))
	}
	for range 40 {
		op, dst, src := ops[random.IntN(len(ops))], regs[random.IntN(len(regs))], regs[random.IntN(len(regs))]
		imm := int32(random.Uint32()) | 1
		shift := op == asm.LSh || op == asm.RSh || op == asm.ArSh
		if shift {
			imm &= 31
		}
		switch {
		case random.IntN(8) == 0:
			p = append(p, asm.HostTo(asm.BE, dst, []asm.Size{asm.Half, asm.Word, asm.DWord}[random.IntN(3)]))
		case random.IntN(6) == 0: // over the next
			in := jumps[random.IntN(len(jumps))].Reg(dst, src, "")
			in.Offset = 1
			p = append(p, in, asm.Add.Imm(dst, 7))
		case random.IntN(2) == 0:
			p = append(p, op.Imm(dst, imm))
		case random.IntN(2) == 0:
			p = append(p, op.Imm32(dst, imm))
		case shift: // by what is within bounds
			p = append(p, asm.And.Imm(src, 31), op.Reg(dst, src))
		case random.IntN(2) == 0:
			p = append(p, op.Reg(dst, src))
		default:
			p = append(p, op.Reg32(dst, src))
		}
	}
	return append(p, asm.Mov.Reg(asm.R6, asm.R0), asm.RSh.Imm(asm.R6, 32), asm.Xor.Reg(asm.R0, asm.R6), asm.Return())
}

func runOne(p asm.Instructions) (uint64, error) {
	m, err := New(&ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{"p": {Instructions: p}}})
	if err != nil {
		return 0, err
	}
	m.Steps = 10000
	return m.Run("p", 0, &Env{ReadUser: func([]byte, uint64) bool { return false }, Output: func([]byte) {}})
}

// TestKernel has the kernel run the same programs.
func TestKernel(t *testing.T) {
	need.Root(t)
	compared := 0
	for seed := range uint64(150) {
		code := arithmetic(rand.New(rand.NewPCG(seed, 1)))
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, License: "GPL", Instructions: code})
		if err != nil {
			t.Fatalf("the kernel does not take program %d: %v", seed, err)
		}
		want, err := p.Run(&ebpf.RunOptions{Data: make([]byte, 64)})
		p.Close()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := runOne(code); err != nil || uint32(got) != want {
			t.Errorf("program %d: %#x, %v; the kernel has %#x\n%v", seed, got, err, want, code)
		}
		compared++
	}
	t.Logf("%d programs", compared)
}

// TestBounds: what does not end or goes astray fails.
func TestBounds(t *testing.T) {
	forever := asm.Ja.Label("")
	forever.Offset = -1
	for name, c := range map[string]struct {
		code asm.Instructions
		want error
	}{
		"endless":      {asm.Instructions{forever, asm.Return()}, ErrSteps},
		"wild read":    {asm.Instructions{asm.LoadImm(asm.R1, 0x7fff0000, asm.DWord), asm.LoadMem(asm.R0, asm.R1, 0, asm.DWord), asm.Return()}, ErrAccess},
		"past stack":   {asm.Instructions{asm.StoreImm(asm.R10, stackSize*maxCalls, 1, asm.Word), asm.Return()}, ErrAccess},
		"without exit": {asm.Instructions{asm.Mov.Imm(asm.R0, 1)}, ErrAccess},
		"no helper":    {asm.Instructions{asm.BuiltinFunc(9999).Call(), asm.Return()}, ErrProgram},
	} {
		if _, err := runOne(c.code); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// FuzzRun: no program makes more than an error.
func FuzzRun(f *testing.F) {
	for seed := range uint64(4) {
		var b bytes.Buffer
		if err := arithmetic(rand.New(rand.NewPCG(seed, 2))).Marshal(&b, binary.LittleEndian); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		code, err := asm.AppendInstructions(nil, bytes.NewReader(b), binary.LittleEndian, "linux")
		if err != nil || len(code) == 0 {
			return
		}
		runOne(code)
	})
}
