package windump

import (
	"bytes"
	"errors"
	"runtime"
	"testing"

	"procdump/kdump"
)

// maxFuzzAlloc is what reading any file of fuzzing's size may allocate in all.
const maxFuzzAlloc = 64 << 20

// FuzzReader reads damaged dumps through every accessor.
func FuzzReader(f *testing.F) {
	all := allMachines(f)
	for _, m := range all {
		m.runs = [][2]uint64{{m.root, m.next - m.root}} // small full dumps
	}
	for i, d := range dumps(all) {
		f.Add(d.b)
		f.Add(d.b[:len(d.b)/2])
		f.Add(d.b[:len(d.b)-len(d.b)/9])
		flipped := bytes.Clone(d.b)
		for k := 8 + i; k < len(flipped); k += 997 {
			flipped[k] ^= 1 << (k % 8)
		}
		f.Add(flipped)
	}
	f.Add([]byte("PAGEDU64"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		checkReader(t, b)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > maxFuzzAlloc && len(b) < 1<<20 {
			t.Errorf("%d bytes of input made the reader allocate %d", len(b), n)
		}
	})
}

func checkReader(t *testing.T, b []byte) {
	r, err := NewReader(bytes.NewReader(b), int64(len(b)))
	var format *kdump.FormatError
	if (r == nil) == (err == nil) {
		t.Fatalf("reader %v with error %v", r, err)
	}
	if err != nil {
		if !errors.Is(err, kdump.ErrFormat) && !errors.As(err, &format) {
			t.Fatalf("error of no known kind: %v", err)
		}
		return
	}
	known := func(err error) {
		var fault *PageFault
		for _, e := range []error{ErrNotThere, ErrNotMapped, ErrEncoded, ErrEncrypted, kdump.ErrAbsent, kdump.ErrExcluded, kdump.ErrDamaged} {
			if errors.Is(err, e) {
				return
			}
		}
		if err != nil && !errors.As(err, &format) && !errors.As(err, &fault) {
			t.Errorf("error of no known kind: %v", err)
		}
	}
	_ = r.BugCheck().String()
	regs, err := r.Context()
	known(err)
	_ = regs.PC()
	for _, get := range []func() error{
		func() error { _, err := r.Exception(); return err },
		func() error { _, err := r.BugCheckContext(); return err },
		func() error { _, err := r.BugCheckException(); return err },
		func() error { _, err := r.DebuggerData(); return err },
		func() error { _, err := r.Modules(); return err },
		func() error { _, err := r.UnloadedModules(); return err },
		func() error { _, err := r.Processors(); return err },
		func() error { _, err := r.CrashedProcessor(); return err },
		func() error { _, err := r.CrashedProcess(); return err },
		func() error { _, err := r.Processes(); return err },
		func() error { _, err := r.Build(); return err },
		func() error { _, err := r.ReadVirt(make([]byte, 100), regs.SP()); return err },
	} {
		known(get())
	}
	if tr, err := r.Triage(); err == nil {
		_, err = tr.CallStack()
		known(err)
		_, err = tr.Thread()
		known(err)
		_, err = tr.BrokenDriver()
		known(err)
		for i, bl := range tr.Blocks() {
			if i < 100 {
				_, err := tr.ReadVirt(make([]byte, 20), bl.Addr)
				known(err)
			}
		}
	}
	d, err := r.Dump()
	known(err)
	if err != nil {
		return
	}
	n := 0
	var last uint64
	for run := range d.Present() {
		if run.PFN < last || run.Count == 0 {
			t.Fatalf("run %+v after page %#x", run, last)
		}
		last = run.PFN + run.Count
		k, err := r.ReadPhys(make([]byte, 64), run.PFN<<12)
		if (k == 64) != (err == nil) {
			t.Fatalf("%d bytes with error %v", k, err)
		}
		known(err)
		if n++; n > 1000 {
			break
		}
	}
}
