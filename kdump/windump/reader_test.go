package windump

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"procdump/arch"
	"procdump/kdump"
)

func allMachines(t testing.TB) map[string]*machine {
	return map[string]*machine{
		"x64": machineX64(t).fill(), "la57": machineLA57(t).fill(), "arm64": machineARM64(t).fill(),
		"pae": machinePAE(t).fill(), "i386": machineI386(t).fill(),
	}
}

func open(t testing.TB, b []byte) *Reader {
	t.Helper()
	r, err := NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func eachDump(t *testing.T, f func(t *testing.T, d dump, r *Reader)) {
	for _, d := range dumps(allMachines(t)) {
		t.Run(d.name, func(t *testing.T) { f(t, d, open(t, d.b)) })
	}
}

func TestHeader(t *testing.T) {
	eachDump(t, func(t *testing.T, d dump, r *Reader) {
		h, m := r.Header, d.m
		if h.Bits != m.bits || h.MajorVersion != 15 || h.MinorVersion != m.build || h.MachineImageType != m.id || h.NumberProcessors != 2 {
			t.Errorf("header %+v", h)
		}
		if h.PsLoadedModuleList != m.modulesHead || h.PsActiveProcessHead != m.processHead || h.KdDebuggerDataBlock != m.kdbg || h.PAE != m.pae {
			t.Errorf("header %+v", h)
		}
		if want := time.Date(2021, 2, 21, 1, 38, 22, 987765700, time.UTC); !h.SystemTime.Equal(want) {
			t.Errorf("time %v, want %v", h.SystemTime, want)
		}
		if h.SystemUpTime != 3747069700 || h.Comment != "made by a test" || h.VersionUser != "" || h.SecondaryDataState != 0 || m.bits == 64 && h.RequiredDumpSpace != 0 {
			t.Errorf("header %+v", h)
		}
		b := r.BugCheck()
		if b.Name != "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED_M" || b.Values[1] != m.va(m.params[1]) && m.bits == 32 || b.Params[3] != "context record" {
			t.Errorf("bug check %+v", b)
		}
		if m.bits == 64 && b.String() != "0x1000007e SYSTEM_THREAD_EXCEPTION_NOT_HANDLED_M (0xffffffffc0000005, 0xfffff80000001234, 0xfffff80000600800, 0xfffff80000600900)" {
			t.Errorf("bug check %q", b)
		}
		if want := []kdump.Run{{Addr: 0x1000, Size: 0x9e000}, {Addr: 0x100000, Size: 0x300000}, {Addr: 0x1000000, Size: 0x40000}}; len(h.Runs) != 0 && !slices.Equal(h.Runs, want) {
			t.Errorf("runs %v", h.Runs)
		}
	})
}

func TestContext(t *testing.T) {
	eachDump(t, func(t *testing.T, d dump, r *Reader) {
		regs, err := r.Context()
		if err != nil {
			t.Fatal(err)
		}
		if regs.PC() != d.m.va(imageVA+1) || regs.SP() != d.m.va(stackVA+0x20100) {
			t.Errorf("pc %#x, sp %#x", regs.PC(), regs.SP())
		}
		if v, _ := regs.GP("fs_base"); v != 0 {
			t.Errorf("fs_base %#x", v)
		}
		e, err := r.Exception()
		if err != nil || e.Code != 0x80000003 || e.Flags != 1 || e.Address != d.m.va(imageVA+0x77) || !slices.Equal(e.Information, []uint64{1, 0x5555}) {
			t.Errorf("exception %+v, %v", e, err)
		}
		if r.Header.Type == HeaderOnly {
			if _, err := r.BugCheckContext(); !errors.Is(err, ErrNotThere) {
				t.Errorf("context of a header-only dump: %v", err)
			}
			return
		}
		if regs, err = r.BugCheckContext(); err != nil || regs.PC() != d.m.va(imageVA+5) {
			t.Errorf("context of the bug check: pc %#x, %v", regs.PC(), err)
		}
		if e, err = r.BugCheckException(); err != nil || e.Code != 0xc0000005 {
			t.Errorf("exception of the bug check: %+v, %v", e, err)
		}
	})
}

// inDump tells whether a page of the machine is in a dump of that type.
func inDump(d dump, pfn uint64) bool {
	switch DumpType(binary.LittleEndian.Uint32(d.b[map[int]int{64: 0xf98, 32: 0xf88}[d.m.bits]:])) {
	case Full:
		return inRuns(d.m, pfn)
	case HeaderOnly, Triage:
		return false
	}
	return d.m.mem[pfn] != nil
}

func inRuns(m *machine, pfn uint64) bool {
	return slices.ContainsFunc(m.runs, func(r [2]uint64) bool { return pfn >= r[0] && pfn < r[0]+r[1] })
}

func TestReadPhys(t *testing.T) {
	eachDump(t, func(t *testing.T, d dump, r *Reader) {
		// Every page by itself, with the reason for those that are not there.
		for pfn := range uint64(0x1100) {
			b := make([]byte, 0x1000)
			n, err := r.ReadPhys(b, pfn<<12)
			switch {
			case inDump(d, pfn):
				if err != nil || n != len(b) || !bytes.Equal(b, d.m.page(pfn)) {
					t.Fatalf("page %#x: %d bytes, %v, equal %v", pfn, n, err, bytes.Equal(b, d.m.page(pfn)))
				}
			case r.pages == nil, len(r.Header.Runs) > 0 && inRuns(d.m, pfn), len(r.Header.Runs) == 0 && pfn < bitmapSize:
				if !errors.Is(err, kdump.ErrExcluded) || n != 0 {
					t.Fatalf("page %#x, left out: %d bytes, %v", pfn, n, err)
				}
			default:
				if !errors.Is(err, kdump.ErrAbsent) || n != 0 {
					t.Fatalf("page %#x, no RAM: %d bytes, %v", pfn, n, err)
				}
			}
		}
		// Pieces that cross pages.
		rnd := rand.New(rand.NewPCG(1, 2))
		for range 300 {
			addr, size := rnd.Uint64N(0x1100<<12), rnd.IntN(0x5000)
			b := make([]byte, size)
			n, err := r.ReadPhys(b, addr)
			want := 0
			for want < size && inDump(d, (addr+uint64(want))>>12) {
				want++
			}
			if n != want || (err == nil) != (n == size) {
				t.Fatalf("%#x bytes at %#x: %#x, want %#x, %v", size, addr, n, want, err)
			}
			for i := range n {
				if a := addr + uint64(i); b[i] != d.m.page(a >> 12)[a&0xfff] {
					t.Fatalf("byte %#x of %#x differs", i, addr)
				}
			}
		}
		if n, err := r.ReadPhys(make([]byte, 0x2000), ^uint64(0)-0xfff); n != 0 || err == nil {
			t.Errorf("end of the address space: %d bytes, %v", n, err)
		}
	})
}

func TestPageRuns(t *testing.T) {
	eachDump(t, func(t *testing.T, d dump, r *Reader) {
		state := map[uint64]kdump.PageState{}
		last := uint64(0)
		for run := range r.PageRuns(0, 0x2000) {
			if run.PFN < last || run.Count == 0 {
				t.Fatalf("run %+v after page %#x", run, last)
			}
			last = run.PFN + run.Count
			for i := range run.Count {
				state[run.PFN+i] = run.State
			}
		}
		for pfn := range uint64(0x2000) {
			want := kdump.PageAbsent
			switch {
			case inDump(d, pfn):
				want = kdump.PagePresent
			case r.pages != nil && len(r.Header.Runs) > 0 && inRuns(d.m, pfn):
				want = kdump.PageExcluded
			}
			if state[pfn] != want {
				t.Fatalf("page %#x is %v, want %v", pfn, state[pfn], want)
			}
		}
		n := 0
		for range r.PageRuns(0x101, 0x103) {
			n++
		}
		if r.pages != nil && n == 0 {
			t.Error("no runs in the middle")
		}
	})
}

func TestModules(t *testing.T) {
	eachDump(t, func(t *testing.T, d dump, r *Reader) {
		mods, err := r.Modules()
		if r.Header.Type == HeaderOnly {
			if !errors.Is(err, ErrNotThere) {
				t.Errorf("modules of a header-only dump: %v", err)
			}
			return
		}
		if err != nil || len(mods) != len(drivers) {
			t.Fatalf("%d modules, %v", len(mods), err)
		}
		for i, w := range drivers {
			m := mods[i]
			stamp := w.stamp
			if i == 0 {
				stamp = 0x60606060 // of the image
			} else if d.m.bits == 32 && r.Header.Type != Triage {
				stamp = 0
			}
			if m.Path != w.path || !strings.HasSuffix(w.path, `\`+m.Name) || m.Base != d.m.va(w.base) || m.Size != w.size || m.CheckSum != w.checkSum || m.TimeDateStamp != stamp {
				t.Errorf("module %+v, want %+v", m, w)
			}
		}
		if mods[0].PDB != "ntkrnlmp.pdb" || mods[0].PDBID != "00112233445566778899AABBCCDDEEFF1" {
			t.Errorf("symbols %q %q", mods[0].PDB, mods[0].PDBID)
		}
		if m, ok := ModuleAt(mods, mods[2].Base+mods[2].Size-1); !ok || m.Name != "amdppm.sys" {
			t.Errorf("module at the last byte: %+v", m)
		}
		if _, ok := ModuleAt(mods, mods[2].Base+mods[2].Size); ok {
			t.Error("a module behind its end")
		}
	})
}

func TestUnloadedModules(t *testing.T) {
	eachDump(t, func(t *testing.T, d dump, r *Reader) {
		mods, err := r.UnloadedModules()
		if r.Header.Type == HeaderOnly {
			if !errors.Is(err, ErrNotThere) {
				t.Errorf("of a header-only dump: %v", err)
			}
			return
		}
		if err != nil || len(mods) != len(unloaded) {
			t.Fatalf("%v, %v", mods, err)
		}
		for i, m := range mods {
			if m.Name != unloaded[i] || m.Start != d.m.va(kernelBase+0x10000*uint64(i+1)) || m.End != m.Start+0x3000 || m.Time.IsZero() != (r.Header.Type == Triage) {
				t.Errorf("unloaded %+v", m)
			}
		}
	})
}

func TestProcessors(t *testing.T) {
	eachDump(t, func(t *testing.T, d dump, r *Reader) {
		all, err := r.Processors()
		if r.Header.Type == HeaderOnly {
			if !errors.Is(err, ErrNotThere) {
				t.Errorf("of a header-only dump: %v", err)
			}
			return
		}
		want := 2
		if r.Header.Type == Triage {
			want = 1
		}
		if err != nil || len(all) != want {
			t.Fatalf("%+v, %v", all, err)
		}
		for _, p := range all {
			if p.MHz != 3593 || p.Vendor != map[bool]string{false: "GenuineIntel", true: "Q"}[d.m.arm] || p.CurrentThread != d.m.va(procVA+0x8000) || p.RegistersErr != nil || p.Registers.PC() != d.m.va(imageVA+uint64(p.Number)) {
				t.Errorf("processor %+v", p)
			}
		}
		if p, err := r.CrashedProcessor(); err != nil || p.Number != 1 {
			t.Errorf("crashed: %+v, %v", p, err)
		}
		if b, err := r.Build(); err != nil || b != "19041.1.amd64fre.test" {
			t.Errorf("build %q, %v", b, err)
		}
	})
}

func TestProcesses(t *testing.T) {
	eachDump(t, func(t *testing.T, d dump, r *Reader) {
		p, err := r.CrashedProcess()
		if r.Header.Type == HeaderOnly || d.m.bits == 32 {
			if !errors.Is(err, ErrNotThere) {
				t.Errorf("crashed process %+v, %v", p, err)
			}
			return
		}
		if err != nil || p.PID != 1236 || p.Name != "crashing.exe" || p.DirectoryTableBase != d.m.root<<12 {
			t.Errorf("crashed process %+v, %v", p, err)
		}
		all, err := r.Processes()
		if r.Header.Type == Triage {
			if err == nil || len(all) != 0 {
				t.Errorf("processes of a small dump: %v, %v", all, err)
			}
			return
		}
		if err != nil || len(all) != 2 || all[0].Name != "System" || all[0].PID != 4 || all[1] != *p {
			t.Errorf("processes %+v, %v", all, err)
		}
	})
}

func TestTriage(t *testing.T) {
	for name, m := range allMachines(t) {
		t.Run(name, func(t *testing.T) {
			r := open(t, m.triageOf())
			tr, err := r.Triage()
			if err != nil || !tr.Valid || tr.TopOfStack != m.va(stackVA) || len(tr.Blocks()) != 4 {
				t.Fatalf("%+v, %v", tr, err)
			}
			if b, err := tr.CallStack(); err != nil || len(b) != 1700 || string(b[:17]) != "kernel stack here" {
				t.Errorf("stack %q, %v", b, err)
			}
			if s, err := tr.BrokenDriver(); err != nil || s != "broken.sys" {
				t.Errorf("broken driver %q, %v", s, err)
			}
			if b, err := tr.Thread(); err != nil || len(b) != threadSize || string(b[:6]) != "thread" {
				t.Errorf("thread of %d bytes, %v", len(b), err)
			}
			if b, err := tr.Prcb(); err != nil || len(b) != prcbSize {
				t.Errorf("KPRCB of %d bytes, %v", len(b), err)
			}
			// From the call stack over the end of it: the data block behind it does
			// not begin there.
			b := make([]byte, 4000)
			if n, err := r.ReadVirt(b, m.va(stackVA+17)); n < 1683 || !errors.Is(err, kdump.ErrExcluded) {
				t.Errorf("%d bytes, %v", n, err)
			}
			if _, err := r.Dump(); !errors.Is(err, ErrNotThere) {
				t.Errorf("a model of a small dump: %v", err)
			}
		})
	}
}

func TestDump(t *testing.T) {
	m := machineX64(t).fill()
	for _, d := range dumps(map[string]*machine{"x64": m}) {
		r := open(t, d.b)
		if r.pages == nil {
			continue
		}
		t.Run(d.name, func(t *testing.T) {
			k, err := r.Dump()
			if err != nil {
				t.Fatal(err)
			}
			if k.Arch != arch.AMD64 || k.PageSize != 4096 || len(k.CPUs) != 2 || k.Incomplete || k.Uname.Release != "10.0.19041" {
				t.Errorf("%+v", k)
			}
			if pc := binary.LittleEndian.Uint64(k.CPUs[1].PRStatus[112+16*8:]); len(k.CPUs[1].PRStatus) != 336 || pc != imageVA+1 {
				t.Errorf("PRSTATUS of %d bytes, pc %#x", len(k.CPUs[1].PRStatus), pc)
			}
			var n uint64
			for run := range k.Present() {
				n += run.Count
			}
			want := uint64(len(m.mem))
			if r.Header.Type == Full {
				want = 0x9e + 0x300 + 0x40
			}
			if n != want {
				t.Errorf("%d pages present, want %d", n, want)
			}
			// A file that ends early keeps what is before its end.
			r := open(t, d.b[:len(d.b)-0x1800])
			if k, err := r.Dump(); err != nil || !k.Incomplete {
				t.Errorf("cut off: incomplete %v, %v", k.Incomplete, err)
			}
			last := m.pfns()[len(m.mem)-1]
			if r.Header.Type == Full {
				last = 0x103f
			}
			if n, err := r.ReadPhys(make([]byte, 8), last<<12); n != 0 || !errors.Is(err, kdump.ErrDamaged) {
				t.Errorf("page behind the end of the file: %d bytes, %v", n, err)
			}
			if n, err := r.ReadPhys(make([]byte, 0x1000), (last-1)<<12); n != 0x800 || !errors.Is(err, kdump.ErrDamaged) {
				t.Errorf("page that the file cuts off: %#x bytes, %v", n, err)
			}
		})
	}
}

func TestNotADump(t *testing.T) {
	full := machineX64(t).fill().full()
	for name, b := range map[string][]byte{"empty": nil, "text": []byte("PAGEDU65 and more"), "minidump": []byte("MDMP\x93\xa7\x00\x00")} {
		if r, err := NewReader(bytes.NewReader(b), int64(len(b))); r != nil || !errors.Is(err, kdump.ErrFormat) {
			t.Errorf("%s: %v, %v", name, r, err)
		}
		if Is(b) {
			t.Errorf("%s is taken for a dump", name)
		}
	}
	var format *kdump.FormatError
	if r, err := NewReader(bytes.NewReader(full[:0x1fff]), 0x1fff); r != nil || !errors.As(err, &format) {
		t.Errorf("cut off in the header: %v, %v", r, err)
	}
	if !Is(full) || !Is([]byte("PAGEDUMP")) {
		t.Error("a dump is not recognised")
	}
	// An unknown type still shows its header.
	binary.LittleEndian.PutUint32(full[0xf98:], 0x77)
	r := open(t, full)
	if _, err := r.Dump(); !errors.As(err, &format) || !strings.Contains(err.Error(), "unknown type 0x77") {
		t.Errorf("unknown type: %v", err)
	}
}

func TestEncodedDebuggerData(t *testing.T) {
	m := machineX64(t).fill()
	m.write(m.kdbg+0x10, []byte("\x01\x02\x03\x04"))
	r := open(t, m.full())
	if _, err := r.DebuggerData(); !errors.Is(err, ErrEncoded) {
		t.Errorf("debugger data: %v", err)
	}
	// The modules do not need it.
	if mods, err := r.Modules(); err != nil || len(mods) != 3 {
		t.Errorf("%d modules, %v", len(mods), err)
	}
}

// TestDamagedLists has lists that are no circles.
func TestDamagedLists(t *testing.T) {
	node := func(i int) uint64 { return modsVA + 0x100 + uint64(i)*0x400 }
	for name, c := range map[string]struct {
		damage func(m *machine)
		want   int
	}{
		"circle that misses the head": {func(m *machine) { m.write(node(2), m.w().p(node(1)).b) }, 3},
		"back pointer":                {func(m *machine) { m.write(node(2)+8, m.w().p(node(0)).b) }, 2},
		"not mapped":                  {func(m *machine) { m.write(node(1), m.w().p(0x1000).b) }, 2},
		"itself":                      {func(m *machine) { m.write(node(0), m.w().p(node(0)).b) }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			m := machineX64(t).fill()
			c.damage(m)
			mods, err := open(t, m.full()).Modules()
			if err == nil || len(mods) != c.want {
				t.Errorf("%d modules, want %d and an error, %v", len(mods), c.want, err)
			}
		})
	}
}

func TestAttributes(t *testing.T) {
	m := machineX64(t).fill()
	b := m.bitmap(5, "FDMP", true)
	set := func(a Attributes) *Reader {
		binary.LittleEndian.PutUint32(b[0x1050:], uint32(a))
		return open(t, b)
	}
	r := set(FilterDumpFile | LiveDumpGeneratedDump)
	if k := r.Header.Kind(); k != "active memory dump of a running system" || r.Header.Attributes.String() != "live dump, filtered" {
		t.Errorf("%s, %v", k, r.Header.Attributes)
	}
	if d, err := set(InsufficientDumpfileSize).Dump(); err != nil || !d.Incomplete || d.Format != "Windows crash dump, complete memory dump" {
		t.Errorf("%+v, %v", d, err)
	}
	r = set(EncryptedDumpData)
	if _, err := r.Dump(); !errors.Is(err, ErrEncrypted) {
		t.Errorf("encrypted: %v", err)
	}
	if _, err := r.Modules(); !errors.Is(err, ErrEncrypted) {
		t.Errorf("encrypted: %v", err)
	}
	if _, err := set(EncryptedDumpData | DecryptedDump).Dump(); err != nil {
		t.Errorf("decrypted: %v", err)
	}
}
