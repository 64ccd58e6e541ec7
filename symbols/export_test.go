package symbols

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"procdump/image"
	"procdump/internal/packed"
	"procdump/snapshot"
)

// windowsProgram is a Symbolizer of a process of Windows with one program.
func windowsProgram(t *testing.T, program []byte) (*Symbolizer, *pe.File) {
	t.Helper()
	std, err := pe.NewFile(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "steps.exe"), program, 0o600); err != nil {
		t.Fatal(err)
	}
	size := std.OptionalHeader.(*pe.OptionalHeader64).SizeOfImage
	set := image.NewSet(&snapshot.Process{System: snapshot.System{OS: "windows"}, Modules: []snapshot.Module{{
		Range: snapshot.Range{Addr: windowsBase, Size: uint64(size)}, Path: `C:\steps.exe`, ID: snapshot.FileID{Stamp: std.TimeDateStamp}}}},
		image.Options{Roots: []string{root}})
	t.Cleanup(set.Close)
	return New(set), std
}

const windowsBase = 0x7ff600000000

// TestExports names the functions of a Windows program that it exports, and no
// others.
func TestExports(t *testing.T) {
	s, std := windowsProgram(t, packed.Read(t, "../unwind/testdata/windows/steps.exe.gz"))
	table, err := std.Section(".pdata").Data()
	if err != nil {
		t.Fatal(err)
	}
	names, without := []string{}, 0
	for ; len(table) >= 12; table = table[12:] {
		begin, end := binary.LittleEndian.Uint32(table), binary.LittleEndian.Uint32(table[4:])
		if begin == 0 {
			break
		}
		last := s.Lookup(windowsBase + uint64(end) - 1)
		if len(last) == 0 {
			without++
			continue
		}
		if l := last[0]; len(last) != 1 || l.Offset != uint64(end-1-begin) {
			t.Errorf("at %#x: %+v, in the function from %#x on", end-1, last, begin)
		}
		names = append(names, last[0].Function)
	}
	slices.Sort(names)
	want := []string{"dynamic", "jumps", "large", "leaf", "recursive", "registers", "run", "switches", "through"}
	if !slices.Equal(names, want) || without < 50 {
		t.Errorf("%q, and %d functions without a name; not %q", names, without, want)
	}
	if l := s.Lookup(windowsBase + uint64(std.Section(".data").VirtualAddress)); l != nil {
		t.Errorf("data is %+v", l)
	}
}

// TestExportsOfI386 names code by the export before it: i386 has no table of
// functions.
func TestExportsOfI386(t *testing.T) {
	program := packed.Read(t, "../unwind/testdata/windows/steps.exe.gz")
	machine := bytes.Index(program, []byte("PE\x00\x00\x64\x86")) + 4
	copy(program[machine:], []byte{0x4c, 1})
	s, std := windowsProgram(t, program)
	text := std.Section(".text")
	last := s.Lookup(windowsBase + uint64(text.VirtualAddress+text.VirtualSize) - 1)
	if len(last) != 1 || last[0].Function != "run" || last[0].Offset < 1000 {
		t.Errorf("at the end of the code: %+v", last)
	}
	if l := s.Lookup(windowsBase + uint64(text.VirtualAddress)); l != nil {
		t.Errorf("before the first export: %+v", l)
	}
}
