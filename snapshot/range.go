package snapshot

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// Range is a piece of the target's address space: [Addr, Addr+Size).
// Size is in bytes. In JSON it is {"addr":"0x…","size":N}.
type Range struct {
	Addr uint64
	Size uint64
}

// End is the first address after the range.
func (r Range) End() uint64 { return r.Addr + r.Size }

// Contains tells whether addr lies in the range.
func (r Range) Contains(addr uint64) bool { return addr-r.Addr < r.Size }

// Intersect returns the common part of two ranges (Size 0 if there is none).
func (r Range) Intersect(o Range) Range {
	lo, hi := max(r.Addr, o.Addr), min(r.End(), o.End())
	if hi <= lo {
		return Range{lo, 0}
	}
	return Range{lo, hi - lo}
}

func (r Range) String() string { return fmt.Sprintf("%#x-%#x", r.Addr, r.End()) }

type jsonRange struct {
	Addr string `json:"addr"`
	Size uint64 `json:"size"`
}

// MarshalJSON writes the address in hexadecimal: JSON numbers lose bits above 2^53.
func (r Range) MarshalJSON() ([]byte, error) {
	return json.Marshal(jsonRange{fmt.Sprintf("%#x", r.Addr), r.Size})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (r *Range) UnmarshalJSON(b []byte) error {
	var j jsonRange
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	addr, err := strconv.ParseUint(j.Addr, 0, 64)
	if err != nil {
		return fmt.Errorf("read range address: %w", err)
	}
	*r = Range{addr, j.Size}
	return nil
}

// MergeRanges sorts ranges and joins those that overlap or whose gap is at
// most gap bytes. It changes and returns its argument's array.
func MergeRanges(rs []Range, gap uint64) []Range {
	slices.SortFunc(rs, func(a, b Range) int {
		switch {
		case a.Addr < b.Addr:
			return -1
		case a.Addr > b.Addr:
			return 1
		}
		return 0
	})
	out := rs[:0]
	for _, r := range rs {
		if r.Size == 0 {
			continue
		}
		if n := len(out); n > 0 && (r.Addr <= out[n-1].End() || r.Addr-out[n-1].End() <= gap) {
			if r.End() > out[n-1].End() {
				out[n-1].Size = r.End() - out[n-1].Addr
			}
			continue
		}
		out = append(out, r)
	}
	return out
}

// Placement says where the bytes of a range lie in a dump file.
type Placement struct {
	Range
	Off int64 // file offset in bytes
}
