package image

import (
	"bytes"
	"debug/elf"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"procdump/arch"
	"procdump/internal/elfimage"
	"procdump/internal/packed"
	"procdump/snapshot"
)

// memory is a piece of memory at an address.
type memory struct {
	addr uint64
	b    []byte
}

func (m memory) ReadMemory(p []byte, addr uint64) (int, error) {
	n := 0
	if at := addr - m.addr; at < uint64(len(m.b)) {
		n = copy(p, m.b[at:])
	}
	if n < len(p) {
		return n, &snapshot.MemoryError{Addr: addr + uint64(n), Err: snapshot.ErrNotMapped}
	}
	return n, nil
}

func (m memory) Extents(snapshot.Range) ([]snapshot.Extent, error) { return nil, nil }

// small is the program of the tests of package symbols: at 0x400000, code at
// 0x401000.
func small(t testing.TB) []byte {
	t.Helper()
	return packed.Read(t, "../symbols/testdata/small.elf.gz")
}

func write(t testing.TB, file string, b []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// mapped is a process that has mapped a file at 0x400000.
func mapped(t testing.TB, file string, o Options) (*Set, *snapshot.Process) {
	t.Helper()
	p := &snapshot.Process{System: snapshot.System{Machine: arch.AMD64}, Modules: []snapshot.Module{
		{Range: snapshot.Range{Addr: 0x400000, Size: 0x4000}, Path: file}}}
	s := NewSet(p, o)
	t.Cleanup(s.Close)
	return s, p
}

func buildID(t testing.TB, b []byte) []byte {
	t.Helper()
	f, err := newFile(bytes.NewReader(b))
	if err != nil || len(f.BuildID) != 20 {
		t.Fatalf("%+v, %v", f, err)
	}
	return f.BuildID
}

func TestFileFits(t *testing.T) {
	b := small(t)
	id := buildID(t, b)
	for _, c := range []struct {
		name   string
		change func(m *snapshot.Module, p *snapshot.Process)
		warns  string // "": the file is taken
	}{
		{"build id", func(m *snapshot.Module, _ *snapshot.Process) { m.BuildID = id }, ""},
		{"other build id", func(m *snapshot.Module, _ *snapshot.Process) { m.BuildID = id[1:] }, "another build id"},
		{"text", func(m *snapshot.Module, _ *snapshot.Process) { m.TextHash = elfimage.TextHash(bytes.NewReader(b)) }, ""},
		{"other text", func(m *snapshot.Module, _ *snapshot.Process) { m.TextHash = make([]byte, 16) }, "other code"},
		{"gone", func(m *snapshot.Module, _ *snapshot.Process) { m.Deleted = true }, "is gone"},
		{"other size", func(m *snapshot.Module, _ *snapshot.Process) { m.ID.Size = 1 }, "has changed"},
		{"other time", func(m *snapshot.Module, _ *snapshot.Process) {
			m.ID.Size, m.ID.ModTime = int64(len(b)), time.Unix(1, 0)
		}, "has changed"},
		{"first bytes", func(_ *snapshot.Module, p *snapshot.Process) { p.Memory = memory{0x400000, b[:4096]} }, ""},
		{"other first bytes", func(_ *snapshot.Module, p *snapshot.Process) {
			p.Memory = memory{0x400000, append([]byte{0x7f, 'E', 'L', 'F', 1}, b[5:4096]...)}
		}, "begins otherwise"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, p := mapped(t, write(t, filepath.Join(t.TempDir(), "small"), b), Options{})
			c.change(&p.Modules[0], p)
			f := s.All()[0].File()
			if (f != nil) != (c.warns == "") || !strings.Contains(strings.Join(s.Warnings(), "\n"), c.warns) {
				t.Errorf("file %v, warnings %q", f, s.Warnings())
			}
		})
	}
}

// TestFileWithoutBuildID: minidumps have the hash of its code instead.
func TestFileWithoutBuildID(t *testing.T) {
	b := small(t)
	b = bytes.Replace(b, []byte("\x14\x00\x00\x00\x03\x00\x00\x00GNU"), []byte("\x14\x00\x00\x00\x09\x00\x00\x00GNU"), 1)
	hash := elfimage.TextHash(bytes.NewReader(b))
	for want, id := range map[bool][]byte{true: hash, false: append([]byte{hash[0] + 1}, hash[1:]...)} {
		s, p := mapped(t, write(t, filepath.Join(t.TempDir(), "small"), b), Options{})
		p.Modules[0].BuildID = id
		if f := s.All()[0].File(); (f != nil) != want || f != nil && f.BuildID != nil {
			t.Errorf("%x: file %v, warnings %q", id, f, s.Warnings())
		}
	}
}

// TestNoFile: what is no regular file is not opened, and what is no ELF file
// is said.
func TestNoFile(t *testing.T) {
	dir := t.TempDir()
	for _, file := range []string{dir, filepath.Join(dir, "none"), "/dev/null", write(t, filepath.Join(dir, "text"), []byte("text")), "relative", ""} {
		s, _ := mapped(t, file, Options{})
		if f := s.All()[0].File(); f != nil {
			t.Errorf("%q: %+v", file, f)
		}
		if strings.HasPrefix(file, "/") && len(s.Warnings()) != 1 {
			t.Errorf("%q: warnings %q", file, s.Warnings())
		}
	}
}

func TestRoots(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "bin/small"), small(t))
	s, _ := mapped(t, "/bin/small", Options{Roots: []string{filepath.Join(root, "none"), root}})
	if f := s.All()[0].File(); f == nil || f.Path != filepath.Join(root, "bin/small") {
		t.Errorf("%+v, %q", f, s.Warnings())
	}
}

// TestMapped takes the file that a process has mapped where its path leads to none or
// to another, and not one of another build.
func TestMapped(t *testing.T) {
	root, links := t.TempDir(), t.TempDir()
	link := write(t, filepath.Join(links, "400000-401000"), small(t))
	for _, path := range []string{"/bin/gone", "/bin/replaced"} {
		for _, same := range []bool{true, false} {
			s, p := mapped(t, path, Options{Roots: []string{root}, Mapped: links})
			p.Regions = []snapshot.Region{{Range: snapshot.Range{Addr: 0x400000, Size: 0x1000}, Path: path}}
			p.Modules[0].TextHash = []byte("of another")
			if same {
				p.Modules[0].TextHash = elfimage.TextHash(bytes.NewReader(small(t)))
			}
			if path == "/bin/replaced" {
				b := small(t)
				i := bytes.Index(b, buildID(t, b))
				b[i]++
				write(t, filepath.Join(root, path), b)
				p.Modules[0].TextHash, p.Modules[0].BuildID = nil, buildID(t, small(t))
				if !same {
					p.Modules[0].BuildID[0] += 2
				}
			}
			f := s.All()[0].File()
			if same && (f == nil || f.Path != link || len(s.Warnings()) != 0) || !same && (f != nil || len(s.Warnings()) != 1) {
				t.Errorf("%s, %v: %+v, %q", path, same, f, s.Warnings())
			}
		}
	}
}

// TestReadMemory reads what the dump has from the dump, what it lacks and nobody
// can change from the file, and nothing else.
func TestReadMemory(t *testing.T) {
	b := small(t)
	s, p := mapped(t, write(t, filepath.Join(t.TempDir(), "small"), b), Options{})
	p.Memory = memory{0x401010, []byte{1, 2, 3, 4}}
	got := make([]byte, 0x23)
	if n, err := s.ReadMemory(got, 0x401000); n != len(got) || err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
	// The dump has bytes of its own in the midst of the page.
	want := bytes.Clone(b[0x1000:0x1023])
	if !bytes.Equal(got[:0x10], want[:0x10]) {
		t.Errorf("% x, want % x", got, want)
	}
	if n, err := s.ReadMemory(got[:4], 0x401010); n != 4 || err != nil || !bytes.Equal(got[:4], []byte{1, 2, 3, 4}) {
		t.Errorf("% x, %v", got[:4], err)
	}
	for _, addr := range []uint64{0x403000, 0x500000, 0, ^uint64(0) - 2} { // writable data is not the file's
		if n, err := s.ReadMemory(got[:4], addr); n != 0 && addr != ^uint64(0)-2 || err == nil {
			t.Errorf("%#x: %d bytes, %v", addr, n, err)
		}
	}
}

func TestHeaders(t *testing.T) {
	b := small(t)
	s, p := mapped(t, write(t, filepath.Join(t.TempDir(), "small"), b), Options{})
	p.Modules[0].Addr = 0x7f0000400000 // loaded elsewhere than it was linked for
	im := s.All()[0]
	if bias, ok := im.Bias(); !ok || bias != 0x7f0000000000 {
		t.Errorf("bias %#x, %v", bias, ok)
	}
	if seg, ok := im.Segment(elf.PT_NOTE); !ok || seg.Addr < p.Modules[0].Addr {
		t.Errorf("%+v, %v", seg, ok)
	}
	if _, ok := im.Segment(elf.PT_TLS); ok {
		t.Error("it has no such segment")
	}
	if s.Find(0x7f0000400000) != im || s.Find(0x7f0000403fff) != im || s.Find(0x7f0000404000) != nil || s.Find(0x7f00003fffff) != nil {
		t.Error("found at the wrong addresses")
	}
}

// TestDebug finds separate debug information as gdb does.
func TestDebug(t *testing.T) {
	b := small(t)
	id := buildID(t, b)
	dir, debug := t.TempDir(), t.TempDir()
	file := write(t, filepath.Join(dir, "small"), b)
	s, p := mapped(t, file, Options{DebugDirs: []string{debug}})
	if d := s.All()[0].Debug(); d != nil {
		t.Errorf("%+v", d)
	}
	write(t, filepath.Join(debug, ".build-id", hex(id[:1]), hex(id[1:])+".debug"), b)
	s = NewSet(p, Options{DebugDirs: []string{debug}})
	defer s.Close()
	if d := s.All()[0].Debug(); d == nil || !strings.HasPrefix(d.Path, debug) {
		t.Errorf("%+v, %q", d, s.Warnings())
	}
}

func hex(b []byte) string {
	const digits = "0123456789abcdef"
	var out []byte
	for _, c := range b {
		out = append(out, digits[c>>4], digits[c&15])
	}
	return string(out)
}

func TestFits(t *testing.T) {
	b := small(t)
	f, err := newFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	f.size = int64(len(b))
	other, _ := newFile(bytes.NewReader(b))
	other.size = f.size
	if !fits(f, other, 0) {
		t.Error("the same build id does not fit")
	}
	other.BuildID = nil
	if fits(f, other, 1) || !fits(f, other, crc32.ChecksumIEEE(b)) {
		t.Error("the checksum does not decide")
	}
}

func TestMini(t *testing.T) {
	s, _ := mapped(t, write(t, filepath.Join(t.TempDir(), "small"), small(t)), Options{})
	m := s.All()[0].Mini()
	if m == nil {
		t.Fatalf("%q", s.Warnings())
	}
	if v, ok := m.FindSymbol(elf.SHT_SYMTAB, "middle"); !ok || v != 0x401000 {
		t.Errorf("%#x, %v", v, ok)
	}
	if _, ok := m.FindSymbol(elf.SHT_SYMTAB, "iddle"); ok {
		t.Error("the end of a name is no name")
	}
	if _, ok := m.FindSymbol(elf.SHT_DYNSYM, "middle"); ok {
		t.Error("it has no such table")
	}
	for _, b := range [][]byte{nil, []byte("text"), {0xfd, '7', 'z', 'X', 'Z', 0, 0, 4}} {
		if _, err := unpackMini(b, maxMini, &s.xzLeft); err == nil {
			t.Errorf("% x: no error", b)
		}
	}
}

// TestSearchBounded: Go's variables are searched for in so many bytes of all images,
// whatever segments these state.
func TestSearchBounded(t *testing.T) {
	s, _ := mapped(t, write(t, filepath.Join(t.TempDir(), "small"), small(t)), Options{})
	im := s.All()[0]
	h := im.headers()
	for range 2 * maxAllModules / maxModuleData {
		h.progs = append(h.progs, elf.ProgHeader{Type: elf.PT_LOAD, Flags: elf.PF_W, Vaddr: 0x500000, Filesz: 1 << 40})
	}
	s.searched = maxAllModules - 1<<20
	if m := im.findGoModule(1); m != nil || s.searched < maxAllModules || s.searched > maxAllModules+4<<20 {
		t.Errorf("%+v, %d bytes searched", m, s.searched)
	}
}

// TestBounds: what a dump makes of its own bytes is bounded over all images, and
// no file is read that a dump may name to harm.
func TestBounds(t *testing.T) {
	b := append(small(t), make([]byte, maxInMemory)...)[:maxInMemory]
	p := &snapshot.Process{Memory: memory{0x400000, b}, System: snapshot.System{Machine: arch.AMD64}}
	for range 4 * maxAllInMemory / maxInMemory {
		p.Modules = append(p.Modules, snapshot.Module{Range: snapshot.Range{Addr: 0x400000, Size: maxInMemory}, Path: "linux-gate.so"})
	}
	s := NewSet(p, Options{})
	defer s.Close()
	n := 0
	for _, im := range s.All() {
		if f := im.File(); f != nil {
			n++
			if f.OnDisk() || im.Mini() != nil || im.Debug() != nil {
				t.Error("files are read for an image in memory")
			}
		}
	}
	if n != maxAllInMemory/maxInMemory {
		t.Errorf("%d images of a MiB in memory, want %d", n, maxAllInMemory/maxInMemory)
	}
	for _, path := range []string{"/proc/self/maps", "/dev/null", t.TempDir(), write(t, filepath.Join(t.TempDir(), "empty"), nil)} {
		if _, err := openFile(path); err == nil || !strings.Contains(err.Error(), "regular") {
			t.Errorf("%s: %v", path, err)
		}
	}
}
