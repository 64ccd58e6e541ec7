package dumpkind

import (
	"slices"
	"testing"
)

func TestKindOrderAndNames(t *testing.T) {
	kinds := []Kind{Full, Custom, Mini, MiniPlus, Triage}
	slices.Sort(kinds)
	var got []string
	for _, k := range kinds {
		got = append(got, k.String())
		if !k.Valid() {
			t.Errorf("%v: not valid", k)
		}
	}
	if want := []string{"triage", "mini", "custom", "miniplus", "full"}; !slices.Equal(got, want) {
		t.Errorf("kinds smallest first: %q, want %q", got, want)
	}
	for _, k := range []Kind{0, Full + 1} {
		if k.Valid() {
			t.Errorf("%v: valid", k)
		}
	}
	if s := Kind(9).String(); s != "Kind(9)" {
		t.Errorf("unknown kind prints as %q", s)
	}
}
