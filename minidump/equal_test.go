package minidump

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"procdump/snapshot"
)

// equalProcess compares all that a dump keeps of a process: everything but its
// memory, what only smaps knows of its regions, and where the linker's own
// structures lie.
func equalProcess(t *testing.T, got, want *snapshot.Process) {
	t.Helper()
	g, w := normal(*got), normal(*want)
	gv, wv := reflect.ValueOf(g), reflect.ValueOf(w)
	for i := range gv.NumField() {
		if a, b := gv.Field(i).Interface(), wv.Field(i).Interface(); !reflect.DeepEqual(a, b) {
			t.Errorf("%s:\n got %+v\nwant %+v", gv.Type().Field(i).Name, a, b)
		}
	}
}

func normal(p snapshot.Process) snapshot.Process {
	p.Memory = nil
	p.StartTime, p.Info.Time, p.System.BootTime = p.StartTime.UTC(), p.Info.Time.Round(0).UTC(), p.System.BootTime.UTC()
	if p.Info.Version == 0 {
		p.Info.Version = snapshot.InfoVersion
	}
	p.Threads = slices.Clone(p.Threads)
	for i := range p.Threads {
		if t := &p.Threads[i]; !t.StartTime.IsZero() {
			t.StartTime = t.StartTime.UTC()
		} else {
			t.StartTime = time.Time{}
		}
	}
	p.Regions = slices.Clone(p.Regions)
	for i := range p.Regions {
		r := &p.Regions[i]
		r.Flags, r.Resident, r.Private, r.Swapped = 0, 0, 0, 0
	}
	p.Modules = slices.Clone(p.Modules)
	for i := range p.Modules {
		m := &p.Modules[i]
		m.ID.ModTime = m.ID.ModTime.UTC()
		m.Bias, m.Dynamic = 0, 0
	}
	if p.Linker != nil {
		k := *p.Linker
		k.Ranges = nil
		p.Linker = &k
	}
	return p
}
