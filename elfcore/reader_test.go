package elfcore

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"procdump/arch"
	"procdump/snapshot"
)

// builtCore is a core like the kernel's, of a process with two threads.
func builtCore(m arch.Machine) *coreBuilder {
	c := &coreBuilder{machine: map[arch.Machine]uint16{arch.AMD64: 62, arch.I386: 3, arch.ARM64: 183}[m], is32: m == arch.I386}
	sp := slices.Index(m.GPNames(), map[arch.Machine]string{arch.AMD64: "rsp", arch.I386: "esp", arch.ARM64: "sp"}[m])
	gp := make([]uint64, sp+1)
	gp[0], gp[sp] = 0x1234, 0x30800
	c.prstatus(2, 11, gp...)
	c.prpsinfo("prog", "/bin/prog -x ")
	siginfo := append(join(le32(11), le32(0), le32(2)), make([]byte, 116)...)
	at := 16
	if c.is32 {
		at = 12
	}
	copy(siginfo[at:], c.word(0xbad0))
	c.note("CORE", 0x53494749, siginfo)
	c.note("CORE", 6, join(c.word(6), c.word(4096), c.word(9), c.word(0x11010), c.word(25), c.word(0x30f00), c.word(0), c.word(0)))
	c.note("CORE", 0x46494c45, join(c.word(3), c.word(4096), c.word(0x10000), c.word(0x11000), c.word(0),
		c.word(0x11000), c.word(0x12000), c.word(1), c.word(0x20000), c.word(0x21000), c.word(7),
		[]byte("/bin/prog\x00/bin/prog\x00/tmp/gone (deleted)\x00")))
	c.note("CORE", 2, fill(64, 1))
	c.note("LINUX", 0x202, fill(640, 2))
	c.prstatus(3, 11, gp...)
	c.note("LINUX", 0x202, fill(640, 3))
	if m == arch.AMD64 {
		c.note("LINUX", 0x205, fill(64, 5)) // once, after all threads
	}
	c.note("OTHER", 1, []byte("abc"))
	c.loads = []builtLoad{
		{0x10000, 0x1000, 4, nil},
		{0x11000, 0x1000, 5, nil},
		{0x20000, 0x2000, 6, fill(0x1000, 9)},
		{0x30000, 0x1000, 6, fill(0x1000, 8)},
	}
	return c
}

func TestBuilt(t *testing.T) {
	for _, m := range machines {
		t.Run(m.String(), func(t *testing.T) {
			p := process(t, builtCore(m).bytes())
			gid, w := uint32(100000), uint64(0xbad0)
			if m == arch.I386 {
				gid = 65534
			}
			diff(t, "exception", p.Exception, &snapshot.Exception{TID: 2, Signal: 11, Code: 2, Addr: w})
			diff(t, "facts", []any{p.PID, p.PPID, p.PGID, p.SID, p.UID, p.GID, p.Nice, p.Flags, string(p.State), p.Name, p.Args, p.Exe, p.UserTime, p.SystemTime, p.System.OS, p.System.PageSize},
				[]any{2, 3, 4, 5, uint32(1000), gid, -5, uint64(0x400), "S", "prog", []string{"/bin/prog", "-x"}, "/bin/prog", time.Second + 2*time.Microsecond, 3*time.Second + 4*time.Microsecond, "linux", 4096})
			r := func(a, n uint64, perm, path string, off uint64) snapshot.Region {
				g := snapshot.Region{Range: snapshot.Range{Addr: a, Size: n}, Path: path, Offset: off}
				for i, c := range "rwx" {
					if strings.ContainsRune(perm, c) {
						g.Perm |= 1 << i
					}
				}
				return g
			}
			want := []snapshot.Region{r(0x10000, 0x1000, "r", "/bin/prog", 0), r(0x11000, 0x1000, "rx", "/bin/prog", 0x1000),
				r(0x20000, 0x1000, "rw", "/tmp/gone", 0x7000), r(0x21000, 0x1000, "rw", "", 0), r(0x30000, 0x1000, "rw", "[stack]", 0)}
			want[0].Flags, want[1].Flags, want[2].Deleted = snapshot.Image, snapshot.Image, true
			diff(t, "regions", p.Regions, want)
			diff(t, "modules", p.Modules, []snapshot.Module{{Range: snapshot.Range{Addr: 0x10000, Size: 0x2000}, Path: "/bin/prog"}})
			if len(p.Threads) != 2 {
				t.Fatalf("%d threads", len(p.Threads))
			}
			a, b := p.Threads[0], p.Threads[1]
			diff(t, "signals", []any{a.TID, a.Signal, a.Pending, a.Blocked, b.TID, b.Signal, b.UserTime, a.Name, b.Siginfo == nil, len(a.Siginfo)},
				[]any{2, 11, uint64(5), uint64(8), 3, 0, time.Second + 2*time.Microsecond, "prog", true, 128})
			if v := a.Registers.Values(); v[0] != 0x1234 || a.Registers.SP() != 0x30800 || a.Stack != (snapshot.Range{Addr: 0x30800 - m.RedZone(), Size: 0x800 + m.RedZone()}) {
				t.Errorf("registers %x, stack %v", v, a.Stack)
			}
			diff(t, "register sets", [][]byte{a.Registers.Set(2), a.Registers.Set(0x202), b.Registers.Set(2), b.Registers.Set(0x202)},
				[][]byte{fill(64, 1), fill(640, 2), nil, fill(640, 3)})
			for _, th := range p.Threads {
				if xl := th.Registers.Set(0x205); (xl != nil) != (m == arch.AMD64) || xl != nil && !bytes.Equal(xl, fill(64, 5)) {
					t.Errorf("thread %d: XSAVE layout %x", th.TID, xl)
				}
			}
			checkBuiltMemory(t, p.Memory)
		})
	}
}

func checkBuiltMemory(t *testing.T, mem snapshot.Memory) {
	t.Helper()
	b := make([]byte, 0x1800)
	n, err := mem.ReadMemory(b, 0x20800)
	var me *snapshot.MemoryError
	if n != 0x800 || !errors.As(err, &me) || me.Addr != 0x21000 || !errors.Is(err, snapshot.ErrNotMapped) || !bytes.Equal(b[:n], fill(0x1000, 9)[0x800:]) {
		t.Errorf("read %#x bytes: %v", n, err)
	}
	for _, addr := range []uint64{0, 0x10000, 0x1ffff, 0x21000, 0x31000, ^uint64(0)} {
		if n, err := mem.ReadMemory(b[:1], addr); n != 0 || !errors.As(err, &me) || me.Addr != addr {
			t.Errorf("read at %#x: %d, %v", addr, n, err)
		}
	}
	xs, _ := mem.Extents(snapshot.Range{Addr: 0x20100, Size: 0x10000})
	diff(t, "extents", xs, []snapshot.Extent{{Range: snapshot.Range{Addr: 0x20100, Size: 0xf00}, Kind: snapshot.ExtentPresent},
		{Range: snapshot.Range{Addr: 0x30000, Size: 0x100}, Kind: snapshot.ExtentPresent}})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			b := make([]byte, 0x1000)
			for range 100 {
				if _, err := mem.ReadMemory(b, 0x30000); err != nil || !bytes.Equal(b, fill(0x1000, 8)) {
					t.Error("concurrent reads differ", err)
				}
			}
		})
	}
	wg.Wait()
}

func TestNotes(t *testing.T) {
	var got []string
	for n, err := range open(t, builtCore(arch.AMD64).bytes()).Notes() {
		desc, err2 := n.Desc()
		if err != nil || err2 != nil || uint64(len(desc)) != n.Size {
			t.Fatal(err, err2)
		}
		got = append(got, fmt.Sprintf("%s %#x %d", n.Owner, n.Type, n.Size))
	}
	diff(t, "notes", got, []string{"CORE 0x1 336", "CORE 0x3 136", "CORE 0x53494749 128", "CORE 0x6 64", "CORE 0x46494c45 128",
		"CORE 0x2 64", "LINUX 0x202 640", "CORE 0x1 336", "LINUX 0x202 640", "LINUX 0x205 64", "OTHER 0x1 3"})
	for range open(t, builtCore(arch.AMD64).bytes()).Notes() {
		break // must not go on
	}
}

// TestXNum reads the number of segments where the kernel puts it, and guesses
// it where that is cut off.
func TestXNum(t *testing.T) {
	for _, m := range []arch.Machine{arch.AMD64, arch.I386} {
		for _, cut := range []bool{false, true} {
			c := builtCore(m)
			last := c.loads[3]
			c.loads = c.loads[:3]
			for i := range uint64(70000) {
				c.loads = append(c.loads, builtLoad{0x100000 + i*0x1000, 0x1000, 4, nil})
			}
			last.addr = 0xf0000000
			c.loads = append(c.loads, last)
			c.xnum, c.noShdr = true, cut
			r := open(t, c.bytes())
			_, warnings := r.Process()
			if len(r.Progs) != 70005 || (len(warnings) > 0) != cut {
				t.Errorf("%v, cut %v: %d segments, %v", m, cut, len(r.Progs), warnings)
			}
			b := make([]byte, 0x1000)
			if _, err := r.mem.ReadMemory(b, 0xf0000000); err != nil || !bytes.Equal(b, last.data) {
				t.Errorf("last segment: %v", err)
			}
		}
	}
}

func TestBadHeader(t *testing.T) {
	set := func(off int, v ...byte) func([]byte) []byte {
		return func(b []byte) []byte { copy(b[off:], v); return b }
	}
	for name, c := range map[string]struct {
		change func([]byte) []byte
		off    int64
		text   string
	}{
		"empty":             {func([]byte) []byte { return nil }, 0, "no ELF file at byte 0x0"},
		"magic":             {set(0, 'M'), 0, "no ELF file"},
		"big endian":        {set(5, 2), 5, "at byte 0x5"},
		"class":             {set(4, 9), 4, "class 9"},
		"version":           {set(6, 9), 6, "version 9"},
		"executable":        {set(16, 2), 16, "ET_EXEC"},
		"cut":               {func(b []byte) []byte { return b[:40] }, 0, "cut off"},
		"no phdrs":          {set(56, 0, 0), 56, "no program headers"},
		"small phdrs":       {set(54, 55, 0), 54, "of 55 bytes"},
		"phdrs beyond file": {set(32, 0, 0, 0, 0, 0, 1), 54, "lie at 0x10000000000"},
		"phdrs cut":         {func(b []byte) []byte { return b[:70] }, 64, "cut off at byte 0x40"},
	} {
		t.Run(name, func(t *testing.T) {
			b := c.change(builtCore(arch.AMD64).bytes())
			r, err := NewReader(bytes.NewReader(b), int64(len(b)))
			var fe *FormatError
			if r != nil || !errors.Is(err, ErrFormat) || !errors.As(err, &fe) || fe.Off != c.off || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v, %v", r, err)
			}
		})
	}
	want := errors.New("disk broken")
	if _, err := NewReader(brokenReader{want}, 1000); !errors.Is(err, want) || errors.Is(err, ErrFormat) {
		t.Errorf("broken disk: %v", err)
	}
}

type brokenReader struct{ err error }

func (r brokenReader) ReadAt([]byte, int64) (int, error) { return 0, r.err }

// TestTruncated cuts a core everywhere. What remains must be right, and what is
// missing must be said.
func TestTruncated(t *testing.T) {
	p := synthetic(arch.AMD64, 2)
	ranges := regionRanges(p)
	b := write(t, p, ranges)
	for size := len(b) - 1; size >= 0; size -= 613 {
		r, err := NewReader(bytes.NewReader(b[:size]), int64(size))
		if err != nil {
			if size >= ehdrSize64+phdrSize64 {
				t.Fatalf("%d bytes: %v", size, err)
			}
			continue
		}
		got, warnings := r.Process()
		if len(warnings) == 0 {
			t.Fatalf("%d bytes: no warning", size)
		}
		for _, th := range got.Threads {
			want := p.Threads[th.TID-4000]
			if !reflect.DeepEqual(th.Registers.Set(arch.NT_PRSTATUS), want.Registers.Set(arch.NT_PRSTATUS)) {
				t.Fatalf("%d bytes: registers of thread %d differ", size, th.TID)
			}
		}
		xs, _ := got.Memory.Extents(snapshot.Range{Size: ^uint64(0)})
		var held uint64
		for _, x := range xs {
			held += x.Size
			mem := make([]byte, x.Size)
			if _, err := got.Memory.ReadMemory(mem, x.Addr); err != nil || mem[0] != byteAt(x.Addr) || mem[x.Size-1] != byteAt(x.End()-1) {
				t.Fatalf("%d bytes: memory at %v: %v", size, x, err)
			}
			if n, err := got.Memory.ReadMemory(make([]byte, x.Size+1), x.Addr); err == nil && !r.mem.contains(x.End()) || uint64(n) < x.Size {
				t.Fatalf("%d bytes: read past %v: %d, %v", size, x, n, err)
			}
		}
		head := int(r.Progs[min(1, len(r.Progs)-1)].Off)
		if want := max(0, size-head); len(r.Progs) > 8 && held != uint64(want) {
			t.Fatalf("%d bytes hold %d of memory, want %d", size, held, want)
		}
	}
}

func (m *memory) contains(addr uint64) bool {
	i := m.find(addr)
	return i < len(m.pieces) && m.pieces[i].Contains(addr)
}

// TestOverlap reads damaged segments that overlap, wrap and are larger in the
// file than in memory.
func TestOverlap(t *testing.T) {
	file := fill(0x10000, 1)
	load := func(addr, off, filesz, memsz uint64) elf.ProgHeader {
		return elf.ProgHeader{Type: elf.PT_LOAD, Vaddr: addr, Off: off, Filesz: filesz, Memsz: memsz}
	}
	m := newMemory(bytes.NewReader(file), int64(len(file)), []elf.ProgHeader{
		load(0x2000, 0x5000, 0x2000, 0x2000), load(0x1000, 0x1000, 0x1800, 0x1800), load(0x1200, 0, 0x100, 0x100),
		load(0x8000, 0x100, 0x900, 0x10), load(^uint64(0)-0xff, 0x200, 0x1000, 0x1000), load(0x9000, 0xffff, ^uint64(0), ^uint64(0)),
	})
	diff(t, "pieces", m.pieces, []snapshot.Placement{
		{Range: snapshot.Range{Addr: 0x1000, Size: 0x1800}, Off: 0x1000}, {Range: snapshot.Range{Addr: 0x2800, Size: 0x1800}, Off: 0x5800},
		{Range: snapshot.Range{Addr: 0x8000, Size: 0x10}, Off: 0x100}, {Range: snapshot.Range{Addr: 0x9000, Size: 1}, Off: 0xffff},
		{Range: snapshot.Range{Addr: ^uint64(0) - 0xff, Size: 0xff}, Off: 0x200}})
	b := make([]byte, 0x3000)
	if n, err := m.ReadMemory(b, 0x1000); n != 0x3000 || err != nil || b[0x17ff] != file[0x27ff] || b[0x1800] != file[0x5800] {
		t.Errorf("read %#x: %v", n, err)
	}
	if m.cut != ^uint64(0)-0x9000-1 {
		t.Errorf("cut %#x", m.cut)
	}
}

func TestUnknownMachine(t *testing.T) {
	c := builtCore(arch.AMD64)
	c.machine = 243 // RISC-V
	p, warnings := open(t, c.bytes()).Process()
	if p.Machine() != arch.Unknown || len(p.Threads) != 0 || len(warnings) == 0 || len(p.Regions) != 4 {
		t.Errorf("%v, %d threads, %d regions, %v", p.Machine(), len(p.Threads), len(p.Regions), warnings)
	}
	b := make([]byte, 1)
	if _, err := p.Memory.ReadMemory(b, 0x30000); err != nil {
		t.Error(err)
	}
}

// TestDamagedNotes loses no more than the note that is damaged.
func TestDamagedNotes(t *testing.T) {
	c := builtCore(arch.AMD64)
	c.notes = nil
	c.prstatus(2, 11)
	c.note("CORE", 1, make([]byte, 335))
	c.note("CORE", 3, make([]byte, 10))
	c.note("CORE", 0x46494c45, join(le64(1<<60), le64(4096), le64(0x10000), le64(0x11000), le64(0), []byte("/bin/prog\x00")))
	c.note("procdump", 1, []byte("{"))
	c.note("procdump", NT_PROCDUMP_MAPS, []byte("00-10 rw-p"))
	c.prstatus(3, 11)
	c.notes = append(c.notes, join(le32(5), le32(1<<30), le32(1), []byte("CORE\x00\x00\x00\x00"))...)
	p, warnings := open(t, c.bytes()).Process()
	if len(p.Threads) != 2 || len(warnings) != 6 || p.Regions[0].Path != "/bin/prog" || p.Exception == nil {
		t.Errorf("%d threads, regions %v, %v", len(p.Threads), p.Regions, warnings)
	}
	for _, w := range warnings[:4] {
		if !errors.Is(w, ErrFormat) || !strings.Contains(w.Error(), "at byte 0x") {
			t.Errorf("warning %v", w)
		}
	}
}

// TestHugeCounts checks that a small file cannot make the reader allocate much.
func TestHugeCounts(t *testing.T) {
	c := builtCore(arch.AMD64)
	c.xnum = true
	b := c.bytes()
	copy(b[len(b)-20:], le32(0xffffffff)) // sh_info
	if _, err := NewReader(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ErrFormat) {
		t.Errorf("4 G segments: %v", err)
	}
	copy(b[len(b)-20:], le32(1<<21))
	r, err := NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil || len(r.Progs) > len(b)/56 {
		t.Errorf("2 M segments: %v", err)
	}
	if _, err := (&Reader{r: bytes.NewReader(b), size: 1 << 62}).bytes(0, 1<<40); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("1 TiB: %v", err)
	}
}

func TestFileJoin(t *testing.T) {
	load := func(a, n uint64) elf.ProgHeader {
		return elf.ProgHeader{Type: elf.PT_LOAD, Flags: elf.PF_R, Vaddr: a, Memsz: n}
	}
	file := func(a, n uint64, path string) MappedFile {
		return MappedFile{snapshot.Range{Addr: a, Size: n}, 0x100, path}
	}
	all, fileOnly := joinRegions([]elf.ProgHeader{load(0x5000, 0x2000), load(0x1000, 0x3000), load(0x1800, 0x100), load(0, 0), load(0xc000, 0x1000)},
		[]MappedFile{file(0x6000, 0x3000, "/b"), file(0x2000, 0x1000, "/a"), file(0x2500, 0x100, "/inner"), file(0xa000, 0, "/empty"), file(0xb000, 0x2000, "/c")})
	var got []string
	for _, r := range all {
		got = append(got, fmt.Sprintf("%v%v%s%d", r.Range, r.Perm, r.Path, r.Offset))
	}
	diff(t, "regions", got, []string{"0x1000-0x2000r--p0", "0x2000-0x3000r--p/a256", "0x3000-0x4000r--p0",
		"0x5000-0x6000r--p0", "0x6000-0x7000r--p/b256", "0x7000-0x9000---p/b4352",
		"0xb000-0xc000---p/c256", "0xc000-0xd000r--p/c4352"})
	if len(fileOnly) != 2 || fileOnly[0].Addr != 0x7000 {
		t.Errorf("files without segment %v", fileOnly)
	}
}

// TestSignalsDiffer keeps signals of threads that differ, and puts the
// executable first although it does not lie first.
func TestSignalsDiffer(t *testing.T) {
	c := &coreBuilder{machine: 62}
	c.prstatus(2, 10)
	c.prstatus(3, 12)
	c.note("CORE", 6, join(le64(9), le64(0x20010), le64(0), le64(0)))
	c.note("CORE", 0x46494c45, join(le64(2), le64(1), le64(0x10000), le64(0x11000), le64(0),
		le64(0x20000), le64(0x21000), le64(0), []byte("/lib\x00/exe\x00")))
	c.loads = []builtLoad{{0x10000, 0x1000, 5, nil}, {0x20000, 0x1000, 5, nil}}
	p := process(t, c.bytes())
	if p.Threads[0].Signal != 10 || p.Threads[1].Signal != 12 || p.Exception == nil || p.Exception.Signal != 10 {
		t.Errorf("signals %d, %d, exception %+v", p.Threads[0].Signal, p.Threads[1].Signal, p.Exception)
	}
	if len(p.Modules) != 2 || p.Modules[0].Path != "/exe" || p.Modules[1].Path != "/lib" || p.Exe != "/exe" {
		t.Errorf("executable %q, modules %+v", p.Exe, p.Modules)
	}
}
