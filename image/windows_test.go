package image

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"procdump/image/pe"
	"procdump/internal/packed"
	"procdump/snapshot"
)

// TestWindowsFile finds the file of a Windows image in each place that it may lie
// in, and no other file.
func TestWindowsFile(t *testing.T) {
	program := packed.Read(t, "../unwind/testdata/windows/steps.exe.gz")
	x, err := pe.NewFile(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	store := fmt.Sprintf("%08X%x", x.Stamp, x.Size)
	const path = `C:\Program Files\App\Steps.exe`
	for _, c := range []struct {
		name  string
		file  string
		path  string
		stamp uint32 // added to the file's
		size  uint64
		warn  string
	}{
		{name: "whole path", file: "Program Files/App/Steps.exe"},
		{name: "other case", file: "PROGRAM FILES/app/STEPS.EXE"},
		{name: "with the drive", file: "c:/Program Files/App/Steps.exe"},
		{name: "alone", file: "steps.exe"},
		{name: "symbol store", file: "symbols/Steps.exe/" + store + "/steps.exe"},
		{name: "none", file: "other.exe", warn: "its file is not here (-sysroot DIR)"},
		{name: "other time", file: "steps.exe", stamp: 1, warn: "another one"},
		{name: "other size", file: "steps.exe", size: 4096, warn: "another one"},
		{name: "out of the folder", file: "steps.exe", path: `C:\..\steps.exe`, warn: "its file is not here"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			file := filepath.Join(root, filepath.FromSlash(c.file))
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, program, 0o644); err != nil {
				t.Fatal(err)
			}
			if c.path == "" {
				c.path = path
			}
			const base = 0x7ff600000000
			p := &snapshot.Process{System: snapshot.System{OS: "windows"}, Modules: []snapshot.Module{{
				Range: snapshot.Range{Addr: base, Size: uint64(x.Size) + c.size}, Path: c.path, ID: snapshot.FileID{Stamp: x.Stamp + c.stamp}}}}
			s := NewSet(p, Options{Roots: []string{root}})
			defer s.Close()
			s.SymbolsIn([]string{filepath.Join(root, "symbols")})
			im := s.Find(base)
			got := im.PE()
			warnings := strings.Join(s.Warnings(), "\n")
			if (got == nil) != (c.warn != "") || !strings.Contains(warnings, c.warn) || c.warn == "" && warnings != "" {
				t.Fatalf("found: %v; %s", got != nil, warnings)
			}
			if im.File() != nil {
				t.Error("it is taken for an ELF file")
			}
			b := make([]byte, 16)
			n, _ := s.ReadMemory(b, base+0x1000)
			if n < len(b) != (got == nil) {
				t.Errorf("%d bytes of code", n)
			}
			// The loader may have changed what is no code.
			if n, _ := s.ReadMemory(b, base); n != 0 {
				t.Errorf("%d bytes of the headers are taken from the file", n)
			}
		})
	}
}
