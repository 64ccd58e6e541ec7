package layout

import (
	"testing"

	"procdump/kernel/layout/layouttest"
)

// TestLogTail: the end of a ring that wraps, by budget, is the end of the log.
func TestLogTail(t *testing.T) {
	text := "IIIIIIIIwrapped-text\x00\x00\x00\x00" + "IIIIIIIIsecond\x00\x00" + "IIIIIIIIthe last"
	descs := []layouttest.RingDesc{
		{ID: 9, State: 2, Begin: 64 - 8, Next: 64 + 24, Seq: 100, Nanoseconds: 1_500_000_000, Length: 12, Level: 6},
		{ID: 10, State: 1, Begin: 64 + 24, Next: 64 + 40, Seq: 101, Nanoseconds: 2_000_001_000, Length: 6, Level: 3},
		{ID: 11, State: 2, Begin: 64 + 40, Next: 64 + 56, Seq: 102, Nanoseconds: 3_000_000_000, Length: 8, Level: 7},
	}
	k := ringKernel(descs, text, 9, 11).open(t)
	all, err := k.Log()
	if err != nil || len(all) != 3 {
		t.Fatalf("%v, %v", all, err)
	}
	for budget, want := range map[uint64]int{0: 0, 127: 0, 128: 1, 255: 1, 256: 2, 399: 2, 400: 3, 1000: 3} {
		tail, err := k.LogTail(budget)
		if err != nil || len(tail.Records) != want || tail.Logged != 3 {
			t.Fatalf("budget %d: %+v, %v, want %d messages", budget, tail, err, want)
		}
		var kept uint64
		for _, r := range tail.Kept {
			kept += r.Size
		}
		if kept > budget {
			t.Errorf("budget %d: %d bytes", budget, kept)
		}
		for i, r := range tail.Records {
			if r != all[3-want+i] {
				t.Errorf("budget %d: message %+v, want %+v", budget, r, all[3-want+i])
			}
		}
	}
}
