package e2e

import (
	"bytes"
	"context"
	"testing"

	"procdump/dumpkind"
	"procdump/elfcore"
	"procdump/live/linux"
	"procdump/minidump"
	"procdump/snapshot"
	"procdump/snapshot/snapshottest"
	"procdump/victims"
)

// TestSourcesAgree writes one stopped process as a core and as a minidump,
// reads both back, and holds all three against the suite and each other.
func TestSourcesAgree(t *testing.T) {
	for _, name := range []string{"threads", "threads@i386", "threads@static", "cpp", "goroutines"} {
		t.Run(name, func(t *testing.T) {
			v := victims.Start(t, name)
			target, err := linux.Open(v.PID, linux.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer target.Close()
			s, err := target.Stop(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			defer s.Resume()
			t.Run("live", func(t *testing.T) { snapshottest.Run(t, s.Process) })
			for _, kind := range []dumpkind.Kind{dumpkind.Mini, dumpkind.MiniPlus, dumpkind.Full} {
				sel, err := dumpkind.Select(s.Process, dumpkind.Options{Kind: kind})
				if err != nil {
					t.Fatal(err)
				}
				t.Run(kind.String()+"/core", func(t *testing.T) { viaCore(t, s.Process, sel) })
				t.Run(kind.String()+"/minidump", func(t *testing.T) { viaMinidump(t, s.Process, sel) })
			}
		})
	}
}

func viaCore(t *testing.T, live *snapshot.Process, sel *dumpkind.Selection) {
	var file bytes.Buffer
	if err := elfcore.Write(&file, sel.Process, sel.Ranges); err != nil {
		t.Fatal(err)
	}
	r, err := elfcore.NewReader(bytes.NewReader(file.Bytes()), int64(file.Len()))
	if err != nil {
		t.Fatal(err)
	}
	p, problems := r.Process()
	for _, err := range problems {
		t.Errorf("reading our own core: %v", err)
	}
	snapshottest.Run(t, p)
	snapshottest.Same(t, live, p, held(t, sel))
}

func viaMinidump(t *testing.T, live *snapshot.Process, sel *dumpkind.Selection) {
	var file bytes.Buffer
	// The sequential writer stops at what it cannot read unless it is told.
	ranges := held(t, sel)
	if err := minidump.Write(&file, sel.Process, ranges, minidump.Options{Full: !sel.Buffered}); err != nil {
		t.Fatal(err)
	}
	r, err := minidump.NewReader(bytes.NewReader(file.Bytes()), int64(file.Len()))
	if err != nil {
		t.Fatal(err)
	}
	p, problems := r.Process()
	for _, err := range problems {
		t.Errorf("reading our own minidump: %v", err)
	}
	snapshottest.Run(t, p)
	snapshottest.Same(t, live, p, ranges)
}

// held is what a selection really has: its ranges less what cannot be read.
func held(t *testing.T, sel *dumpkind.Selection) []snapshot.Range {
	t.Helper()
	var out []snapshot.Range
	for _, r := range sel.Ranges {
		b := make([]byte, 4096)
		for at := r.Addr; at < r.End(); at += 4096 {
			if _, err := sel.Process.Memory.ReadMemory(b, at); err == nil {
				out = append(out, snapshot.Range{Addr: at, Size: 4096})
			}
		}
	}
	if len(out) == 0 {
		t.Fatal("nothing of the selection can be read")
	}
	return snapshot.MergeRanges(out, 0)
}
