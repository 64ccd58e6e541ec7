package capture

import (
	"slices"
	"testing"

	"procdump/dumpkind"
	"procdump/snapshot"
)

// partlySeen is memory of which some is not known.
type partlySeen struct {
	*fakeMemory
	unknown []snapshot.LeftOut
}

func (m partlySeen) Unknown() []snapshot.LeftOut { return m.unknown }

// TestRunPartlySeen: a dump says what the source could not look at of the
// memory that the dump was to hold.
func TestRunPartlySeen(t *testing.T) {
	for _, name := range formats {
		src, m := newSource(1 << 20)
		hidden := snapshot.LeftOut{Range: snapshot.Range{Addr: bigRegion, Size: page}, What: "/memfd:x", Why: "cannot be opened"}
		foreign := snapshot.LeftOut{Range: snapshot.Range{Addr: 0x1000, Size: page}, Why: "not asked for"}
		src.p.Memory = partlySeen{m, []snapshot.LeftOut{foreign, hidden}}
		res := run(t, &Job{Outputs: []Output{output(t, t.TempDir(), name, dumpkind.Full, 1)}}, src)
		got := res[0].Process.Info.LeftOut
		if !slices.Contains(got, hidden) || slices.Contains(got, foreign) {
			t.Errorf("%s: left out %+v", name, got)
		}
	}
}
