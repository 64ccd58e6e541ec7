package monitor

import (
	"testing"

	"procdump/snapshot"
)

// TestCloneNeeds counts what is private, in RAM and in swap.
func TestCloneNeeds(t *testing.T) {
	const mib = 1 << 20
	p := &snapshot.Process{Regions: []snapshot.Region{
		{Private: 256 * mib, Swapped: 512 * mib},
		{Private: mib, Swapped: mib, Perm: snapshot.Shared},
		{Private: mib, Flags: snapshot.HugeTLB},
	}}
	if got, want := cloneNeeds(p), uint64(cloneReserve+(768+3)*mib); got != want {
		t.Errorf("%d bytes, want %d", got, want)
	}
}
