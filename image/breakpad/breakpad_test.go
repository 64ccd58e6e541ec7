package breakpad

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

const sample = `MODULE Linux x86_64 BDBECFA91D47CFCAC7BFBE1EE014FC6C0 my app
INFO CODE_ID A9CFBEBD471DCACFC7BFBE1EE014FC6CC04D31B4
FILE 0 /src/a b.c
FILE 7 /src/b.h
INLINE_ORIGIN 0 middle
INLINE_ORIGIN 1 v::inner(int)
FUNC 2000 40 0 last
FUNC 1000 40 0 v::outer(int, char)
INLINE 0 11 0 0 1010 20
INLINE 1 22 7 1 1018 4 1020 8
1000 10 10 0
1010 8 21 7
1018 4 33 7
101c 14 22 7
FUNC m 1040 10 0 old
INLINE 0 5 1 1044 4
1040 10 9 0
PUBLIC 900 0 before
PUBLIC m 1100 0 stub
PUBLIC 1100 0 other
STACK CFI INIT 1000 40 .cfa: $rsp 8 + .ra: .cfa -8 + ^
STACK CFI 1001 .cfa: $rsp 16 + $rbp: .cfa -16 + ^
STACK CFI 1030 .cfa: $rsp 8 +
STACK WIN 4 1000 40 1 0 0 0 0 0 0 1
STACK CFI INIT 1040 10 .cfa: $rsp 24 + .ra: .cfa -8 + ^
`

func reader(t testing.TB, text string) *File {
	t.Helper()
	f, err := NewReader(strings.NewReader(text), int64(len(text)), NewShared())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestLookup(t *testing.T) {
	f := reader(t, sample)
	if f.OS != "Linux" || f.Machine != "x86_64" || f.ID != "BDBECFA91D47CFCAC7BFBE1EE014FC6C0" || f.Name != "my app" {
		t.Errorf("%q %q %q %q", f.OS, f.Machine, f.ID, f.Name)
	}
	const a, b, outer = "/src/a b.c", "/src/b.h", "v::outer(int, char)"
	for _, c := range []struct {
		addr uint64
		want []Call
	}{
		{0x1000, []Call{{outer, 0x1000, a, 10, false}}},
		{0x1010, []Call{{"middle", 0x1000, b, 21, true}, {outer, 0x1000, a, 11, false}}},
		{0x1018, []Call{{"v::inner(int)", 0x1000, b, 33, true}, {"middle", 0x1000, b, 22, true}, {outer, 0x1000, a, 11, false}}},
		{0x103f, []Call{{outer, 0x1000, "", 0, false}}},
		{0x1044, []Call{{"v::inner(int)", 0x1040, a, 9, true}, {"old", 0x1040, a, 5, false}}},
		{0x1050, nil},
		{0x10ff, nil},
		{0x1108, []Call{{"stub", 0x1100, "", 0, false}}},
		{0x910, []Call{{"before", 0x900, "", 0, false}}},
		{0x800, nil},
		{0x2010, []Call{{"last", 0x2000, "", 0, false}}},
	} {
		if got := f.Lookup(c.addr); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%#x:\n got %+v\nwant %+v", c.addr, got, c.want)
		}
	}
}

func TestRules(t *testing.T) {
	f := reader(t, sample)
	for addr, want := range map[uint64]string{
		0xfff:  "[]",
		0x1000: "[{.cfa [$rsp 8 +]} {.ra [.cfa -8 + ^]}]",
		0x1010: "[{.cfa [$rsp 16 +]} {.ra [.cfa -8 + ^]} {$rbp [.cfa -16 + ^]}]",
		0x103f: "[{.cfa [$rsp 8 +]} {.ra [.cfa -8 + ^]} {$rbp [.cfa -16 + ^]}]",
		0x1040: "[{.cfa [$rsp 24 +]} {.ra [.cfa -8 + ^]}]",
		0x1050: "[]",
	} {
		if got := fmt.Sprint(f.Rules(addr)); got != want {
			t.Errorf("%#x: %s, want %s", addr, got, want)
		}
	}
}

func TestNoSymbols(t *testing.T) {
	for _, text := range []string{"", "x", "MODULE Linux\n", strings.Repeat("M", 2*maxLine) + sample} {
		if f, err := NewReader(strings.NewReader(text), int64(len(text)), NewShared()); !errors.Is(err, ErrFormat) {
			t.Errorf("%.20q: %+v, %v", text, f, err)
		}
	}
}

// TestRecordsBounded: of more records than may be remembered, the first are.
func TestRecordsBounded(t *testing.T) {
	shared := NewShared()
	shared.records = 5
	f, err := NewReader(strings.NewReader(sample), int64(len(sample)), shared)
	if err != nil || !f.Cut || shared.records != 0 || f.Lookup(0x2010) == nil || f.Lookup(0x1000) != nil {
		t.Errorf("%+v, %v, %d left", f, err, shared.records)
	}
}

// FuzzReader looks addresses up in files of any content.
func FuzzReader(f *testing.F) {
	f.Add(sample, uint64(0x1018))
	f.Add(strings.ReplaceAll(sample, "\n", "\r\n"), uint64(0x1044))
	f.Add("MODULE a b c d\nSTACK CFI INIT 0 ffffffffffffffff a: b: c:\nSTACK CFI 0 a: .cfa\nFUNC 0 ffffffffffffffff 0 x\nINLINE 0 0 0 0 0 ffffffffffffffff\n", uint64(0))
	f.Fuzz(func(t *testing.T, text string, addr uint64) {
		shared := NewShared()
		r, err := NewReader(strings.NewReader(text), int64(len(text)), shared)
		if (r == nil) != (err != nil) || shared.records < 0 {
			t.Fatalf("%v, %v, %d left", r, err, shared.records)
		}
		if err != nil {
			return
		}
		for _, at := range []uint64{addr, 0x1000, 0x1018, 0x1044, 0x1100, 0, ^uint64(0)} {
			calls := r.Lookup(at)
			if len(calls) > maxDepth+1 {
				t.Errorf("%d calls", len(calls))
			}
			for i, c := range calls {
				if c.Line < 0 || c.Entry > at || c.Inlined != (i < len(calls)-1) {
					t.Errorf("%#x: %+v", at, c)
				}
			}
			if rules := r.Rules(at); len(rules) > maxRules {
				t.Errorf("%d rules", len(rules))
			}
		}
		if shared.kept > maxKept && len(shared.bodies) > 1 {
			t.Errorf("%d lines are kept of %d functions", shared.kept, len(shared.bodies))
		}
	})
}
