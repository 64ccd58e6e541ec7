package e2e

import (
	"bytes"
	"debug/pe"
	le "encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// words64 are the bytes of words of 8 bytes.
func words64(w ...uint64) []byte {
	b, _ := le.Append(nil, le.LittleEndian, w)
	return b
}

// windowsARM64Dump is a minidump as Windows writes it on arm64, of a program that
// has crashed: one thread with its registers and stack, and one module.
func windowsARM64Dump(stamp, size uint32, base, pc, lr, sp, fp uint64, stack []byte) []byte {
	context := make([]byte, 912)
	le.LittleEndian.PutUint32(context, 0x400007)
	copy(context[0xf0:], words64(fp, lr, sp, pc))
	b := make([]byte, 32)
	add := func(parts ...any) uint32 {
		at := len(b)
		for _, p := range parts {
			b, _ = le.Append(b, le.LittleEndian, p)
		}
		return uint32(at)
	}
	ctx, mem := add(context), add(stack)
	name := add(uint32(2 * len(`C:\app\arm64.dll`)))
	for _, c := range `C:\app\arm64.dll` {
		add(uint16(c))
	}
	add(uint16(0))
	var dir []uint32
	stream := func(typ uint32, parts ...any) {
		at := add(parts...)
		dir = append(dir, typ, uint32(len(b))-at, at)
	}
	at := []any{sp, uint32(len(stack)), mem} // the stack
	stream(7, uint16(12), uint32(0), uint16(0x104), uint32(10), uint32(0), uint32(26100), uint32(2), make([]byte, 32))
	stream(3, append(append([]any{uint32(1), uint32(7), uint32(0), uint32(0), uint32(0), uint64(0x5000)}, at...), uint32(len(context)), ctx)...)
	stream(4, uint32(1), base, size, uint32(0), stamp, name, make([]byte, 84))
	stream(5, append([]any{uint32(1)}, at...)...)
	stream(6, uint32(7), uint32(0), uint32(0xc0000005), uint32(0), uint64(0), pc, uint32(2), uint32(0), uint64(1), uint64(8), make([]byte, 13*8),
		uint32(len(context)), ctx)
	copy(b, "MDMP\x93\xa7\x00\x00")
	copy(b[8:], words64(uint64(len(dir)/3)|uint64(add(dir))<<32))
	return b
}

// TestInspectWindowsARM64 reads a minidump of an arm64 program, whose file is
// beside it. What the functions keep on the stack is by their instructions.
func TestInspectWindowsARM64(t *testing.T) {
	dir := unpack(t, t.TempDir(), "../unwind/testdata/windows", "arm64.dll")
	program, err := os.ReadFile(filepath.Join(dir, "arm64.dll"))
	if err != nil {
		t.Fatal(err)
	}
	std, err := pe.NewFile(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	const (
		base = 0x7ff612340000
		sp   = 0x9d9b7ff000
		fp   = sp + 0x20 + 0x1b0 + 0x80 + 0x10 // of plain_dynamic, which has allocated 0x80 bytes
		leaf = base + 0x3200                   // in nothing
		two  = base + 0x10a8                   // behind the calls of plain_two, signed_array, plain_dynamic
		arr  = base + 0x2530
		dyn  = base + 0x143c
	)
	stack := make([]byte, 0x1000)
	copy(stack, words64(0x19, 0x20, arr))                           // stp x19, x20, [sp, #-0x20]!; str x30, [sp, #0x10]
	copy(stack[0x20+0x190:], words64(0x19, 0x20, fp, 0x2a<<48|dyn)) // stp x19, x20, [sp, #0x190]; stp x29, x30, [sp, #0x1a0]
	file := filepath.Join(dir, "arm.dmp")
	size := std.OptionalHeader.(*pe.OptionalHeader64).SizeOfImage
	if err := os.WriteFile(file, windowsARM64Dump(std.TimeDateStamp, size, base, leaf, two, sp, 0x29, stack), 0o600); err != nil {
		t.Fatal(err)
	}
	r := inspectReport(t, file, "-sysroot", dir)
	if len(r.Warnings) > 0 || len(r.Groups) != 1 || !r.Groups[0].Complete || r.Exception == nil || r.Exception.Code != "0xc0000005" {
		t.Fatalf("%q; exception %+v; stacks %+v", r.Warnings, r.Exception, r.Groups)
	}
	var names []string
	for i, f := range r.Groups[0].Frames {
		names = append(names, f.Function)
		if f.Guess || i > 0 && f.How != "pe" {
			t.Errorf("found by %s: %+v", f.How, f)
		}
	}
	if want := []string{"nothing", "plain_two", "signed_array", "plain_dynamic"}; !slices.Equal(names, want) {
		t.Errorf("stack %q, not %q", names, want)
	}
	if got, want := pcs(r.stacks(t)[7]), []uint64{leaf, two, arr, dyn}; !slices.Equal(got, want) {
		t.Errorf("stack %#x, not %#x", got, want)
	}
}
