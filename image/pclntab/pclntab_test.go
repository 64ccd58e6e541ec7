package pclntab

import (
	"bytes"
	"debug/elf"
	"os"
	"reflect"
	"runtime"
	"sort"
	"strings"
	"testing"
	"time"
)

// own is the table of the test program, where it is an ELF file.
func own(t testing.TB) (table []byte, text uint64) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.Open(exe)
	if err != nil {
		t.Skipf("needs a program in the ELF format: %v", err)
	}
	defer f.Close()
	s := f.Section(".gopclntab")
	if s == nil {
		t.Skip("needs a program at a fixed address")
	}
	b, err := s.Data()
	if err != nil {
		t.Fatal(err)
	}
	return b, f.Section(".text").Addr
}

// steps are enough for a test.
const steps = 1 << 20

func open(t testing.TB) *Table {
	t.Helper()
	b, text := own(t)
	table, err := New(bytes.NewReader(b), int64(len(b)), func() uint64 { return text }, 0, new(steps))
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// TestOwnProgram compares what the table says of the test program with what its
// runtime does.
func TestOwnProgram(t *testing.T) {
	table := open(t)
	functions := []any{TestOwnProgram, own, New, (*Table).Find, strings.Repeat, sort.Ints, time.Now, bytes.Equal, elf.Open, os.Getenv}
	for _, f := range functions {
		entry := reflect.ValueOf(f).Pointer()
		for _, pc := range []uintptr{entry, entry + 1, entry + 30} {
			want := runtime.FuncForPC(pc)
			got := table.Find(uint64(pc))
			if want == nil || got == nil || got.Entry != uint64(want.Entry()) {
				t.Errorf("%#x: got %+v, want %v", pc, got, want)
				continue
			}
			if got.End <= uint64(pc) {
				t.Errorf("%s ends at %#x before %#x", got.Name, got.End, pc)
			}
			// Of what was inlined there the runtime names the inner function,
			// and the table the line of it.
			frame, _ := runtime.CallersFrames([]uintptr{pc + 1}).Next()
			file, line := got.Line(uint64(pc))
			if file != frame.File || line != frame.Line {
				t.Errorf("%#x: at %s:%d, want %s:%d", pc, file, line, frame.File, frame.Line)
			}
			if frame.Func != nil && got.Name != want.Name() && !strings.HasPrefix(want.Name(), got.Name) && frame.Function != want.Name() {
				t.Errorf("%#x: %s, want %s", pc, got.Name, want.Name())
			}
		}
	}
	for _, pc := range []uint64{0, 1, ^uint64(0)} {
		if f := table.Find(pc); f != nil {
			t.Errorf("%#x: %+v", pc, f)
		}
	}
}

// TestSPDelta: at its entry a function has not moved the stack pointer, and
// those of the program's first and last frames are marked.
func TestSPDelta(t *testing.T) {
	table := open(t)
	f := table.Find(uint64(reflect.ValueOf(own).Pointer()))
	if d, ok := f.SPDelta(f.Entry); !ok || d != 0 {
		t.Errorf("at the entry %d, %v", d, ok)
	}
	most := int64(0)
	for pc := f.Entry; pc < f.End; pc++ {
		d, ok := f.SPDelta(pc)
		if !ok && f.End-pc > 32 { // functions begin at multiples of 32
			t.Fatalf("nothing is said of %#x", pc)
		}
		most = max(most, d)
	}
	if most < 64 || most%8 != 0 {
		t.Errorf("the frame has %d bytes", most)
	}
	pcs := make([]uintptr, 100)
	pcs = pcs[:runtime.Callers(0, pcs)]
	last := table.Find(uint64(pcs[len(pcs)-1]))
	if last == nil || last.Flags&TopFrame == 0 || last.Name != "runtime.goexit" {
		t.Errorf("the outermost function is %+v", last)
	}
}

// TestStepsBounded: a table finds nothing more when what may be spent is.
func TestStepsBounded(t *testing.T) {
	table := open(t)
	pc := uint64(reflect.ValueOf(own).Pointer())
	f := table.Find(pc)
	before := *table.left
	if _, ok := f.SPDelta(pc); !ok || *table.left >= before {
		t.Fatalf("%d steps are left of %d", *table.left, before)
	}
	*table.left = 0
	if d, ok := f.SPDelta(pc); ok {
		t.Errorf("a delta of %d without a step", d)
	}
}

func TestFormat(t *testing.T) {
	b, text := own(t)
	for name, damage := range map[string]func(b []byte) []byte{
		"empty":        func([]byte) []byte { return nil },
		"cut off":      func(b []byte) []byte { return b[:40] },
		"other magic":  func(b []byte) []byte { b[0] = 0; return b },
		"pointer size": func(b []byte) []byte { b[7] = 3; return b },
		"functions":    func(b []byte) []byte { b[14] = 0x7f; return b },
		"offset":       func(b []byte) []byte { b[8+7*8+6] = 0x7f; return b },
	} {
		d := damage(bytes.Clone(b[:4096]))
		if _, err := New(bytes.NewReader(d), int64(len(d)), func() uint64 { return text }, 0, new(steps)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// FuzzTable looks functions up in a damaged table.
func FuzzTable(f *testing.F) {
	b, text := own(f)
	// The offsets lead beyond what is left; the functions' order is moved near.
	head := bytes.Clone(b[:min(len(b), 64<<10)])
	for i := range 5 {
		for k := range 8 {
			head[8+(3+i)*8+k] = 0
		}
		head[8+(3+i)*8+1] = byte(16 * (i + 1))
	}
	head[8], head[9], head[10] = 100, 0, 0
	f.Add(head, text)
	f.Fuzz(func(t *testing.T, b []byte, pc uint64) {
		table, err := New(bytes.NewReader(b), int64(len(b)), func() uint64 { return text }, 0, new(steps))
		if (table == nil) != (err != nil) {
			t.Fatalf("%v, %v", table, err)
		}
		if err != nil {
			return
		}
		for _, at := range []uint64{pc, text, text + 1, text + 0x1000} {
			if f := table.Find(at); f != nil {
				f.SPDelta(at)
				f.Line(at)
			}
		}
	})
}
