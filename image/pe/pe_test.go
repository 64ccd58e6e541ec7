package pe

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"procdump/internal/packed"
)

// steps is a program that gcc has compiled for Windows.
func steps(t testing.TB) []byte { return packed.Read(t, "../../unwind/testdata/windows/steps.exe.gz") }

// load lays a file out as Windows does.
func load(t testing.TB, file []byte) []byte {
	t.Helper()
	f, err := pe.NewFile(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	h := f.OptionalHeader.(*pe.OptionalHeader64)
	b := make([]byte, h.SizeOfImage)
	copy(b, file[:h.SizeOfHeaders])
	for _, s := range f.Sections {
		data, err := s.Data()
		if err != nil && s.Size > 0 {
			t.Fatal(err)
		}
		copy(b[s.VirtualAddress:][:s.VirtualSize], data)
	}
	return b
}

// inMemory reads from a whole image.
func inMemory(b []byte) func(p []byte, rva uint32) int {
	return func(p []byte, rva uint32) int {
		if uint64(rva) >= uint64(len(b)) {
			return 0
		}
		return copy(p, b[rva:])
	}
}

// TestImage reads a program from its file and from memory; debug/pe is the judge.
func TestImage(t *testing.T) {
	file := steps(t)
	std, err := pe.NewFile(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	h := std.OptionalHeader.(*pe.OptionalHeader64)
	mapped := load(t, file)
	fromFile, err := NewFile(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	fromMemory, err := New(inMemory(mapped))
	if err != nil {
		t.Fatal(err)
	}
	pdata, err := std.Section(".pdata").Data()
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]*Image{"file": fromFile, "memory": fromMemory} {
		t.Run(name, func(t *testing.T) {
			if x.Machine != std.Machine || x.Stamp != std.TimeDateStamp || x.Size != h.SizeOfImage || !x.HasFunctions() {
				t.Errorf("machine %#x, stamp %#x, size %#x", x.Machine, x.Stamp, x.Size)
			}
			for _, s := range std.Sections {
				b := make([]byte, s.VirtualSize)
				if n := x.Read(b, s.VirtualAddress); n != len(b) || !bytes.Equal(b, mapped[s.VirtualAddress:][:n]) {
					t.Errorf("section %s: %#x bytes of %#x, or they differ", s.Name, n, len(b))
				}
			}
			if n := x.Read(make([]byte, 100), x.Size-10); n > 10 {
				t.Errorf("%d bytes at the end, which has 10", n)
			}
			checkFunctions(t, x, pdata[:h.DataDirectory[exceptionDirectory].Size])
			checkExports(t, x)
			text := std.Section(".text")
			if n := x.Unchanged(text.VirtualAddress + 1); n != text.VirtualSize-1 || x.Unchanged(std.Section(".data").VirtualAddress) != 0 {
				t.Errorf("%#x bytes of code cannot change, of %#x", n, text.VirtualSize-1)
			}
		})
	}
}

func checkFunctions(t *testing.T, x *Image, table []byte) {
	t.Helper()
	last, n := uint32(0), 0
	for ; len(table) >= functionSize; table = table[functionSize:] {
		want := Function{binary.LittleEndian.Uint32(table), binary.LittleEndian.Uint32(table[4:]), binary.LittleEndian.Uint32(table[8:])}
		n++
		for _, at := range []uint32{want.Begin, want.End - 1} {
			if f, ok, none := x.Function(at); f != want || !ok || none {
				t.Errorf("at %#x: %v, %v, %v, not %v", at, f, ok, none, want)
			}
		}
		if last < want.Begin {
			if f, ok, none := x.Function(last); last != 0 && (ok || !none) {
				t.Errorf("at %#x: %v, where there is none", last, f)
			}
		}
		if start, _, known := x.Start(want.End - 1); start != want.Begin || !known {
			t.Errorf("at %#x: it begins at %#x, not %#x", want.End-1, start, want.Begin)
		}
		if u, ok := x.UnwindInfo(want); !ok || u.Version != 1 || u.Chained {
			t.Errorf("unwind info of %#x: %v, %v", want.Begin, u, ok)
		}
		last = want.End
	}
	if n < 50 {
		t.Errorf("%d functions", n)
	}
}

func checkExports(t *testing.T, x *Image) {
	t.Helper()
	var names []string
	for _, e := range x.Exports(1000) {
		names = append(names, x.Name(e))
	}
	want := []string{"dynamic", "jumps", "large", "leaf", "recursive", "registers", "run", "switches", "through"}
	if !slices.Equal(names, want) {
		t.Errorf("it exports %q, not %q", names, want)
	}
	if n := len(x.Exports(2)); n != 2 {
		t.Errorf("%d exports, of 2 at most", n)
	}
}

// TestNone refuses what is no image.
func TestNone(t *testing.T) {
	whole := steps(t)
	for _, b := range [][]byte{nil, []byte("MZ"), make([]byte, 1000), whole[:200], append([]byte("ZM"), whole[2:]...)} {
		if x, err := NewFile(bytes.NewReader(b)); x != nil || !errors.Is(err, ErrFormat) {
			t.Errorf("%d bytes: %v, %v", len(b), x, err)
		}
	}
}

func FuzzImage(f *testing.F) {
	file := steps(f)
	f.Add(file, uint32(0x1400))
	f.Add(load(f, file), uint32(0x1400))
	f.Add(file[:0x400], uint32(0x1400))
	arm := packed.Read(f, "../../unwind/testdata/windows/arm64.dll.gz")
	f.Add(arm, uint32(0x1390))
	f.Add(load(f, arm), uint32(0x31c8))
	f.Fuzz(func(t *testing.T, b []byte, rva uint32) {
		open := map[string]func() (*Image, error){
			"file":   func() (*Image, error) { return NewFile(bytes.NewReader(b)) },
			"memory": func() (*Image, error) { return New(inMemory(b)) },
		}
		for name, open := range open {
			x, err := open()
			if (x == nil) == (err == nil) {
				t.Fatalf("%s: %v, %v", name, x, err)
			}
			if x == nil {
				continue
			}
			if f, ok, none := x.Function(rva); ok {
				x.UnwindInfo(f)
				x.UndoARM64(f, rva)
				x.Primary(f)
			} else if f != (Function{}) || none && !x.HasFunctions() {
				t.Errorf("%s: %v, %v", name, f, none)
			}
			x.Start(rva)
			if n := x.Unchanged(rva); n > 0 && !x.Code(rva) {
				t.Errorf("%s: %d bytes that are no code", name, n)
			}
			for _, e := range x.Exports(10) {
				x.Name(e)
			}
			p := make([]byte, 100)
			if n := x.Read(p, rva); n > len(p) || uint64(rva)+uint64(n) > max(uint64(x.Size), uint64(rva)) {
				t.Errorf("%s: %d bytes from %#x of %#x", name, n, rva, x.Size)
			}
		}
	})
}
