package kernel

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"procdump/inspect/kernel/kerneltest"
	"procdump/kdump"
	"procdump/kernel/layout"
	"procdump/kernel/layout/layouttest"
	"procdump/kernel/pages"
	"procdump/kernel/small"
)

func openReport(t testing.TB, b []byte) *Report {
	t.Helper()
	r, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSmall(t *testing.T) {
	r := openReport(t, kerneltest.Small(t))
	want := "Null pointer dereference at address 0x0 in function msr_read of module msr, called by vfs_read; process head (PID 97), CPU 0."
	if r.Reason != want || !r.Crash || r.Kind != "small" || r.Release != "6.1.0-56-amd64" || r.Host != "guest" || r.CPUs != 2 || len(r.Taints) != 1 {
		t.Errorf("%s\n%+v", r.Reason, r)
	}
	if len(r.Modules) != 14 || r.Modules[0].Name != "msr" || r.Log == nil || r.Log.Incident == 0 || !strings.Contains(r.Log.Lines[r.Log.Incident-1], "BUG: kernel NULL") {
		t.Errorf("modules %v, log %+v", r.Modules, r.Log)
	}
	if r.Tasks == nil || r.Tasks.Total == 0 || r.Processors[0].Task == nil || r.Processors[0].Task.Comm != "head" {
		t.Errorf("tasks %+v", r.Tasks)
	}
	if p := r.Processors[0]; !p.Crashed || !p.FromLog || p.Frames[1].String() != "vfs_read+0xa5" {
		t.Errorf("processor %+v", p)
	}
}

// TestJSON has the report come back from JSON.
func TestJSON(t *testing.T) {
	r := openReport(t, kerneltest.Small(t))
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var again Report
	if err := json.Unmarshal(b, &again); err != nil {
		t.Fatal(err)
	}
	b2, err := json.Marshal(&again)
	if err != nil || !bytes.Equal(b, b2) {
		t.Errorf("%v: %s\nthen %s", err, b, b2)
	}
}

// TestDamagedSmall damages a small dump in many places.
func TestDamagedSmall(t *testing.T) {
	whole := kerneltest.Small(t)
	for seed := range uint64(60) {
		b := bytes.Clone(whole)
		rnd := rand.New(rand.NewPCG(seed, 3))
		for range 1 << (seed % 12) {
			b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8)
		}
		if seed%5 == 0 {
			b = b[:rnd.IntN(len(b))]
		}
		if r, err := Open(bytes.NewReader(b), int64(len(b))); err == nil && r.Reason == "" {
			t.Errorf("seed %d: no reason: %+v", seed, r)
		}
	}
}

// TestDamagedNote: what a small dump says about itself cannot be read, and its
// memory tells whether the machine crashed.
func TestDamagedNote(t *testing.T) {
	b := bytes.Replace(kerneltest.Small(t), []byte(`"kind":"small"`), []byte(`"kind":"sma`+"\x00\x00"+`"`), 1)
	r := openReport(t, b)
	if r.Kind != "small" || !r.Crash || len(r.Warnings) == 0 || !strings.Contains(r.Warnings[0], "is damaged") {
		t.Errorf("%+v", r)
	}
	// Nothing else can be read, either.
	d := &kdump.Dump{Notes: []kdump.Note{{Name: small.NoteOwner, Type: small.NoteType, Desc: []byte("{")}}}
	if r := linuxReport(d); r.Crash || !r.CrashUnknown || r.Kind != "small" {
		t.Errorf("%+v", r)
	}
}

// TestKind tells what a dump holds by what of each use is there.
func TestKind(t *testing.T) {
	class := func(c pages.Class, bytes, there uint64) MemoryClass { return MemoryClass{c.String(), bytes, there} }
	for _, c := range []struct {
		m    Memory
		want string
	}{
		{Memory{InDump: 9}, "complete"},
		{Memory{InDump: 9, LeftOut: 9}, ""},
		{Memory{Classes: []MemoryClass{class(pages.Free, 9, 9), class(pages.Anon, 9, 9)}}, "complete"},
		{Memory{Classes: []MemoryClass{class(pages.Free, 9, 9), class(pages.Kernel, 9, 9)}}, "complete"}, // before the first process
		{Memory{LeftOut: 1, Classes: []MemoryClass{class(pages.Free, 9, 8), class(pages.Anon, 9, 9)}}, "complete"},
		{Memory{LeftOut: 9, Classes: []MemoryClass{class(pages.Free, 9, 0), class(pages.Anon, 9, 9)}}, "active"},
		{Memory{LeftOut: 18, Classes: []MemoryClass{class(pages.Free, 9, 0), class(pages.Anon, 9, 0), class(pages.Slab, 9, 9)}}, "kernel"},
		{Memory{Classes: []MemoryClass{class(pages.Anon, 9, 9), class(pages.Slab, 9, 9)}}, "active"}, // ELF does not tell what is missing
		{Memory{Classes: []MemoryClass{class(pages.Slab, 9, 9)}}, "kernel"},
	} {
		l := &linux{r: &Report{Memory: &c.m}}
		if l.kind(); l.r.Kind != c.want {
			t.Errorf("%+v: %q, want %q", c.m, l.r.Kind, c.want)
		}
	}
}

// TestWarn tells a cause once, and refers to it where it has been told.
func TestWarn(t *testing.T) {
	r := &Report{cause: "no symbols"}
	r.warn("something else")
	for range 2 {
		r.warn("the tasks: no symbols")
		r.warn("the modules: no symbols")
	}
	want := []string{"something else", "the tasks: no symbols", "the modules: for the same reason as above"}
	if !slices.Equal(r.Warnings, want) {
		t.Errorf("%q", r.Warnings)
	}
}

// pieceReport inspects a piece of a kernel dump, of which the symbols and types
// that layout's tests need are there.
func pieceReport(t *testing.T, p *layouttest.Piece) *Report {
	t.Helper()
	d := p.Dump()
	k, err := layout.Open(d)
	if err != nil {
		return nil
	}
	k.UseSymbols(p.Symbol)
	if err := k.UseBTF(p.BTF); err != nil {
		return nil
	}
	l := &linux{dump: d, r: &Report{System: "Linux"}, crashed: -1}
	l.use(k)
	l.explain()
	return l.r
}

func pieces(t *testing.T) map[string][]byte {
	t.Helper()
	all := make(map[string][]byte)
	for _, version := range []string{"6.1", "6.12", "7.2"} {
		b, err := os.ReadFile(filepath.Join("../../kernel/layout/testdata", version+".piece"))
		if err != nil {
			t.Fatal(err)
		}
		all[version] = b
	}
	return all
}

func decode(t *testing.T, b []byte) *layouttest.Piece {
	t.Helper()
	p, err := layouttest.DecodePiece(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPieces inspects kernels that ran: tasks and modules are there.
func TestPieces(t *testing.T) {
	for version, b := range pieces(t) {
		r := pieceReport(t, decode(t, b))
		if r == nil || r.Crash || !strings.HasPrefix(r.Release, version+".") || r.Tasks == nil || r.Tasks.Total < 50 || len(r.Modules) < 5 || r.UptimeSeconds == 0 || r.Time == nil || r.CPUs != 2 {
			t.Errorf("%s: %+v", version, r)
			continue
		}
		n := 0
		for _, g := range r.Tasks.Groups {
			n += len(g.Tasks)
		}
		if n+len(r.Tasks.Running) != r.Tasks.Total {
			t.Errorf("%s: %d tasks in groups, %d run, of %d", version, n, len(r.Tasks.Running), r.Tasks.Total)
		}
	}
}

// TestDamagedPieces must come to an end, and takes little memory.
func TestDamagedPieces(t *testing.T) {
	for version, b := range pieces(t) {
		for seed := range uint64(12) {
			p := decode(t, b)
			rnd := rand.New(rand.NewPCG(seed, 4))
			for range 20 << seed {
				p.Memory.Damage(rnd)
			}
			for range seed {
				p.BTF[24+rnd.IntN(len(p.BTF)-24)] ^= 1 << rnd.IntN(8)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r := pieceReport(t, p)
			runtime.ReadMemStats(&after)
			if n := after.TotalAlloc - before.TotalAlloc; n > 1<<30 {
				t.Errorf("%s, seed %d: %d MiB allocated", version, seed, n>>20)
			}
			if r != nil && r.Reason == "" {
				t.Errorf("%s, seed %d: no reason", version, seed)
			}
		}
	}
}

// TestProcess refuses dumps of processes.
func TestProcess(t *testing.T) {
	if _, err := Open(strings.NewReader("MDMP\x93\xa7\x00\x00 and more"), 17); !errors.Is(err, ErrProcess) {
		t.Errorf("minidump: %v", err)
	}
	if _, err := Open(strings.NewReader("nothing"), 7); !errors.Is(err, kdump.ErrFormat) {
		t.Errorf("text: %v", err)
	}
	// An ELF core with one note, NT_AUXV.
	le := binary.LittleEndian
	b := make([]byte, 64+56)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 4)  // ET_CORE
	le.PutUint16(b[18:], 62) // EM_X86_64
	le.PutUint64(b[32:], 64)
	le.PutUint16(b[52:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 1)
	const auxv = 6 // NT_AUXV
	note := kdump.AppendNote(nil, kdump.Note{Name: "CORE", Type: auxv, Desc: make([]byte, 16)})
	le.PutUint32(b[64:], 4) // PT_NOTE
	le.PutUint64(b[64+8:], uint64(len(b)))
	le.PutUint64(b[64+32:], uint64(len(note)))
	b = append(b, note...)
	if _, err := Open(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ErrProcess) {
		t.Errorf("core: %v", err)
	}
}

// FuzzOpen inspects any file.
func FuzzOpen(f *testing.F) {
	f.Add(kerneltest.Small(f))
	f.Add(crashDump(0xd1))
	f.Add([]byte("KDUMP   "))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Open(bytes.NewReader(b), int64(len(b)))
		if (r == nil) == (err == nil) {
			t.Fatalf("report %v with error %v", r, err)
		}
	})
}
