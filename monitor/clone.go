package monitor

import (
	"fmt"

	"procdump/capture"
	"procdump/probe/cgroup"
	"procdump/snapshot"
)

// cloneReserve is what is left free beside a clone, in bytes.
const cloneReserve = 64 << 20

// RoomForClone tells why there is not memory enough for a clone of a process;
// "": there is. Whether vm.overcommit_memory=2 allows it the kernel tells when the
// clone is made: what it counts there is not what is used.
func RoomForClone(p *snapshot.Process) string {
	need := cloneNeeds(p)
	left, where := cgroup.Root("").MemoryLeft(p.PID)
	if where == "" || left >= need {
		return ""
	}
	return fmt.Sprintf("it could take %s of memory, and %s are left (%s)", capture.Bytes(need), capture.Bytes(left), where)
}

// cloneNeeds is how much memory a clone takes in the worst case, in bytes: the
// process writes to every page while the clone is there, and has each of them
// twice, what is in swap too.
func cloneNeeds(p *snapshot.Process) uint64 {
	need := uint64(cloneReserve)
	for i := range p.Regions {
		g := &p.Regions[i]
		if g.Perm&snapshot.Shared == 0 && g.Flags&snapshot.HugeTLB == 0 {
			n := g.Private + g.Swapped
			need += n + n/256 // and the tables of its pages: 8 bytes for each, twice
		}
	}
	return need
}
