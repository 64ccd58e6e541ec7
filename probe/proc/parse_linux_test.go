package proc

import (
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const rest = " S 1 70 70 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 7 0 123456 4096 10 18446744073709551615 0 0\n"
	want := stat{state: 'S', flags: 4194560, used: 2 * time.Second, threads: 7, start: 123456}
	for _, name := range []string{"sleep", "a b", "", "my) S 1 (x", ") R 2 3", "((", "\n"} {
		got, err := parseStat([]byte("12 (" + name + ")" + rest))
		if err != nil || got != want {
			t.Errorf("name %q: %+v, %v", name, got, err)
		}
	}
	for _, bad := range []string{"", "12", "12 (x", "12 (x)", "12 (x) S 1 2 3\n"} {
		if s, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, s)
		}
	}
	for _, c := range []struct {
		state   byte
		threads int
		ended   bool
	}{{'S', 1, false}, {'Z', 1, true}, {'Z', 0, true}, {'X', 1, true}, {'Z', 2, false}} {
		if (stat{state: c.state, threads: c.threads}).ended() != c.ended {
			t.Errorf("state %c with %d threads: want ended %v", c.state, c.threads, c.ended)
		}
	}
}

func TestParseStatm(t *testing.T) {
	for _, c := range []struct {
		text            string
		size, anonymous uint64
		ok              bool
	}{
		{"765 416 389 5 0 123 0\n", 765, 27, true},
		{"0 0 0 0 0 0 0\n", 0, 0, true},
		{"765 5 9 5 0 123 0\n", 765, 0, true}, // counters out of step
		{"765 5", 0, 0, false},
		{"", 0, 0, false},
	} {
		size, anonymous, err := parseStatm([]byte(c.text))
		if size != c.size || anonymous != c.anonymous || (err == nil) != c.ok {
			t.Errorf("%q: %d, %d, %v", c.text, size, anonymous, err)
		}
	}
}

func TestParseKB(t *testing.T) {
	const text = "Name:\tVmSwap: 9 kB\nVmSwapX:\t1 kB\nVmSwap:\t     160 kB\nEmpty:\nLast: 7 kB"
	for name, want := range map[string]uint64{"VmSwap": 160 << 10, "Last": 7 << 10} {
		if got, ok := parseKB([]byte(text), name); !ok || got != want {
			t.Errorf("%s: %d, %v", name, got, ok)
		}
	}
	for _, name := range []string{"VmRSS", "Empty", "V"} {
		if got, ok := parseKB([]byte(text), name); ok {
			t.Errorf("%s: %d", name, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("12 (x) S 1 70 70 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 7 0 123456 4096"))
	f.Add([]byte("765 416 389 5 0 123 0\n"))
	f.Add([]byte("VmSwap:\t     160 kB\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseStat(b); err == nil && s.state == 0 {
			t.Errorf("no state in %q", b)
		}
		parseStatm(b)
		parseKB(b, "VmSwap")
	})
}
