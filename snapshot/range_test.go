package snapshot

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// cells marks the addresses that ranges cover; only for small addresses.
func cells(rs []Range) map[uint64]bool {
	m := map[uint64]bool{}
	for _, r := range rs {
		for a := r.Addr; a < r.End(); a++ {
			m[a] = true
		}
	}
	return m
}

func TestMergeRanges(t *testing.T) {
	for _, tt := range []struct {
		in   []Range
		gap  uint64
		want []Range
	}{
		{nil, 0, nil},
		{[]Range{{5, 0}}, 0, nil},
		{[]Range{{8, 2}, {1, 3}}, 0, []Range{{1, 3}, {8, 2}}},
		{[]Range{{1, 3}, {4, 2}}, 0, []Range{{1, 5}}},
		{[]Range{{1, 3}, {5, 2}}, 0, []Range{{1, 3}, {5, 2}}},
		{[]Range{{1, 3}, {5, 2}}, 1, []Range{{1, 6}}},
		{[]Range{{1, 9}, {3, 2}}, 0, []Range{{1, 9}}},
		{[]Range{{1 << 63, 1 << 62}, {0, 4096}}, 0, []Range{{0, 4096}, {1 << 63, 1 << 62}}},
	} {
		if got := MergeRanges(slices.Clone(tt.in), tt.gap); !slices.Equal(got, tt.want) {
			t.Errorf("%v with gap %d: %v, want %v", tt.in, tt.gap, got, tt.want)
		}
	}
}

// TestMergeRangesModel compares with a set of addresses.
func TestMergeRangesModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var in []Range
		for range rnd.IntN(12) {
			in = append(in, Range{rnd.Uint64N(200), rnd.Uint64N(20)})
		}
		gap := rnd.Uint64N(4)
		want := cells(in)
		for a := uint64(0); a < 220; a++ { // fill the gaps that are short enough
			for n := uint64(1); n <= gap; n++ {
				if want[a] && !want[a+1] && want[a+1+n] {
					for k := range n {
						want[a+1+k] = true
					}
				}
			}
		}
		out := MergeRanges(slices.Clone(in), gap)
		if got := cells(out); !reflect.DeepEqual(got, want) {
			t.Fatalf("%v with gap %d: %v covers other addresses", in, gap, out)
		}
		for i := 1; i < len(out); i++ {
			if out[i].Addr <= out[i-1].End()+gap {
				t.Fatalf("%v with gap %d: %v and %v are not joined", in, gap, out[i-1], out[i])
			}
		}
	}
}

func TestRange(t *testing.T) {
	top := Range{1<<64 - 4096, 4095}
	for _, tt := range []struct{ a, b, want Range }{
		{Range{10, 10}, Range{15, 10}, Range{15, 5}},
		{Range{10, 10}, Range{20, 10}, Range{20, 0}},
		{Range{10, 10}, Range{0, 100}, Range{10, 10}},
		{top, Range{1<<64 - 2, 1}, Range{1<<64 - 2, 1}},
	} {
		if got := tt.a.Intersect(tt.b); got != tt.want {
			t.Errorf("%v ∩ %v = %v, want %v", tt.a, tt.b, got, tt.want)
		}
	}
	r := Range{0x1000, 0x1000}
	for addr, want := range map[uint64]bool{0: false, 0xfff: false, 0x1000: true, 0x1fff: true, 0x2000: false, 1<<64 - 1: false} {
		if r.Contains(addr) != want {
			t.Errorf("%v contains %#x: %v", r, addr, !want)
		}
	}
	if !top.Contains(1<<64-2) || top.Contains(0) {
		t.Error("the top of the address space wraps")
	}
}

func TestRangeJSON(t *testing.T) {
	r := Range{0xfedcba9876543210, 1<<53 + 1}
	b, err := json.Marshal(LeftOut{r, "x", "y"})
	if want := `{"range":{"addr":"0xfedcba9876543210","size":9007199254740993},"what":"x","why":"y"}`; err != nil || string(b) != want {
		t.Fatalf("%s, %v; want %s", b, err, want)
	}
	var back LeftOut
	if err := json.Unmarshal(b, &back); err != nil || back.Range != r {
		t.Errorf("read back %v, %v; want %v", back.Range, err, r)
	}
	for _, bad := range []string{`{"addr":"zz","size":1}`, `{"addr":"0x10000000000000000","size":1}`, `{"addr":1}`, `[]`, `{"size":-1,"addr":"0x1"}`} {
		if err := json.Unmarshal([]byte(bad), new(Range)); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

func TestFindRegion(t *testing.T) {
	p := &Process{Regions: []Region{{Range: Range{0x1000, 0x1000}}, {Range: Range{0x2000, 0x1000}}, {Range: Range{0x8000, 0x1000}}}}
	for addr, want := range map[uint64]int{0: -1, 0xfff: -1, 0x1000: 0, 0x1fff: 0, 0x2000: 1, 0x3000: -1, 0x8fff: 2, 0x9000: -1, 1<<64 - 1: -1} {
		if got := p.FindRegion(addr); got != want {
			t.Errorf("%#x: region %d, want %d", addr, got, want)
		}
	}
}

func TestRegionAnonymous(t *testing.T) {
	for _, tt := range []struct {
		g    Region
		want bool
	}{
		{Region{}, true},
		{Region{Path: "[heap]"}, true},
		{Region{Path: "[anon:x]"}, true},
		{Region{Perm: Shared}, false},
		{Region{Path: "/bin/x", Inode: 1}, false},
		{Region{Path: "/bin/x"}, false},
		{Region{Path: "[anon_shmem:x]", Inode: 5, Dev: 1, Perm: Shared}, false},
	} {
		if tt.g.Anonymous() != tt.want {
			t.Errorf("%+v: anonymous %v", tt.g, !tt.want)
		}
	}
	if s := (Read | Execute | Shared).String(); s != "r-xs" {
		t.Errorf("protection %q", s)
	}
}
