package unwind

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"procdump/arch"
	"procdump/image"
	"procdump/snapshot"
)

// symbolFile writes one for a program at 0x900000 with a build id of ones.
func symbolFile(t *testing.T, cfi string) string {
	t.Helper()
	dir := t.TempDir()
	text := "MODULE Linux x86_64 010101010101010101010101010101010 app\n" + cfi
	if err := os.WriteFile(filepath.Join(dir, "app.sym"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestSymbolFileRules walks a stack by rules of a symbol file, with every
// operator, to where it ends.
func TestSymbolFileRules(t *testing.T) {
	for _, c := range []struct{ name, cfi, want string }{
		{"plain", "STACK CFI INIT 0 100 .cfa: $rsp 8 + .ra: .cfa -8 + ^\nSTACK CFI 4 .cfa: $rsp 16 +\nSTACK CFI INIT 100 100 .cfa: $rsp 8 + .ra: .undef\n",
			"0x900004 registers; 0x900110 cfi; complete"},
		{"the last has no caller", "FUNC 0 100 0 f\nPUBLIC 100 0 _start\nSTACK CFI INIT 0 200 .cfa: $rsp 16 + .ra: .cfa -8 + ^\n",
			"0x900004 registers; 0x900110 cfi; complete"},
		{"no return address", "FUNC 0 200 0 f\nSTACK CFI INIT 0 200 .cfa: $rsp 16 + .ra: .cfa -8 + ^\n", "0x900004 registers; 0x900110 cfi; " + damaged.text()},
		{"frame pointer", "STACK CFI INIT 0 100 .cfa: $rbp 16 + .ra: .cfa -8 + ^ $rbp: .cfa -16 + ^\nSTACK CFI INIT 100 100 .cfa: $rsp 8 + .ra: .undef\n",
			"0x900004 registers; 0x900110 cfi; complete"},
		{"no rule for the return address", "STACK CFI INIT 0 100 .cfa: $rsp 16 +\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, p := processOf(t, "")
			p.Modules = []snapshot.Module{{Range: snapshot.Range{Addr: 0x900000, Size: 0x1000}, Path: "/gone/app", BuildID: []byte(strings.Repeat("\x01", 20))}}
			p.Memory = memory{testStack: words(7, 0x900110, 5, 6), 0x900000: make([]byte, 0x1000)}
			u.set = image.NewSet(p, image.Options{})
			defer u.set.Close()
			u.set.SymbolsIn([]string{symbolFile(t, c.cfi)})
			th := thread(0x900004, testStack, testStack)
			got := summary(u.Stack(&th, 10))
			if c.want != "" && got != c.want {
				t.Errorf("got %s, want %s; %q", got, c.want, u.set.Warnings())
			}
			if c.name == "no rule for the return address" && strings.Contains(got, "cfi") {
				t.Errorf("got %s", got)
			}
		})
	}
}

// TestPostfix evaluates expressions.
func TestPostfix(t *testing.T) {
	u, p := process(t)
	p.Memory = memory{testStack: words(42)}
	regs := registers{}
	regs.set(7, testStack)
	regs.set(6, 100)
	regs.pc = 0x1234
	cfa := uint64(1000)
	for in, want := range map[string]string{
		"$rsp ^":                  "42",
		".cfa -8 +":               "992",
		".cfa $rbp - 7 + 3 *":     "2721",
		"$rbp 7 /":                "14",
		"$rbp 7 %":                "2",
		"$rbp 16 @":               "96",
		"1 2 .cfa + +":            "1003",
		"$rip":                    fmt.Sprint(0x1234),
		"rbp":                     "100",
		"1 2":                     "none",
		"+":                       "none",
		".cfa +":                  "none",
		"^":                       "none",
		"$xmm0":                   "none",
		"":                        "none",
		"1 0 /":                   "none",
		strings.Repeat("1 ", 100): "none",
	} {
		got := "none"
		if code := machines[arch.AMD64].postfix(strings.Fields(in), true); code != nil {
			if v, ok := u.expression(code, &regs, &cfa); ok {
				got = fmt.Sprint(v)
			}
		}
		if got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
	if code := machines[arch.AMD64].postfix([]string{".cfa"}, false); code != nil {
		t.Error("a canonical frame address that depends on itself")
	}
}
