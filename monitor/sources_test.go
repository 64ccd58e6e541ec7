package monitor

import "testing"

func TestLostText(t *testing.T) {
	for _, c := range []struct {
		lost, missed uint64
		want         string
	}{
		{12, 0, "12 writes are not shown: more came than is read of a process"},
		{12, 5, "12 writes are not shown: more came than is read of a process; " +
			"5 of them, to whatever file, were not looked at, so as not to slow it down"},
	} {
		if got := lostText(c.lost, c.missed); got != c.want {
			t.Errorf("%d, %d: %q, want %q", c.lost, c.missed, got, c.want)
		}
	}
}
