package layout

import "testing"

// TestLogTail: the end of a ring that wraps, by budget, is the end of the log.
func TestLogTail(t *testing.T) {
	text := "IIIIIIIIwrapped-text\x00\x00\x00\x00" + "IIIIIIIIsecond\x00\x00" + "IIIIIIIIthe last"
	descs := []ringDesc{
		{id: 9, state: 2, begin: 64 - 8, next: 64 + 24, info: [4]uint64{100, 1_500_000_000, 12, 6}},
		{id: 10, state: 1, begin: 64 + 24, next: 64 + 40, info: [4]uint64{101, 2_000_001_000, 6, 3}},
		{id: 11, state: 2, begin: 64 + 40, next: 64 + 56, info: [4]uint64{102, 3_000_000_000, 8, 7}},
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
