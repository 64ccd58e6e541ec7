package unwind

import (
	"bytes"
	"encoding/binary"
	"testing"

	"procdump/arch"
	"procdump/image"
	"procdump/snapshot"
)

const (
	windowsBase = 0x140000000
	codeAt      = 0x1000 // in the image
	tableAt     = 0x3000
	infoAt      = 0x4000
	windowsSize = 0x5000
)

// windowsImage is an image of Windows in memory: code from codeAt on, a table of
// functions and what it leads to.
func windowsImage(code, table, info []byte) []byte {
	le := binary.LittleEndian
	b := make([]byte, windowsSize)
	copy(b, "MZ")
	const pe, opt, sections = 0x80, 0x98, 0x98 + 240
	le.PutUint32(b[60:], pe)
	copy(b[pe:], "PE\x00\x00\x64\x86\x02\x00")
	le.PutUint16(b[pe+20:], 240)
	le.PutUint16(b[opt:], 0x20b)
	le.PutUint32(b[opt+56:], windowsSize)
	le.PutUint32(b[opt+60:], 0x400)
	le.PutUint32(b[opt+108:], 16)
	le.PutUint32(b[opt+112+3*8:], tableAt)
	le.PutUint32(b[opt+112+3*8+4:], uint32(len(table)))
	for i, s := range []struct{ at, size, flags uint32 }{{codeAt, 0x2000, 0x60000020}, {tableAt, 0x2000, 0x40000040}} {
		h := b[sections+40*i:]
		le.PutUint32(h[8:], s.size)
		le.PutUint32(h[12:], s.at)
		le.PutUint32(h[36:], s.flags)
	}
	copy(b[codeAt:tableAt], code)
	copy(b[tableAt:infoAt], table)
	copy(b[infoAt:], info)
	return b
}

// onARM64 makes an image one for arm64.
func onARM64(img []byte) []byte {
	binary.LittleEndian.PutUint16(img[0x84:], 0xaa64)
	return img
}

// entries is a table of functions: three numbers of each, on arm64 two.
func entries(rva ...uint32) []byte {
	b, _ := binary.Append(nil, binary.LittleEndian, rva)
	return b
}

// windowsCode is 0x2000 bytes of nothing, with a call before each place that the
// tests return to.
func windowsCode() []byte {
	b := bytes.Repeat([]byte{0x90}, 0x2000)
	for _, to := range []int{0x1800, 0x1900} {
		b[to-codeAt-5] = 0xe8
	}
	return b
}

// windowsProcess stands at a place of the image.
func windowsProcess(t testing.TB, img, stack []byte, pc uint64) (*Unwinder, *snapshot.Thread) {
	t.Helper()
	m := arch.AMD64
	if binary.LittleEndian.Uint16(img[0x84:]) == 0xaa64 {
		m = arch.ARM64
	}
	p := &snapshot.Process{
		System:  snapshot.System{Machine: m, OS: "windows"},
		Modules: []snapshot.Module{{Range: snapshot.Range{Addr: windowsBase, Size: windowsSize}, Path: `C:\app.exe`}},
		Memory:  memory{windowsBase: img, testStack: stack},
	}
	set := image.NewSet(p, image.Options{})
	t.Cleanup(set.Close)
	u, err := New(p, set)
	if err != nil {
		t.Fatal(err)
	}
	th := thread(pc, testStack, testStack+0x40)
	th.Registers.SetGP("rbx", 0xb)
	if m == arch.ARM64 {
		th.Registers = arch.Registers{Machine: m}
		for name, v := range map[string]uint64{"pc": pc, "sp": testStack, "x29": testStack + 0x40, "x30": windowsBase + 0x1800, "x19": 0xb} {
			th.Registers.SetGP(name, v)
		}
	}
	return u, &th
}

// TestWindowsCodes leaves a function by each way of saying what it has done.
func TestWindowsCodes(t *testing.T) {
	const one, two = windowsBase + 0x1800, windowsBase + 0x1900
	const pc = windowsBase + 0x1100 // of the function [0x1100-16, 0x1200)
	table := entries(0x10f0, 0x1200, infoAt, 0x1780, 0x1880, infoAt+0x100)
	// The caller keeps 8 bytes for itself: its own caller is two.
	caller := []byte{1, 4, 1, 0, 4, 0x02, 0, 0}
	for _, c := range []struct {
		name  string
		info  []byte
		more  []byte // at infoAt+0x80
		stack []uint64
		table []byte
		rbx   uint64 // of the caller
		want  string
	}{
		{name: "alloc small", info: []byte{1, 4, 1, 0, 4, 0x12}, stack: []uint64{0, 0, one, 0, two}, rbx: 0xb},
		{name: "alloc large", info: []byte{1, 4, 2, 0, 4, 0x01, 3, 0}, stack: []uint64{0, 0, 0, one, 0, two}, rbx: 0xb},
		{name: "alloc very large", info: []byte{1, 4, 3, 0, 4, 0x11, 16, 0, 0, 0}, stack: []uint64{0, 0, one, 0, two}, rbx: 0xb},
		{name: "push", info: []byte{1, 5, 2, 0, 5, 0x02, 1, 0x30}, stack: []uint64{0, 7, one, 0, two}, rbx: 7},
		{name: "save", info: []byte{1, 9, 3, 0, 9, 0x34, 1, 0, 4, 0x12}, stack: []uint64{0, 8, one, 0, two}, rbx: 8},
		{name: "save far", info: []byte{1, 9, 4, 0, 9, 0x35, 8, 0, 0, 0, 4, 0x12}, stack: []uint64{0, 8, one, 0, two}, rbx: 8},
		{name: "vector registers", info: []byte{1, 9, 6, 0, 9, 0x68, 1, 0, 8, 0x79, 0, 0, 0, 0, 4, 0x12}, stack: []uint64{0, 0, one, 0, two}, rbx: 0xb},
		// rbp is testStack+0x40, 32 bytes above where the stack ended once.
		{name: "frame register", info: []byte{1, 9, 2, 0x25, 9, 0x03, 4, 0x12}, stack: []uint64{9, 9, 9, 9, 0, 0, one, 0, two}, rbx: 0xb},
		{name: "saved at the frame", info: []byte{1, 12, 4, 0x25, 12, 0x34, 1, 0, 9, 0x03, 4, 0x12}, stack: []uint64{9, 9, 9, 9, 0, 8, one, 0, two}, rbx: 8},
		{name: "prolog not done", info: []byte{1, 20, 2, 0, 20, 0x12, 1, 0x30}, stack: []uint64{7, one, 0, two}, rbx: 7},
		{name: "frame register not set", info: []byte{1, 20, 2, 0x25, 20, 0x03, 4, 0x12}, stack: []uint64{0, 0, one, 0, two}, rbx: 0xb},
		{name: "version 2", info: []byte{2, 4, 5, 0, 9, 0x16, 30, 0x06, 60, 0x06, 0, 0, 4, 0x12}, stack: []uint64{0, 0, one, 0, two}, rbx: 0xb},
		{name: "version 2, no pair", info: []byte{2, 4, 2, 0, 9, 0x16, 4, 0x12}, stack: []uint64{0, 0, one, 0, two}, rbx: 0xb},
		{name: "machine frame", info: []byte{1, 0, 1, 0, 0, 0x0a}, stack: []uint64{one, 0x33, 0x246, testStack + 0x30, 0x2b, 0, 0, two}, rbx: 0xb},
		{name: "machine frame with an error code", info: []byte{1, 0, 1, 0, 0, 0x1a}, stack: []uint64{9, one, 0x33, 0x246, testStack + 0x30, 0x2b, 0, two}, rbx: 0xb},
		{name: "chained", info: append([]byte{0x21, 0, 2, 0, 0, 0x34, 1, 0}, entries(0x1200, 0x1300, infoAt+0x80)...),
			more: []byte{1, 32, 1, 0, 32, 0x12}, stack: []uint64{0, 8, one, 0, two}, rbx: 8},
		{name: "indirect", table: entries(0x10f0, 0x1200, tableAt+13, 0x1700, 0x1780, infoAt, 0x1780, 0x1880, infoAt+0x100),
			info: []byte{1, 4, 1, 0, 4, 0x12}, stack: []uint64{0, 0, one, 0, two}, rbx: 0xb},
		{name: "no entry", table: entries(0x1780, 0x1880, infoAt+0x100), stack: []uint64{one, 0, two}, rbx: 0xb},
		{name: "version 3", info: []byte{3, 4, 1, 0, 4, 0x12}, stack: []uint64{0, 0, one, 0, two}, want: "0x140001100 registers; 0x140001800 scan; 0x140001900 pe; "},
		{name: "unknown code", info: []byte{1, 4, 1, 0, 4, 0x1b}, stack: []uint64{0, 0, one, 0, two}, want: "0x140001100 registers; 0x140001800 scan; 0x140001900 pe; "},
	} {
		t.Run(c.name, func(t *testing.T) {
			info := make([]byte, 0x200)
			copy(info, c.info)
			copy(info[0x80:], c.more)
			copy(info[0x100:], caller)
			if c.table == nil {
				c.table = table
			}
			u, th := windowsProcess(t, windowsImage(windowsCode(), c.table, info), words(append(c.stack, 0, 0)...), pc)
			s := u.Stack(th, 3)
			if c.want == "" {
				c.want = "0x140001100 registers; 0x140001800 pe; 0x140001900 pe; "
			}
			if got := summary(Stack{Frames: s.Frames}); got != c.want {
				t.Errorf("%s, not %s", got, c.want)
			}
			if c.rbx == 0 {
				return
			}
			cur := walk{registers: u.m.start(&th.Registers), frame: Frame{PC: pc, SP: testStack, Exact: true}}
			next, _ := u.step(&cur)
			if v, _ := next.get(3); v != c.rbx {
				t.Errorf("rbx is %#x, not %#x", v, c.rbx)
			}
		})
	}
}

// TestWindowsEnd ends where nobody has called, and where a table cannot be read.
func TestWindowsEnd(t *testing.T) {
	info := []byte{1, 4, 1, 0, 4, 0x02}
	img := windowsImage(windowsCode(), entries(0x10f0, 0x1200, infoAt), info)
	u, th := windowsProcess(t, img, words(0, 0, 7), windowsBase+0x1100)
	if got := summary(u.Stack(th, 9)); got != "0x140001100 registers; complete" {
		t.Error(got)
	}
	u, th = windowsProcess(t, img[:tableAt], words(0, 0, 7), windowsBase+0x1100)
	if s := u.Stack(th, 9); s.End == "" || s.Complete {
		t.Error(summary(s))
	}
}

func FuzzWindows(f *testing.F) {
	stack := words(0, 0, windowsBase+0x1800, 0, windowsBase+0x1900, 0, 0)
	f.Add(windowsCode()[:64], entries(0x10f0, 0x1200, infoAt), []byte{1, 9, 3, 0, 9, 0x34, 1, 0, 4, 0x12}, stack, uint32(0x1100), false)
	f.Add([]byte{0x48, 0x83, 0xc4, 8, 0x5b, 0x41, 0x5c, 0xc3}, entries(0x1000, 0x1200, infoAt), []byte{1, 9, 1, 0, 4, 0x12}, stack, uint32(0x1000), false)
	f.Add([]byte{0x48, 0x8d, 0x65, 8, 0x5b, 0xeb, 0xf0}, entries(0x1000, 0x1200, tableAt+1), []byte{0x21, 9, 1, 0x25, 4, 0x12}, stack, uint32(0x1000), false)
	armStack := words(0x13, 0, testStack+64, windowsBase+0x1804, 0, 0, 0, 0, 0, windowsBase+0x1904, 0, 0)
	f.Add(armWindowsCode(), entries(0x1000, infoAt, 0x1780, 0x416101ed), armRecord(0x200, 0xe1, 0x81, 0x22, 0xe4), armStack, uint32(0x1100), true)
	f.Add(armWindowsCode(), entries(0x1000, 0x016101ed|2<<23), armRecord(0x200, 0xe6, 0x22, 0xfc, 0xe4), armStack, uint32(0x1100), true)
	f.Add(armWindowsCode(), entries(0x1000, infoAt), armRecord(0x200, 0xea, 0xe4), append(armStack, make([]byte, 0x100)...), uint32(0x1100), true)
	f.Fuzz(func(t *testing.T, code, table, info, stack []byte, at uint32, arm bool) {
		img := windowsImage(code, table, info)
		if arm {
			onARM64(img)
		}
		u, th := windowsProcess(t, img, stack, windowsBase+uint64(at))
		const limit = 200
		if got := u.Stack(th, limit); len(got.Frames) > limit || len(got.Frames) == 0 {
			t.Errorf("%d frames", len(got.Frames))
		}
	})
}
