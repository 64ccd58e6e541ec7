package symbols

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"procdump/arch"
	"procdump/image"
	"procdump/internal/packed"
	"procdump/snapshot"
)

// small is testdata/small.elf.gz, unpacked.
func small(t testing.TB) []byte {
	t.Helper()
	return packed.Read(t, "testdata/small.elf.gz")
}

// symbolizer is one of a process that has mapped the file at its address.
func symbolizer(t testing.TB, elf []byte) *Symbolizer {
	t.Helper()
	file := filepath.Join(t.TempDir(), "small")
	if err := os.WriteFile(file, elf, 0o600); err != nil {
		t.Fatal(err)
	}
	p := &snapshot.Process{System: snapshot.System{Machine: arch.AMD64}, Modules: []snapshot.Module{
		{Range: snapshot.Range{Addr: 0x400000, Size: 0x4000}, Path: file}}}
	set := image.NewSet(p, image.Options{})
	t.Cleanup(set.Close)
	return New(set)
}

// without renames sections, so that they are not found.
func without(elf []byte, sections ...string) []byte {
	elf = bytes.Clone(elf)
	for _, s := range sections {
		i := bytes.LastIndex(elf, []byte(s+"\x00"))
		elf[i+1] = '?'
	}
	return elf
}

func TestLookup(t *testing.T) {
	elf := small(t)
	const file = "/src/small.c"
	inlined := []Location{
		{Function: "twice", Offset: 12, File: file, Line: 9, Inlined: true},
		{Function: "middle", Offset: 12, File: file, Line: 14},
	}
	for _, c := range []struct {
		name string
		elf  []byte
		pc   uint64
		want []Location
	}{
		{"inlined", elf, 0x40100c, inlined},
		{"line", elf, 0x401035, []Location{{Function: "outer", Offset: 5, File: file, Line: 21}}},
		{"last byte", elf, 0x401022, []Location{{Function: "middle", Offset: 34, File: file, Line: 17}}},
		{"between functions", elf, 0x401028, []Location{{File: file, Line: 17}}},
		{"no code", elf, 0x403000, nil},
		{"elsewhere", elf, 0x500000, nil},
		{"symbols", without(elf, ".debug_info"), 0x40100c, []Location{{Function: "middle", Offset: 12}}},
		{"mini debug information", without(elf, ".debug_info", ".symtab"), 0x40100c, []Location{{Function: "middle", Offset: 12}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := c.elf
			if c.name == "mini debug information" {
				e = noSymtab(t, e)
			}
			s := symbolizer(t, e)
			if got := s.Lookup(c.pc); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, want %+v; %q", got, c.want, s.Warnings)
			}
		})
	}
}

// noSymtab makes the symbol table a section of another type.
func noSymtab(t testing.TB, elf []byte) []byte {
	t.Helper()
	elf = bytes.Clone(elf)
	// A section header is 64 bytes; the type, SHT_SYMTAB, is its second word.
	table := int(uint64(elf[40]) | uint64(elf[41])<<8)
	for at := table; at+64 <= len(elf); at += 64 {
		if elf[at+4] == 2 {
			elf[at+4] = 1
			return elf
		}
	}
	t.Fatal("no symbol table")
	return nil
}

func TestDamagedDebugInformation(t *testing.T) {
	elf := small(t)
	i := bytes.Index(elf, []byte("GNU C17"))
	if i < 0 {
		t.Fatal("no producer")
	}
	// Overwrite all of .debug_abbrev: nothing can be parsed.
	s := symbolizer(t, elf)
	if got := s.Lookup(0x401035); len(got) != 1 || got[0].Line != 21 {
		t.Fatalf("%+v", got)
	}
	damaged := bytes.Clone(elf)
	at := bytes.Index(damaged, []byte{1, 0x11, 1, 0x25, 0x0e}) // the first abbreviation: a compile unit with a producer
	if at < 0 {
		at = bytes.Index(damaged, []byte{0x11, 1, 0x25, 0x0e})
	}
	if at < 0 {
		t.Fatal("the abbreviation of the compilation unit has another form")
	}
	for k := range 16 {
		damaged[at+k] = 0xff
	}
	s = symbolizer(t, damaged)
	if got := s.Lookup(0x401035); len(got) != 1 || got[0].Function != "outer" || got[0].Line != 0 {
		t.Errorf("%+v", got)
	}
}

// TestLateDebugInformation: when debug information has taken all its time, names
// come from symbol tables, and one warning says so.
func TestLateDebugInformation(t *testing.T) {
	for _, early := range []bool{true, false} {
		s := symbolizer(t, small(t))
		if early {
			if got := s.Lookup(0x401035); len(got) != 1 || got[0].Line != 21 || s.clock.left >= maxDebugTime {
				t.Fatalf("%+v, %v left", got, s.clock.left)
			}
		}
		s.clock.left = 0
		for _, pc := range []uint64{0x40100c, 0x401010} {
			if got := s.Lookup(pc); len(got) != 1 || got[0].Function != "middle" || got[0].Line != 0 {
				t.Errorf("%+v", got)
			}
		}
		if len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "takes more than 2m0s") {
			t.Errorf("warnings %q", s.Warnings)
		}
	}
}

func TestDemangle(t *testing.T) {
	long := "_Z" + strings.Repeat("N1a", 10_000)
	for in, want := range map[string]string{
		"main":                   "main",
		"read@@GLIBC_2.2.5":      "read",
		"_ZN6victim4List4pushEi": "victim::List::push",
		"_ZN3foo3barEv.cold":     "foo::bar",
		"_ZNSt6thread4joinEv":    "std::thread::join",
		"_Zbroken":               "_Zbroken",
		"_RNvC6_123foo3bar":      "123foo::bar",
		"_ZN4core9panicking5panic17h0123456789abcdefE": "core::panicking::panic",
		long: long,
	} {
		if got := Demangle(in); got != want {
			t.Errorf("Demangle(%.40q) = %.80q, want %.80q", in, got, want)
		}
	}
}

func TestIndexPrefers(t *testing.T) {
	// Of one address: sized before unsized, global before local, and fewer
	// underscores in front before both.
	if !better("read", 1, "__read", 0) || !better("read", 0, "reab", 1) || !better("ab", 0, "abc", 0) {
		t.Error("the worse name is preferred")
	}
}

// FuzzLookup looks addresses up in a damaged file.
func FuzzLookup(f *testing.F) {
	elf := small(f)
	f.Add(elf, uint64(0x40100c))
	f.Add(without(elf, ".debug_info"), uint64(0x401035))
	f.Add(without(noSymtab(f, elf), ".debug_info"), uint64(0x401035))
	f.Fuzz(func(t *testing.T, elf []byte, pc uint64) {
		s := symbolizer(t, elf)
		for _, at := range []uint64{pc, 0x401000, 0x40100c, 0x401035, 0x401060} {
			for i, l := range s.Lookup(at) {
				if i > maxInlined || l.Line < 0 || l.Function == "" && l.File == "" && l.Line == 0 && l.Inlined {
					t.Errorf("%#x: %+v", at, l)
				}
			}
		}
	})
}
