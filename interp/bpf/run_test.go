package bpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// TestInstructions runs one or a few instructions; what R0 is at the end counts.
func TestInstructions(t *testing.T) {
	const minus1, smallest = 1<<64 - 1, -1 << 63
	wide := func(r asm.Register, v int64) asm.Instruction { return asm.LoadImm(r, v, asm.DWord) }
	signed := func(op asm.ALUOp, imm int32) asm.Instruction {
		in := op.Imm(asm.R0, imm)
		in.Offset = 1
		return in
	}
	sx := func(op asm.ALUOp) asm.Instruction { return op.Reg(asm.R0, asm.R1) }
	over := func(in asm.Instruction) asm.Instructions { // 1 if it jumps, else 2
		in.Offset = 1
		return asm.Instructions{asm.Mov.Imm(asm.R0, 1), in, asm.Mov.Imm(asm.R0, 2)}
	}
	for name, c := range map[string]struct {
		code asm.Instructions
		want uint64
	}{
		"wide":               {asm.Instructions{wide(asm.R0, 0x123456789abcdef)}, 0x123456789abcdef},
		"sign of immediates": {asm.Instructions{asm.Mov.Imm(asm.R0, -1)}, minus1},
		"narrow":             {asm.Instructions{wide(asm.R0, -1), asm.Mov.Imm32(asm.R0, -1)}, 1<<32 - 1},
		"narrow sum":         {asm.Instructions{wide(asm.R0, 1<<32-1), asm.Add.Imm32(asm.R0, 1)}, 0},
		"by zero":            {asm.Instructions{asm.Mov.Imm(asm.R0, 7), asm.Mov.Imm(asm.R1, 0), asm.Div.Reg(asm.R0, asm.R1)}, 0},
		"rest by zero":       {asm.Instructions{asm.Mov.Imm(asm.R0, 7), asm.Mov.Imm(asm.R1, 0), asm.Mod.Reg(asm.R0, asm.R1)}, 7},
		"unsigned":           {asm.Instructions{wide(asm.R0, -8), asm.Div.Imm(asm.R0, 2)}, (minus1 - 7) / 2},
		"signed":             {asm.Instructions{wide(asm.R0, -8), signed(asm.Div, 2)}, minus1 - 3},
		"signed rest":        {asm.Instructions{wide(asm.R0, -7), signed(asm.Mod, 2)}, minus1},
		"smallest by -1":     {asm.Instructions{wide(asm.R0, smallest), signed(asm.Div, -1)}, 1 << 63},
		"its rest":           {asm.Instructions{wide(asm.R0, smallest), signed(asm.Mod, -1)}, 0},
		"shift by much":      {asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Mov.Imm(asm.R1, 65), asm.LSh.Reg(asm.R0, asm.R1)}, 2},
		"sign of a byte":     {asm.Instructions{asm.Mov.Imm(asm.R1, 0x80), sx(asm.MovSX8)}, minus1 - 0x7f},
		"of two":             {asm.Instructions{asm.Mov.Imm(asm.R1, 0x8000), sx(asm.MovSX16)}, minus1 - 0x7fff},
		"of four":            {asm.Instructions{wide(asm.R1, 1<<31), sx(asm.MovSX32)}, minus1 - (1<<31 - 1)},
		"big-endian":         {asm.Instructions{wide(asm.R0, 0x1122334455667788), asm.HostTo(asm.BE, asm.R0, asm.Word)}, 0x88776655},
		"little-endian":      {asm.Instructions{wide(asm.R0, 0x1122334455667788), asm.HostTo(asm.LE, asm.R0, asm.Half)}, 0x7788},
		"bytes turned":       {asm.Instructions{wide(asm.R0, 0x1122334455667788), asm.BSwap(asm.R0, asm.DWord)}, 0x8877665544332211},
		"negated":            {asm.Instructions{asm.Mov.Imm(asm.R0, 5), asm.Neg.Imm(asm.R0, 0)}, minus1 - 4},
		"jump":               {over(asm.JSGT.Imm(asm.R0, -1, "")), 1},
		"no jump":            {over(asm.JGT.Imm(asm.R0, -1, "")), 2},
		"jump on 32 bits":    {append(asm.Instructions{wide(asm.R1, 1<<32|5)}, over(asm.JEq.Imm32(asm.R1, 5, ""))...), 1},
		"bit set":            {append(asm.Instructions{asm.Mov.Imm(asm.R1, 6)}, over(asm.JSet.Imm(asm.R1, 2, ""))...), 1},
		"stack":              {asm.Instructions{asm.Mov.Imm(asm.R5, -2), asm.StoreMem(asm.R10, -8, asm.R5, asm.DWord), asm.LoadMem(asm.R0, asm.R10, -8, asm.Word)}, 1<<32 - 2},
		"sign in memory":     {asm.Instructions{asm.StoreImm(asm.R10, -8, 0xfe, asm.Byte), asm.LoadMemSX(asm.R0, asm.R10, -8, asm.Byte)}, minus1 - 1},
		"bytes in memory":    {asm.Instructions{wide(asm.R1, 0x1234), asm.StoreMem(asm.R10, -8, asm.R1, asm.Byte), asm.LoadMem(asm.R0, asm.R10, -8, asm.DWord)}, 0x34},
		"added in memory": {asm.Instructions{asm.Mov.Imm(asm.R5, 40), asm.StoreMem(asm.R10, -8, asm.R5, asm.DWord), asm.Mov.Imm(asm.R1, 2), asm.AddAtomic.Mem(asm.R10, asm.R1, asm.DWord, -8),
			asm.LoadMem(asm.R0, asm.R10, -8, asm.DWord)}, 42},
	} {
		got, err := runOne(append(c.code, asm.Return()))
		if err != nil || got != c.want {
			t.Errorf("%s: %#x, %v; want %#x", name, got, err, c.want)
		}
	}
}

// TestCalls: functions have frames of their own, and an end within each other, as
// tail calls have one after the other.
func TestCalls(t *testing.T) {
	double := asm.Instructions{
		asm.Mov.Imm(asm.R5, 1), asm.StoreMem(asm.R10, -8, asm.R5, asm.DWord),
		asm.Mov.Imm(asm.R1, 21),
		asm.Call.Label("double"),
		asm.LoadMem(asm.R1, asm.R10, -8, asm.DWord), // the other one's is another
		asm.Add.Reg(asm.R0, asm.R1),
		asm.Return(),
		asm.Mov.Imm(asm.R5, 100).WithSymbol("double"), asm.StoreMem(asm.R10, -8, asm.R5, asm.DWord),
		asm.Mov.Reg(asm.R0, asm.R1),
		asm.Add.Reg(asm.R0, asm.R1),
		asm.Return(),
	}
	if got, err := runOne(double); err != nil || got != 43 {
		t.Errorf("%d, %v", got, err)
	}
	if _, err := runOne(asm.Instructions{asm.Call.Label("again").WithSymbol("again"), asm.Return()}); !errors.Is(err, ErrSteps) {
		t.Errorf("calls without end: %v", err)
	}
	tails := &ebpf.MapSpec{Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 4}
	tail := func(index int32) asm.Instructions {
		return asm.Instructions{asm.LoadMapPtr(asm.R2, 0).WithReference("tails"), asm.Mov.Imm(asm.R3, index), asm.FnTailCall.Call(), asm.Mov.Imm(asm.R0, 5), asm.Return()}
	}
	for index, want := range map[int32]struct {
		value uint64
		err   error
	}{1: {7, nil}, 2: {0, ErrSteps}, 3: {5, nil}} {
		m, err := New(&ebpf.CollectionSpec{Maps: map[string]*ebpf.MapSpec{"tails": tails}, Programs: map[string]*ebpf.ProgramSpec{
			"p": {Instructions: tail(index)}, "end": {Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 7), asm.Return()}}, "again": {Instructions: tail(2)}}})
		if err != nil {
			t.Fatal(err)
		}
		m.Tail = map[uint32]string{1: "end", 2: "again"}
		m.Steps = 10000
		if got, err := m.Run("p", 0, &Env{}); got != want.value || !errors.Is(err, want.err) {
			t.Errorf("tail call of %d: %d, %v; want %+v", index, got, err, want)
		}
	}
}

// TestMemory: programs read the process through ReadUser only, and give out what
// is theirs.
func TestMemory(t *testing.T) {
	read := func(addr int64, size int32) asm.Instructions { // into the frame, and out of it
		return asm.Instructions{
			asm.Mov.Imm(asm.R5, -1), asm.StoreMem(asm.R10, -8, asm.R5, asm.DWord),
			asm.Mov.Reg(asm.R1, asm.R10), asm.Add.Imm(asm.R1, -8), asm.Mov.Imm(asm.R2, size), asm.LoadImm(asm.R3, addr, asm.DWord), asm.FnProbeReadUser.Call(),
			asm.Mov.Reg(asm.R6, asm.R0),
			asm.Mov.Reg(asm.R2, asm.R10), asm.Add.Imm(asm.R2, -8), asm.Mov.Imm(asm.R3, 8), asm.FnRingbufOutput.Call(),
			asm.Mov.Reg(asm.R0, asm.R6), asm.Return(),
		}
	}
	for name, c := range map[string]struct {
		code asm.Instructions
		ret  uint64
		out  []byte
		err  error
	}{
		"sound":           {read(0x5000, 8), 0, []byte("12345678"), nil},
		"a part":          {read(0x5000, 3), 0, []byte("123\xff\xff\xff\xff\xff"), nil},
		"not there":       {read(0x6000, 8), fault, make([]byte, 8), nil},
		"past the frames": {read(0x5000, stackSize*maxCalls), 0, nil, ErrAccess},
		"no size at all":  {read(0x5000, -1), 0, nil, ErrAccess},
	} {
		m, err := New(&ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{"p": {Instructions: c.code}}})
		if err != nil {
			t.Fatal(err)
		}
		m.Steps = 1000
		var out []byte
		ret, err := m.Run("p", 0, &Env{Output: func(p []byte) { out = bytes.Clone(p) }, ReadUser: func(p []byte, addr uint64) bool {
			copy(p, "12345678")
			return addr == 0x5000
		}})
		if ret != c.ret || !bytes.Equal(out, c.out) || !errors.Is(err, c.err) {
			t.Errorf("%s: %#x, %q, %v", name, ret, out, err)
		}
	}
	m, err := New(&ebpf.CollectionSpec{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{-1, maxMemory + 1, maxMemory} { // some is taken for frames
		if _, _, err := m.Alloc(n); !errors.Is(err, ErrMemory) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	for _, most := range []int{1 << 30, 1 << 62} {
		if _, err := m.NewMap(ebpf.Array, 4, 1<<10, most); !errors.Is(err, ErrMemory) {
			t.Errorf("an array of %d: %v", most, err)
		}
	}
}

// TestMaps looks keys up in maps of all kinds.
func TestMaps(t *testing.T) {
	m, err := New(&ebpf.CollectionSpec{})
	if err != nil {
		t.Fatal(err)
	}
	newMap := func(typ ebpf.MapType, key, most int) *Map {
		x, err := m.NewMap(typ, key, 8, most)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	number := func(n uint32) []byte { return binary.LittleEndian.AppendUint32(nil, n) }
	text := func(at uint64) string { return string(m.mem(at, 8)) }
	array := newMap(ebpf.Array, 4, 3)
	if err := array.Put(number(2), []byte("secondly")); err != nil || text(array.lookup(number(2))) != "secondly" {
		t.Error(err)
	}
	if err := array.Put(number(3), []byte("too much")); !errors.Is(err, ErrAccess) || array.lookup(number(3)) != 0 || array.lookup([]byte{1}) != 0 {
		t.Errorf("beyond the array: %v", err)
	}
	hash := newMap(ebpf.Hash, 5, 10)
	for _, value := range []string{"the old.", "the new."} {
		if err := hash.Put([]byte("a key"), []byte(value)); err != nil || text(hash.lookup([]byte("a key"))) != value {
			t.Error(err)
		}
	}
	if hash.lookup([]byte("other")) != 0 {
		t.Error("what is not in the table is found")
	}
	trie := newMap(ebpf.LPMTrie, 8, 10)
	prefix := func(bits uint32, addr ...byte) []byte { return append(number(bits), addr...) }
	for _, c := range []struct {
		key   []byte
		value string
	}{{prefix(0, 0, 0, 0, 0), "anything"}, {prefix(8, 10, 0, 0, 0), "ten.*.*."}, {prefix(20, 10, 1, 0x10, 0), "ten.1.16"}} {
		if err := trie.Put(c.key, []byte(c.value)); err != nil {
			t.Fatal(err)
		}
	}
	for value, key := range map[string][]byte{
		"anything": prefix(32, 11, 1, 1, 1), "ten.*.*.": prefix(32, 10, 1, 0x20, 1), "ten.1.16": prefix(32, 10, 1, 0x1f, 9),
	} {
		if got := text(trie.lookup(key)); got != value {
			t.Errorf("% x: %q, want %q", key, got, value)
		}
	}
	if got := text(trie.lookup(prefix(1<<31, 10, 1, 0x10, 0))); got != "ten.1.16" { // of more bits than there are
		t.Errorf("%q", got)
	}
	outer := newMap(ebpf.HashOfMaps, 4, 10)
	outer.PutMap(number(7), hash)
	if r := (&run{m: m}); r.theMap(outer.lookup(number(7))) != hash || r.theMap(outer.lookup(number(8))) != nil || r.theMap(mapTag|99) != nil || r.theMap(hash.base) != nil {
		t.Error("a table of tables")
	}
	if err := outer.Put(number(1), nil); !errors.Is(err, ErrAccess) {
		t.Errorf("a value for a table of tables: %v", err)
	}
}
