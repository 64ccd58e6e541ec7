package trigger

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

func TestFilter(t *testing.T) {
	list := func(s ...string) []string { return s }
	for _, c := range []struct {
		name             string
		include, exclude []string
		yes, no          []string
		showOnly         bool
	}{
		{"none", nil, nil, list("", "x"), nil, false},
		{"contains, in any case", list("Segv"), nil, list("SIGSEGV.SEGV_MAPERR", "segv"), list("SIGBUS", "", "SEG V"), false},
		{"comma list", list("segv,bus"), nil, list("SIGSEGV", "SIGBUS"), list("SIGILL"), false},
		{"repeated", list("segv", "bus, ill "), nil, list("SIGSEGV", "SIGBUS", "SIGILL"), list("SIGFPE"), false},
		{"wildcard", list("SIG*MAPERR"), nil, list("sigsegv.segv_maperr", "sigmaperr"), list("xSIG MAPERR", "SIG MAPERRx"), false},
		{"star", list("*"), nil, list("", "x"), nil, false},
		{"prefix and suffix", list("lib*,*.so"), nil, list("libc", "a.so", "LIB"), list("alib", "a.so.6"), false},
		{"exclude", nil, list("debug"), list("error", ""), list("DEBUG: x"), false},
		{"both", list("error"), list("*timeout*"), list("Error: disk"), list("error: Timeout!", "timeout", "x"), false},
		{"show only", list(""), nil, nil, list("", "x"), true},
		{"show only, blanks", list(" , "), list("x"), nil, list("", "x"), true},
		{"empty items", list("", "a,,b"), list(""), list("a", "B"), list("c", ""), false},
		{"blanks inside", list("access violation"), nil, list("An Access Violation!"), list("accessviolation"), false},
		{"no other wildcards", list("a.c", "x?y", "[ab]"), nil, list("a.c", "x?y", "[AB]"), list("abc", "xay", "a"), false},
		{"other alphabets", list("ÄRGER", "ошибка"), nil, list("ärger", "ОШИБКА", "Kein Ärger"), list("arger"), false},
		{"bytes that are no text", list("a\xffb"), nil, list("xA\xffB"), list("ab"), false},
		{"the last part after the others", list("ab*ba"), nil, list("abba", "ab ba"), list("aba"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := ParseFilter(c.include, c.exclude)
			if f.ShowOnly() != c.showOnly {
				t.Errorf("show only: %v", f.ShowOnly())
			}
			for _, text := range c.yes {
				if !f.Match(text) {
					t.Errorf("%q does not match", text)
				}
			}
			for _, text := range c.no {
				if f.Match(text) {
					t.Errorf("%q matches", text)
				}
			}
		})
	}
	var zero Filter
	if !zero.Match("x") || zero.ShowOnly() {
		t.Error("the zero filter lets nothing through")
	}
	f := ParseFilter([]string{"B*,a"}, []string{"c"})
	if len(f.Include) != 2 || f.Include[0].String() != "B*" || f.Include[1].String() != "a" || f.Exclude[0].String() != "c" {
		t.Errorf("%v", f)
	}
}

// TestPatternRandom compares with a regular expression.
func TestPatternRandom(t *testing.T) {
	const letters = "aAbBkK\u212aſsSß*. "
	alphabet := []rune(letters)
	random := rand.New(rand.NewPCG(1, 2))
	text := func(n int) string {
		var b strings.Builder
		for range random.IntN(n) {
			b.WriteRune(alphabet[random.IntN(len(alphabet))])
		}
		return b.String()
	}
	matches := 0
	for range 100000 {
		pattern, subject := text(6), text(12)
		quoted := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `.*`)
		if !strings.Contains(pattern, "*") {
			quoted = ".*" + quoted + ".*"
		}
		want := regexp.MustCompile(`(?is)^` + quoted + `$`).MatchString(subject)
		if got := ParsePattern(pattern).Match(subject); got != want {
			t.Fatalf("pattern %q, text %q: %v, want %v", pattern, subject, got, want)
		}
		if want {
			matches++
		}
	}
	if matches < 1000 {
		t.Errorf("%d matches: the texts test little", matches)
	}
	if (Pattern{}).Match("x") || !(Pattern{}).Match("") {
		t.Error("the zero pattern matches more than nothing")
	}
}

func BenchmarkFilter(b *testing.B) {
	f := ParseFilter([]string{"error,fatal*", "panic"}, []string{"debug"})
	line := strings.Repeat("a line of a log file, ", 5)
	b.ReportAllocs()
	for b.Loop() {
		if f.Match(line) {
			b.Fatal("matches")
		}
	}
}
