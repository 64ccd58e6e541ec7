package breakpad

import (
	"fmt"
	"strings"
	"testing"
)

// hostile is a symbol file whose functions, of 4 KiB each, have many inlined
// ranges and long names.
func hostile(functions, ranges int, name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "MODULE Linux x86_64 0 app\nINLINE_ORIGIN 0 %s\nFILE 0 %[1]s\n", name)
	for i := range functions {
		fmt.Fprintf(&b, "FUNC %x 1000 0 f\n", i<<12)
		line := "INLINE 0 1 0 0" + strings.Repeat(" 0 ffffffff", 1000) + "\n"
		for range ranges / 1000 {
			b.WriteString(line)
		}
	}
	return b.String()
}

// TestKept: the functions of all files that are kept have so many lines and ranges.
func TestKept(t *testing.T) {
	text, shared := hostile(5, 200000, "inlined"), NewShared()
	var files []*File
	for range 2 {
		f, err := NewReader(strings.NewReader(text), int64(len(text)), shared)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	for i := range uint64(5) {
		for _, f := range files {
			if all := f.Lookup(i << 12); len(all) != 2 || all[0].Name != "inlined" || all[1].Name != "f" {
				t.Fatalf("%+v", all)
			}
			if shared.kept > maxKept {
				t.Fatalf("%d lines and ranges are kept", shared.kept)
			}
		}
	}
}

// TestWork: what is read and done for lookups counts, whoever asks for it, and has
// an end.
func TestWork(t *testing.T) {
	const ranges = 20000
	for _, c := range []struct {
		name, text string
		ask        func(f *File, i uint64) bool
		least      int64 // what one question costs
	}{
		{"ranges", hostile(1, ranges, "x"), func(f *File, i uint64) bool { return f.Lookup(i) != nil }, ranges / 4},
		{"names", hostile(1, 1000, strings.Repeat("n", maxLine/2)), func(f *File, i uint64) bool { return f.Lookup(i) != nil }, maxLine},
		// A line that is too long is read, although it says nothing.
		{"long lines", "MODULE Linux x86_64 0 app\nFUNC 0 1000 0 f\n" + strings.Repeat("x", 4*maxLine) + "\n" + "FUNC 1000 1000 0 g\n",
			func(f *File, i uint64) bool { clear(f.shared.bodies); return f.Lookup(i) != nil }, 4 * maxLine},
		{"rules", "MODULE Linux x86_64 0 app\nSTACK CFI INIT 0 1000 .cfa: 1 " + strings.Repeat("a: ", 20000) + "\n" + strings.Repeat("STACK CFI 0 a: b: c: d:\n", 1000),
			func(f *File, i uint64) bool { return f.Rules(i) != nil }, 60000},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := reader(t, c.text)
			const questions = 20
			f.shared.work = 3 * int64(len(c.text))
			f.shared.work += questions * c.least
			answers := 0
			for i := range uint64(1000) {
				before := f.shared.work
				if !c.ask(f, i) {
					break
				}
				if answers++; before-f.shared.work < c.least {
					t.Fatalf("question %d cost %d, less than %d", i, before-f.shared.work, c.least)
				}
			}
			if answers == 0 || answers == 1000 || !f.shared.Exhausted() {
				t.Errorf("%d answers, %d of the work left", answers, f.shared.work)
			}
		})
	}
}

// TestPasses: the files together are bounded, too.
func TestPasses(t *testing.T) {
	shared := NewShared()
	shared.passes = int64(len(sample))
	if _, err := NewReader(strings.NewReader(sample), int64(len(sample)), shared); err != nil {
		t.Fatal(err)
	}
	if f, err := NewReader(strings.NewReader(sample), int64(len(sample)), shared); f != nil || err != errWork {
		t.Errorf("%v, %v", f, err)
	}
}
