package e2e

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// frame is one physical frame: calls that the compiler inlined have none.
type frame struct {
	pc     uint64
	name   string // as the judge has it, normalised; "??" if it knows none
	module string // path of the image, if the judge says it
	sure   bool   // found by call frame information, not guessed
}

// stacks are the frames of each thread, innermost first, by TID.
type stacks map[int][]frame

// unknown is the name of a function without one.
const unknown = "??"

var (
	versionSuffix = regexp.MustCompile(`@@?[A-Z][A-Za-z_0-9.]*$`)
	cloneSuffix   = regexp.MustCompile(`(\.(cold|isra|part|constprop|lto_priv|llvm)(\.\d+)*| \[clone [^\]]*\])+$`)
	literalSuffix = regexp.MustCompile(`\b(\d+)(ul|u|l)\b`)
	lambda        = regexp.MustCompile(`\{lambda\([^()]*\)#\d+\}|<lambda\([^()]*\)>`)
	ofScope       = regexp.MustCompile(`([\w>])\([^()]*\)::`)
	abiTag        = regexp.MustCompile(`\[abi:[^\]]*\]`)
)

// normal brings a function's name to the form in which judges can agree:
// without symbol version, clone suffix, parameters and template literals' suffixes.
func normal(name string) string {
	name = strings.TrimSpace(name)
	if name == "" || name == "<unknown>" || strings.HasPrefix(name, "___lldb_unnamed_symbol") {
		return unknown
	}
	name = versionSuffix.ReplaceAllString(name, "")
	name = cloneSuffix.ReplaceAllString(name, "")
	name = abiTag.ReplaceAllString(name, "")
	name = strings.TrimSuffix(name, " const")
	if strings.HasSuffix(name, ")") && !strings.HasSuffix(name, "operator()") {
		if i := openingOf(name); i > 0 {
			name = name[:i]
		}
	}
	name = literalSuffix.ReplaceAllString(name, "$1")
	name = strings.ReplaceAll(lambda.ReplaceAllString(name, "<lambda>"), "()::", "::")
	name = ofScope.ReplaceAllString(name, "$1::")
	return strings.ReplaceAll(withoutResult(name), " ", "")
}

// withoutResult cuts the result type that demangled names of function
// templates begin with: what stands before a blank outside all brackets.
func withoutResult(name string) string {
	if strings.Contains(name, "operator ") {
		return name
	}
	depth, cut := 0, 0
	for i, c := range name {
		switch c {
		case '<', '(', '[', '{':
			depth++
		case '>', ')', ']', '}':
			depth--
		case ' ':
			if depth == 0 {
				cut = i + 1
			}
		}
	}
	return name[cut:]
}

// openingOf returns the index of the parenthesis that the last one closes.
func openingOf(s string) int {
	depth := 0
	for i := len(s) - 1; i >= 0; i-- {
		switch s[i] {
		case ')':
			depth++
		case '(':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// rule says what of two judges' stacks must be equal.
type rule struct {
	maxFrames int  // compare no more than this many; 0: all
	sureOnly  bool // compare up to the first frame that the second judge guessed
	atLeast   int  // with sureOnly: this many frames must be sure
	// knownOnly compares up to the first live frame without a name, and what
	// the second judge has of that: below code that a program generates at run
	// time unwinders guess from whatever the stack holds.
	knownOnly bool
}

// compare checks that got, what a judge says of a dump, is want, what a judge
// says of the live process: the same threads, and in each the same frames.
func compare(t testing.TB, who string, want, got stacks, r rule) {
	t.Helper()
	wantTIDs, gotTIDs := slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))
	if len(wantTIDs) == 0 {
		t.Errorf("%s: nothing to compare with", who)
	}
	if !slices.Equal(wantTIDs, gotTIDs) {
		t.Errorf("%s: %d threads %v, want %d %v", who, len(gotTIDs), few(gotTIDs), len(wantTIDs), few(wantTIDs))
	}
	shown := 0
	for _, tid := range wantTIDs {
		w, g := clip(want[tid], got[tid], r)
		if sameFrames(w, g) || got[tid] == nil {
			continue
		}
		if shown++; shown > 2 {
			continue
		}
		t.Errorf("%s: thread %d differs (- live, + dump):\n%s", who, tid, difference(w, g))
	}
	if shown > 2 {
		t.Errorf("%s: %d threads differ", who, shown)
	}
}

func few(tids []int) []int { return tids[:min(len(tids), 20)] }

// clip cuts two stacks to what the rule compares.
func clip(want, got []frame, r rule) ([]frame, []frame) {
	// Breakpad guesses on past a thread's first function.
	if n := len(want); len(got) > n && !got[n].sure {
		got = got[:n]
	}
	if r.sureOnly {
		for i, f := range got {
			if !f.sure && i >= r.atLeast {
				got, want = got[:i], want[:min(i, len(want))]
				break
			}
		}
	}
	if r.knownOnly {
		for i, f := range want {
			if f.name == unknown {
				want = want[:i]
				break
			}
		}
		got = got[:min(len(got), len(want))]
	}
	if n := r.maxFrames; n > 0 {
		want, got = want[:min(n, len(want))], got[:min(n, len(got))]
	}
	return want, got
}

func sameFrames(want, got []frame) bool {
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		if !sameFrame(want[i], got[i]) {
			return false
		}
	}
	return true
}

func sameFrame(want, got frame) bool {
	if want.pc != got.pc {
		return false
	}
	if want.name == unknown || want.name == got.name || aliases(want.module, want.name, got.name) {
		return true
	}
	// gdb has no more to say of a lambda.
	return want.name == "operator()" && strings.HasSuffix(got.name, "<lambda>::operator()")
}

// difference shows two stacks frame by frame, what is equal shortened.
func difference(want, got []frame) string {
	var b strings.Builder
	equal := 0
	for i := range max(len(want), len(got)) {
		if i < len(want) && i < len(got) && sameFrame(want[i], got[i]) {
			if equal++; equal < 4 {
				fmt.Fprintf(&b, "  #%d %#x %s\n", i, want[i].pc, want[i].name)
			}
			continue
		}
		equal = 0
		if b.Len() > 3000 {
			fmt.Fprintf(&b, "  … (%d frames, %d wanted)\n", len(got), len(want))
			break
		}
		if i < len(want) {
			fmt.Fprintf(&b, "- #%d %#x %s\n", i, want[i].pc, want[i].name)
		}
		if i < len(got) {
			fmt.Fprintf(&b, "+ #%d %#x %s\n", i, got[i].pc, got[i].name)
		}
	}
	return b.String()
}

func TestNormalNames(t *testing.T) {
	for in, want := range map[string]string{
		"":                                      unknown,
		"main":                                  "main",
		"__libc_start_main@@GLIBC_2.34":         "__libc_start_main",
		"foo.cold":                              "foo",
		"foo.isra.0.cold":                       "foo",
		"foo [clone .part.1]":                   "foo",
		"victim::Tower<8u>::climb(unsigned)":    "victim::Tower<8>::climb",
		"a::b(int, c<d(*)(e)>) const":           "a::b",
		"operator()":                            "operator()",
		"x::operator()(int) const":              "x::operator()",
		"std::thread::_Invoker<a>::operator()":  "std::thread::_Invoker<a>::operator()",
		"a<main(int, char**)::{lambda()#1}>::b": "a<main::<lambda>>::b",
		"(anonymous namespace)::f(int)":         "(anonymousnamespace)::f",
		"main.(*T).f":                           "main.(*T).f",
	} {
		if got := normal(in); got != want {
			t.Errorf("normal(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestCompareSeesDifferences guards the judges' court itself.
func TestCompareSeesDifferences(t *testing.T) {
	base := stacks{1: {{pc: 1, name: "a"}, {pc: 2, name: "b"}}}
	for name, other := range map[string]stacks{
		"missing thread": {},
		"other pc":       {1: {{pc: 1, name: "a"}, {pc: 3, name: "b"}}},
		"other name":     {1: {{pc: 1, name: "a"}, {pc: 2, name: "c"}}},
		"frame too few":  {1: {{pc: 1, name: "a"}}},
		"frame too many": {1: {{pc: 1, name: "a"}, {pc: 2, name: "b"}, {pc: 4, name: "d", sure: true}}},
		"more threads":   {1: base[1], 2: base[1]},
	} {
		r := &recorder{TB: t}
		compare(r, name, base, other, rule{})
		if !r.failed {
			t.Errorf("%s: no difference seen", name)
		}
	}
	compare(t, "equal", base, base, rule{})
}

// recorder notes an error instead of failing.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Errorf(string, ...any) { r.failed = true }
