package minidump

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"procdump/arch"
	"procdump/snapshot"
)

var machines = []arch.Machine{arch.AMD64, arch.I386, arch.ARM64}

// open reads a dump that must have a header.
func open(t *testing.T, b []byte) *Reader {
	t.Helper()
	r, err := NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// assemble makes a dump as a capture pipeline does: memory by placement, the
// head last.
func assemble(t *testing.T, l *Layout) []byte {
	t.Helper()
	b := make([]byte, l.Size())
	last := l.HeadSize()
	for _, pl := range l.Placements() {
		if pl.Off < last {
			t.Errorf("placement %v at %d: the one before ends at %d", pl.Range, pl.Off, last)
		}
		last = pl.Off + int64(pl.Size)
		for i := range pl.Size {
			b[pl.Off+int64(i)] = memoryByte(pl.Addr + i)
		}
	}
	h, err := headOf(l)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(h)) != l.HeadSize() {
		t.Fatalf("head is %d bytes, promised %d", len(h), l.HeadSize())
	}
	copy(b, h)
	return b
}

// headOf is what WriteHead writes.
func headOf(l *Layout) ([]byte, error) {
	var b bytes.Buffer
	err := l.WriteHead(&b)
	return b.Bytes(), err
}

func TestRoundTrip(t *testing.T) {
	for _, m := range machines {
		for _, full := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v full=%v", m, full), func(t *testing.T) {
				p, ranges := sample(m)
				l, err := NewLayout(p, ranges, Options{Full: full})
				if err != nil {
					t.Fatal(err)
				}
				// Known only after the copy:
				p.Info.PauseMicros, p.Info.Unreadable = 4567, []snapshot.Range{{Addr: 0xf6001000, Size: 0x1000}}
				b := assemble(t, l)
				r := open(t, b)
				got, errs := r.Process()
				if len(errs) > 0 {
					t.Error(errs)
				}
				equalProcess(t, got, p)
				checkMemory(t, got.Memory, ranges, p.Info.Unreadable)
				seen := map[StreamType]bool{}
				for _, d := range r.Directory() {
					if seen[d.Type] {
						t.Errorf("two streams of type %v", d.Type)
					}
					seen[d.Type] = true
				}
			})
		}
	}
}

// checkMemory wants exactly the ranges, less the unreadable ones.
func checkMemory(t *testing.T, m snapshot.Memory, ranges, unreadable []snapshot.Range) {
	t.Helper()
	for _, r := range ranges {
		for addr := r.Addr - 1; addr <= r.End(); addr++ {
			want := r.Contains(addr)
			for _, u := range unreadable {
				want = want && !u.Contains(addr)
			}
			for _, o := range ranges {
				want = want || o != r && o.Contains(addr)
			}
			b := []byte{0}
			n, err := m.ReadMemory(b, addr)
			var me *snapshot.MemoryError
			switch {
			case want && (err != nil || b[0] != memoryByte(addr)):
				t.Fatalf("byte at %#x: %v, %v", addr, b, err)
			case !want && (n != 0 || !errors.As(err, &me) || me.Addr != addr || !errors.Is(err, snapshot.ErrNotMapped)):
				t.Fatalf("byte at %#x is not in the dump: got %d, %v", addr, n, err)
			}
		}
	}
}

// TestContextOnly: a dump without our own streams, as others write it, still
// gives what a CONTEXT holds.
func TestContextOnly(t *testing.T) {
	for _, m := range machines {
		t.Run(m.String(), func(t *testing.T) {
			p, ranges := sample(m)
			var b bytes.Buffer
			if err := Write(&b, p, ranges, Options{}); err != nil {
				t.Fatal(err)
			}
			dump := b.Bytes()
			for i := range binary.LittleEndian.Uint32(dump[8:]) {
				d := dump[32+12*i:]
				if typ := StreamType(binary.LittleEndian.Uint32(d)); typ == InfoStream || typ == NotesStream {
					clear(d[:12])
				}
			}
			got, errs := open(t, dump).Process()
			if len(errs) > 0 {
				t.Error(errs)
			}
			for i := range p.Threads {
				g, w := got.Threads[i], p.Threads[i]
				if g.Registers.PC() != w.Registers.PC() || g.Registers.SP() != w.Registers.SP() || g.Registers.TLS() != w.Registers.TLS() {
					t.Errorf("thread %d: pc %#x sp %#x tls %#x", i, g.Registers.PC(), g.Registers.SP(), g.Registers.TLS())
				}
				if g.Name != w.Name || g.TID != w.TID {
					t.Errorf("thread %d: %d %q", i, g.TID, g.Name)
				}
			}
			if got.PID != p.PID || got.System.Release != p.System.Release || got.System.Version != p.System.Version ||
				got.Modules[1].Path != "/lib/libspace.so.1.2" || !bytes.Equal(got.Modules[0].BuildID, p.Modules[0].BuildID) {
				t.Errorf("got %+v", got)
			}
			if len(got.Files) != 2 || got.Files[1].Target != "socket:[5]" || !reflect.DeepEqual(got.Exception, p.Exception) {
				t.Errorf("got %+v, %+v", got.Files, got.Exception)
			}
			if got.Modules[0].Bias != 0x10 || !strings.Contains(got.Info.Comment, "näher 😀") {
				t.Errorf("got %+v, comment %q", got.Modules[0], got.Info.Comment)
			}
		})
	}
}

// TestDumpRequested: where nothing happened, readers still find a thread.
func TestDumpRequested(t *testing.T) {
	p, ranges := sample(arch.AMD64)
	p.Exception = nil
	var b bytes.Buffer
	if err := Write(&b, p, ranges, Options{}); err != nil {
		t.Fatal(err)
	}
	r := open(t, b.Bytes())
	e, err := r.Exception()
	if err != nil || e.Code != DumpRequested || int(e.TID) != p.Threads[0].TID || e.Addr != p.Threads[0].Registers.PC() || len(e.Context) != 1232 {
		t.Errorf("got %+v, %v", e, err)
	}
	if got, _ := r.Process(); got.Exception != nil {
		t.Errorf("got %+v", got.Exception)
	}
}

func TestAccessors(t *testing.T) {
	p, ranges := sample(arch.AMD64)
	var b bytes.Buffer
	if err := Write(&b, p, ranges, Options{Full: true}); err != nil {
		t.Fatal(err)
	}
	r := open(t, b.Bytes())
	if s, err := r.SystemInfo(); err != nil || s.Processors != 255 || s.Major != 6 || s.Minor != 1 || s.Revision != 85<<8|7 {
		t.Errorf("SystemInfo: %+v, %v", s, err)
	}
	if m, err := r.MiscInfo(); err != nil || m.PID != 1234 || m.UserTime != 3e9 || m.StartTime.Unix() != 1700000000 || m.DebugBuild != "procdump 1" {
		t.Errorf("MiscInfo: %+v, %v", m, err)
	}
	if m, err := r.Modules(); err != nil || len(m) != 2 || m[1].Name != "/lib/libspace.so.1.2" || m[1].Version != [4]uint16{1, 2} {
		t.Errorf("Modules: %+v, %v", m, err)
	}
	if m, err := r.MemoryInfo(); err != nil || len(m) != 4 || m[0].Type != MemImage || m[3].Protect != PageReadWrite {
		t.Errorf("MemoryInfo: %+v, %v", m, err)
	}
	if i, err := r.ThreadInfos(); err != nil || len(i) != 2 || i[0].UserTime != 1e9 || !i[0].CreateTime.Equal(p.StartTime) {
		t.Errorf("ThreadInfos: %+v, %v", i, err)
	}
	if h, err := r.Handles(); err != nil || len(h) != 2 || h[1].TypeName != "Socket" || h[0].Attributes != 0o020666 {
		t.Errorf("Handles: %+v, %v", h, err)
	}
	if i, err := r.BreakpadInfo(); err != nil || i.RequestingThread != 1235 {
		t.Errorf("BreakpadInfo: %+v, %v", i, err)
	}
	if u, err := r.UnloadedModules(); err != nil || u == nil || len(u) != 0 {
		t.Errorf("UnloadedModules: %+v, %v", u, err)
	}
	if n, err := r.ThreadNames(); err != nil || n[1235] != "worker" {
		t.Errorf("ThreadNames: %v, %v", n, err)
	}
	if m, err := r.Memory64List(); err != nil || len(m) != 4 || m[0].Off%4096 != 0 {
		t.Errorf("Memory64List: %v, %v", m, err)
	}
	threads, err := r.Threads()
	if err != nil || threads[0].TEB != p.Threads[0].Registers.TLS() || threads[0].Stack.Size != 0x3000-0x780 {
		t.Errorf("Threads: %+v, %v", threads, err)
	}
	// The stacks' copies lie before the payload, for readers that know only them.
	list, err := r.MemoryList()
	if err != nil || len(list) != 2 || list[0].Range != (snapshot.Range{Addr: 0xf6000780, Size: 0x3000 - 0x780}) {
		t.Errorf("MemoryList: %v, %v", list, err)
	}
	if _, err := r.Stream(TokenStream); !errors.Is(err, ErrNoStream) {
		t.Errorf("missing stream: %v", err)
	}
}

func TestWindowsDump(t *testing.T) {
	r := open(t, windowsDump())
	p, errs := r.Process()
	if len(errs) > 0 {
		t.Error(errs)
	}
	if p.System.OS != "windows" || p.System.Machine != arch.AMD64 || p.System.Release != "10.0.19045" || p.PID != 4321 || p.Name != "prog.exe" {
		t.Errorf("got %+v, PID %d, name %q", p.System, p.PID, p.Name)
	}
	th := &p.Threads[0]
	gs, _ := th.Registers.GP("gs_base")
	if th.TID != 11 || gs != 0x222000 || th.Registers.SP() != 0x7000 || th.Registers.PC() != 0x140001234 || len(th.Registers.Set(arch.NT_PRFPREG)) != 512 {
		t.Errorf("blamed thread: %+v, gs_base %#x", th.TID, gs)
	}
	want := &snapshot.Exception{TID: 11, Code: 0xc0000005, Addr: 0x140001000, Params: []uint64{1, 0x55}}
	if !reflect.DeepEqual(p.Exception, want) {
		t.Errorf("got %+v", p.Exception)
	}
	if m := p.Modules[0]; m.Path != `C:\dir\prog.exe` || m.ID.Stamp != 0x5f000000 || !bytes.Equal(m.BuildID, append(pattern(16, 4), 3, 0, 0, 0)) {
		t.Errorf("got %+v", m)
	}
	if mods, _ := r.Modules(); mods[0].Version != [4]uint16{1, 2, 3, 4} {
		t.Errorf("version %v", mods[0].Version)
	}
	if len(p.Regions) != 2 || p.Regions[1].Perm != snapshot.Read|snapshot.Execute || p.Regions[1].Flags != snapshot.Image || p.Info.Comment != "hello" {
		t.Errorf("got %+v, comment %q", p.Regions, p.Info.Comment)
	}
	b := make([]byte, 16)
	if _, err := p.Memory.ReadMemory(b, 0x140000100); err != nil || !bytes.Equal(b, pattern(0x2000, 21)[0x100:0x110]) {
		t.Errorf("memory %x, %v", b, err)
	}
}

func TestBreakpadDump(t *testing.T) {
	p, errs := open(t, breakpadDump()).Process()
	if len(errs) > 0 {
		t.Error(errs)
	}
	if p.PID != 76 || p.PPID != 3 || p.UID != 5 || p.GID != 6 || p.Name != "prog" || p.State != 't' || !slices.Equal(p.Args, []string{"prog", "-v"}) {
		t.Errorf("got %+v", p)
	}
	if s := p.System; s.Machine != arch.I386 || s.Release != "5.10.0" || s.Version != "#1 SMP" || s.CPUVendor != "AuthenticAMD" || s.CPUFeatures != 8 {
		t.Errorf("got %+v", s)
	}
	if len(p.Threads) != 1 || p.Threads[0].Signal != 11 || p.Threads[0].Registers.TLS() != 0xf7d00700 {
		t.Errorf("got %+v", p.Threads)
	}
	if e := p.Exception; e == nil || e.Signal != 11 || e.Code != 1 || e.Addr != 0x10 {
		t.Errorf("got %+v", e)
	}
	want := &snapshot.Linker{Version: 1, Brk: 0x100, Base: 0x200, Dynamic: snapshot.Range{Addr: 0x300, Size: 16}, Maps: []snapshot.LinkMap{{Name: "/lib/x.so", LD: 0x50}}}
	if !reflect.DeepEqual(p.Linker, want) {
		t.Errorf("got %+v", p.Linker)
	}
	if len(p.Regions) != 2 || p.Regions[0].Inode != 12 || p.Modules[0].Size != 0x1000 || !bytes.Equal(p.Modules[0].BuildID, pattern(20, 6)) {
		t.Errorf("got %+v, %+v", p.Regions, p.Modules)
	}
	b := make([]byte, 300)
	if n, err := p.Memory.ReadMemory(b, 0xff000000); n != 256 || err == nil || !bytes.Equal(b[:n], pattern(256, 8)) {
		t.Errorf("read %d, %v", n, err)
	}
}

// TestPackedLinker: 64-bit DSO_DEBUG streams occur with and without padding.
func TestPackedLinker(t *testing.T) {
	for _, pad := range [][]byte{nil, make([]byte, 4)} {
		w := newBuilder(2)
		w.stream(7, uint16(9), make([]byte, 54))
		link := w.add(uint64(1<<40), w.add("/lib/x.so"), pad, uint64(1<<40+0x50))
		w.stream(0x4767000a, uint32(1), link, uint32(1), pad, uint64(1<<41|0x100), uint64(1<<41), uint64(0x300), pattern(16, 1))
		got, err := open(t, w.done()).Linker()
		want := &snapshot.Linker{Version: 1, Brk: 1<<41 | 0x100, Base: 1 << 41, Dynamic: snapshot.Range{Addr: 0x300, Size: 16},
			Maps: []snapshot.LinkMap{{Addr: 1 << 40, Name: "/lib/x.so", LD: 1<<40 + 0x50}}}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("padding of %d: got %+v, %v", len(pad), got, err)
		}
	}
}

// TestTruncated cuts a dump at every structure: what is left must be told
// apart from what is lost, and never be zeros.
func TestTruncated(t *testing.T) {
	p, ranges := sample(arch.AMD64)
	var w bytes.Buffer
	if err := Write(&w, p, ranges, Options{Full: true}); err != nil {
		t.Fatal(err)
	}
	whole := w.Bytes()
	for n := 0; n < len(whole); n += 61 {
		r, err := NewReader(bytes.NewReader(whole[:n]), int64(n))
		if (r == nil) == (err == nil) {
			t.Fatalf("%d bytes: %v, %v", n, r, err)
		}
		if err != nil {
			var fe *FormatError
			if !errors.Is(err, ErrFormat) || !errors.As(err, &fe) {
				t.Errorf("%d bytes: %v", n, err)
			}
			continue
		}
		got, _ := r.Process()
		xs, _ := got.Memory.Extents(snapshot.Range{Size: 1 << 63})
		for _, x := range xs {
			if k, err := got.Memory.ReadMemory(make([]byte, x.Size), x.Addr); err != nil {
				t.Fatalf("%d bytes: extent %v: read %d, %v", n, x, k, err)
			}
		}
		for _, rg := range ranges {
			b := make([]byte, rg.Size)
			k, err := got.Memory.ReadMemory(b, rg.Addr)
			if (k < len(b)) != (err != nil) {
				t.Fatalf("%d bytes: read %d of %d, %v", n, k, len(b), err)
			}
			for i := range k {
				if b[i] != memoryByte(rg.Addr+uint64(i)) {
					t.Fatalf("%d bytes: wrong byte at %#x", n, rg.Addr+uint64(i))
				}
			}
		}
	}
	// Cut in the middle of the payload, all streams are whole.
	r := open(t, whole[:len(whole)-0x5000])
	got, errs := r.Process()
	held := func(m snapshot.Memory) (n uint64) {
		xs, _ := m.Extents(snapshot.Range{Size: 1 << 63})
		for _, x := range xs {
			n += x.Size
		}
		return n
	}
	lost := held(open(t, whole).Memory()) - held(got.Memory)
	if want := fmt.Sprintf("truncated: %d bytes", lost); lost == 0 || len(errs) != 1 || !strings.Contains(errs[0].Error(), want) || len(got.Threads) != 2 {
		t.Errorf("got %v, want %s", errs, want)
	}
	if _, err := got.Memory.ReadMemory(make([]byte, 16), p.Threads[0].Registers.SP()); err != nil {
		t.Errorf("the stack's copy is lost: %v", err)
	}
}

func TestExtents(t *testing.T) {
	p, ranges := sample(arch.AMD64)
	var b bytes.Buffer
	if err := Write(&b, p, ranges, Options{Full: true}); err != nil {
		t.Fatal(err)
	}
	got, err := open(t, b.Bytes()).Memory().Extents(snapshot.Range{Addr: 0x400800, Size: 0xf6000000})
	want := []snapshot.Extent{
		{Range: snapshot.Range{Addr: 0x400800, Size: 0x800}, Kind: snapshot.ExtentPresent},
		{Range: snapshot.Range{Addr: 0x403000, Size: 0x1200}, Kind: snapshot.ExtentPresent},
		{Range: snapshot.Range{Addr: 0xf6000000, Size: 0x3000}, Kind: snapshot.ExtentPresent}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestParseMaps(t *testing.T) {
	rs, err := parseMaps([]byte("7f00-8f00 rwxs 0000f000 103:0a 5  /a b\\012c (deleted)\nnonsense\n1000-2000 ---p 00000000 00:00 0 \n"))
	if err == nil || len(rs) != 2 {
		t.Fatalf("%v, %v", rs, err)
	}
	want := snapshot.Region{Range: snapshot.Range{Addr: 0x7f00, Size: 0x1000}, Perm: snapshot.Read | snapshot.Write | snapshot.Execute | snapshot.Shared,
		Offset: 0xf000, Dev: 0x103<<32 | 0xa, Inode: 5, Path: "/a b\nc", Deleted: true}
	if rs[1] != want || rs[0].Perm != 0 {
		t.Errorf("got %+v", rs)
	}
}
