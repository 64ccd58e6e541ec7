package elfcore

import (
	"bytes"
	"testing"

	"procdump/arch"
	"procdump/snapshot"
)

// TestTestdata reads cores of other tools, checks what they say, writes them
// again and reads that.
func TestTestdata(t *testing.T) {
	for name, b := range testCores(t) {
		t.Run(name, func(t *testing.T) {
			p := process(t, b)
			crashed := name == "kernel-amd64.core.gz" || name == "kernel-i386.core.gz"
			args := []string{"./tiny"}
			copyAt, pc := uint64(0x403000), uint64(0x401035)
			if p.Machine() == arch.I386 {
				copyAt, pc = 0x804b000, 0x8049033
			}
			if crashed {
				args, pc = append(args, "crash"), pc&^0xff|map[arch.Machine]uint64{arch.AMD64: 0x2a, arch.I386: 0x29}[p.Machine()]
			}
			diff(t, "facts", []any{p.Name, p.Exe, p.Args, len(p.Threads), p.Threads[0].TID == p.PID, p.Threads[0].Registers.PC(), p.System.PageSize},
				[]any{"tiny", "/tmp/tiny/tiny", args, 1, true, pc, 4096})
			mark := []byte("a mark to look for\x00")
			got := make([]byte, len(mark))
			if _, err := p.Memory.ReadMemory(got, copyAt); err != nil || !bytes.Equal(got, mark) {
				t.Errorf("memory %q: %v", got, err)
			}
			if e := p.Exception; (e != nil) != crashed || crashed && (e.Signal != 11 || e.Addr != 32) {
				t.Errorf("exception %+v", e)
			}
			if len(p.Modules) != 2 || p.Modules[0].Path != p.Exe || p.Modules[1].Path != "linux-gate.so" || p.Modules[1].SOName == "" ||
				p.Modules[0].Bias != 0 || len(p.Modules[0].BuildID) != 20 {
				t.Errorf("modules %+v", p.Modules)
			}
			if i := p.FindRegion(pc); i < 0 || p.Regions[i].Perm&snapshot.Execute == 0 || p.Regions[i].Path != p.Exe {
				t.Errorf("region %d of pc: %v", i, p.Regions)
			}
			if i := p.FindRegion(p.Threads[0].Registers.SP()); p.Regions[i].Path != "[stack]" || p.Threads[0].Stack.End() != p.Regions[i].End() {
				t.Errorf("stack %v in %v", p.Threads[0].Stack, p.Regions[i])
			}
			var again bytes.Buffer
			if err := Write(&again, p, heldRanges(t, p)); err != nil {
				t.Fatal(err)
			}
			sameAgain(t, process(t, again.Bytes()), p)
		})
	}
}

// heldRanges are the ranges that a core holds.
func heldRanges(t *testing.T, p *snapshot.Process) []snapshot.Range {
	t.Helper()
	xs, err := p.Memory.Extents(snapshot.Range{Size: ^uint64(0)})
	if err != nil {
		t.Fatal(err)
	}
	var held []snapshot.Range
	for _, x := range xs {
		held = append(held, x.Range)
	}
	return snapshot.MergeRanges(held, 0)
}

// sameAgain checks that again, which was read from a core of p, is p.
func sameAgain(t *testing.T, again, p *snapshot.Process) {
	t.Helper()
	want := *p
	want.Info.Version = snapshot.InfoVersion
	if len(again.Texts) == 0 && len(want.Texts) == 0 {
		want.Texts = again.Texts
	}
	sameProcess(t, again, &want, heldRanges(t, p))
}
