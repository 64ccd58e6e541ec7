package live

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"procdump/kdump"
	"procdump/kernel/pages"
)

func open(t *testing.T, files map[string]string) *Source {
	t.Helper()
	s, err := Open(fixture(t, files))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestOpen(t *testing.T) {
	s := open(t, machine())
	d := s.Dump()
	want := []kdump.Run{{Addr: 0x100000, Size: 0x18000}, {Addr: 0x11c000, Size: 0x4000}}
	if !slices.Equal(d.Runs, want) {
		t.Errorf("memory is %x, want %x", d.Runs, want)
	}
	if d.Uname != release || string(d.VMCoreInfo) != info || d.Incomplete || d.Time.IsZero() || len(s.Warnings) != 0 {
		t.Errorf("dump %+v, warnings %q", d, s.Warnings)
	}
	// Those of the process that read kcore are no notes of the dump.
	if len(d.CPUs) != 3 || len(d.CPUs[2].PRStatus) != 336 || len(d.Notes) != 0 {
		t.Errorf("CPUs %v, notes %v", d.CPUs, d.Notes)
	}
	b := make([]byte, 3*page)
	if n, err := d.Memory.ReadPhys(b, 0x101000); n != len(b) || b[0] != 1 || b[page] != 2 || b[len(b)-1] != 3 {
		t.Errorf("read %d bytes of %x…: %v", n, b[0], err)
	}
	src, err := s.Pages()
	if err != nil {
		t.Fatal(err)
	}
	ps := make([]pages.Page, 4)
	if err := src.Classify(0x100, ps); err != nil {
		t.Fatal(err)
	}
	for i, c := range []pages.Class{pages.Free, pages.Anon, pages.Slab, pages.Hole} {
		if ps[i].Class() != c {
			t.Errorf("page %d is %v, want %v", i, ps[i].Class(), c)
		}
	}
	if !s.Live() || s.Guests != (Guests{}) {
		t.Errorf("live %v, guests %+v", s.Live(), s.Guests)
	}
}

// TestOldKernel: before 4.19 VMCOREINFO is found by its physical address.
func TestOldKernel(t *testing.T) {
	m := machine()
	memory := ram()
	note := kdump.AppendNote(nil, kdump.Note{Name: "VMCOREINFO", Desc: append([]byte(info), 0, 0)})
	copy(memory[5*page+16:], note)
	m["proc/kcore"] = string(kcore(nil, segment{image, 0x110000, kernelImage()}, segment{direct + 0x100000, 0x100000, memory}))
	m["sys/kernel/vmcoreinfo"] = fmt.Sprintf("%x %x\n", 0x105010, len(note))
	if d := open(t, m).Dump(); string(d.VMCoreInfo) != info || d.Uname != release {
		t.Errorf("VMCOREINFO %q, %+v", d.VMCoreInfo, d.Uname)
	}
	for _, bad := range []string{"", "100 x\n", "100000 40\n", "fff000 1000\n"} {
		m["sys/kernel/vmcoreinfo"] = bad
		if s := open(t, m); len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "VMCOREINFO") {
			t.Errorf("%q: warnings %q", bad, s.Warnings)
		}
	}
}

func TestNoPageFlags(t *testing.T) {
	m := machine()
	delete(m, "proc/kpageflags")
	_, err := open(t, m).Pages()
	if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "-type complete") {
		t.Errorf("error %v", err)
	}
}

// TestOpenMemory does without the uses of pages, even where they can be had.
func TestOpenMemory(t *testing.T) {
	m := machine()
	m["sys/module/kvm/refcnt"] = "1\n"
	s, err := OpenMemory(fixture(t, m))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Pages(); err == nil || len(s.Warnings) != 0 {
		t.Errorf("pages: %v, warnings %q", err, s.Warnings)
	}
	b := make([]byte, page)
	if n, err := s.Dump().Memory.ReadPhys(b, 0x101000); n != len(b) || b[0] != 1 {
		t.Errorf("read %d bytes: %v", n, err)
	}
}

func TestInitialPIDs(t *testing.T) {
	for link, want := range map[string]bool{"-> pid:[4026531836]": true, "-> pid:[4026532201]": false} {
		if InitialPIDs(fixture(t, map[string]string{"proc/self/ns/pid": link})) != want {
			t.Errorf("%s: %v", link, !want)
		}
	}
	// A kernel without namespaces has one set of numbers.
	if !InitialPIDs(fixture(t, nil)) {
		t.Error("without namespaces")
	}
}

func TestOpenErrors(t *testing.T) {
	with := func(name, text string) map[string]string {
		m := machine()
		if m[name] = text; text == "" {
			delete(m, name)
		}
		return m
	}
	for _, c := range []struct {
		files map[string]string
		is    error
		text  string
	}{
		{with("proc/kcore", ""), errors.ErrUnsupported, "CONFIG_PROC_KCORE"},
		{with("proc/kcore", "-> /dev/null"), fs.ErrPermission, "run procdump on the host"},
		{with("proc/kcore", "no ELF file at all, but long enough to be one, if one looks at its size only"), kdump.ErrFormat, "kcore"},
		{with("proc/iomem", ""), fs.ErrNotExist, "iomem"},
		{with("proc/iomem", "00000000-00000000 : System RAM\n  00000000-00000000 : Kernel code\n"), fs.ErrPermission, "CAP_SYS_ADMIN"},
		{with("proc/iomem", "00200000-002fffff : System RAM\n"), nil, "no range of memory in common"},
	} {
		s, err := Open(fixture(t, c.files))
		if s != nil || err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("source %v, error %v, want one with %q", s, err, c.text)
		}
	}
}

func TestExplainKcore(t *testing.T) {
	denied := &fs.PathError{Op: "open", Path: "/proc/kcore", Err: fs.ErrPermission}
	for mode, want := range map[string]string{
		"none integrity [confidentiality]": "lockdown=integrity",
		"none [integrity] confidentiality": "CAP_SYS_RAWIO",
		"[none] integrity confidentiality": "CAP_SYS_RAWIO",
		"damaged":                          "CAP_SYS_RAWIO",
	} {
		root := fixture(t, map[string]string{"sys/kernel/security/lockdown": mode + "\n"})
		err := explainKcore(root, "/proc/kcore", denied)
		if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", mode, err)
		}
	}
	if err := explainKcore(DefaultRoot, "/proc/kcore", fs.ErrClosed); !errors.Is(err, fs.ErrClosed) || errors.Is(err, fs.ErrPermission) {
		t.Error(err)
	}
}

func TestParseIomem(t *testing.T) {
	m := parseIomem([]byte("00001000-0009fbff : System RAM\n100000000-13fffffff : System RAM\n140000000-17fffffff : virtio0\n"+
		"  140000000-147ffffff : System RAM (virtio_mem)\nnonsense\n0-zz : System RAM\n00002800-000037ff : Crash kernel\n"), page)
	ram := []kdump.Run{{Addr: 0x1000, Size: 0x9e000}, {Addr: 0x100000000, Size: 0x40000000}, {Addr: 0x140000000, Size: 0x8000000}}
	if !slices.Equal(m.ram, ram) || m.hidden {
		t.Errorf("memory %x", m.ram)
	}
	if crash := []kdump.Run{{Addr: 0x2000, Size: 0x2000}}; !slices.Equal(m.crashKernel, crash) {
		t.Errorf("crash kernel %x", m.crashKernel)
	}
	if parseIomem(nil, page).hidden {
		t.Error("an empty file hides nothing")
	}
}

func TestRuns(t *testing.T) {
	a := []kdump.Run{{Addr: 0, Size: 10}, {Addr: 20, Size: 10}, {Addr: 30, Size: 5}}
	b := []kdump.Run{{Addr: 5, Size: 20}, {Addr: 34, Size: 100}}
	if got, want := intersect(a, b), []kdump.Run{{Addr: 5, Size: 5}, {Addr: 20, Size: 5}, {Addr: 34, Size: 1}}; !slices.Equal(got, want) {
		t.Errorf("intersection %v", got)
	}
	if got, want := subtract(a, b), []kdump.Run{{Addr: 0, Size: 5}, {Addr: 25, Size: 5}, {Addr: 30, Size: 4}}; !slices.Equal(got, want) {
		t.Errorf("difference %v", got)
	}
	for list, want := range map[string]int{"0": 1, "0-3": 4, "0-1,4,6-7\n": 5, "": 0, "x": 0, "3-1": 0, "1-x": 0} {
		if got := countList(list); got != want {
			t.Errorf("%q has %d members, want %d", list, got, want)
		}
	}
}

// TestGuessGuests: KVM is there, and nothing that tells its structures.
func TestGuessGuests(t *testing.T) {
	m := machine()
	m["sys/module/kvm/refcnt"] = "1\n"
	m["proc/42/fd/3"] = "-> anon_inode:kvm-vm"
	m["proc/42/fd/4"] = "-> anon_inode:kvm-vcpu:0"
	m["proc/42/maps"] = "00400000-00401000 r-xp 00000000 08:01 7    /usr/bin/vmm\n" +
		"00800000-00c00000 rw-s 00000000 00:01 9    /memfd:ram (deleted)\n"
	entries := make([]byte, 0xc00*8) // to the end of the mapping
	le := binary.LittleEndian
	le.PutUint64(entries[0x400*8:], 1<<63|0x102)   // the program's, not the guest's
	le.PutUint64(entries[0x800*8:], 1<<63|0x101)   // the first page of the mapping
	le.PutUint64(entries[0xbff*8:], 1<<63|0x103)   // and the last
	le.PutUint64(entries[0x801*8:], 1<<62|0x7<<20) // swapped out
	m["proc/42/pagemap"] = string(entries)
	m["proc/43/fd/3"] = "-> /dev/null"
	m["proc/43/maps"], m["proc/43/pagemap"] = m["proc/42/maps"], strings.Repeat("\xff", 0xc00*8)
	anon := uint64(1<<5 | 1<<12)
	m["proc/kpageflags"] = flags(anon, anon, anon, 1<<7, anon)
	s := open(t, m)
	if want := (Guests{VMs: 1, Pages: 2, Guessed: true}); s.Guests != want || len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "guessed") {
		t.Errorf("guests %+v, want %+v; warnings %q", s.Guests, want, s.Warnings)
	}
	src, err := s.Pages()
	if err != nil {
		t.Fatal(err)
	}
	ps := make([]pages.Page, 5)
	if err := src.Classify(0x100, ps); err != nil {
		t.Fatal(err)
	}
	// A page that only the kernel can own is no guest's, whatever is guessed.
	for i, c := range []pages.Class{pages.Anon, pages.Guest, pages.Anon, pages.Slab, pages.Anon} {
		if ps[i].Class() != c {
			t.Errorf("page %d is %v, want %v", i, ps[i].Class(), c)
		}
	}
}

func TestGuestMapping(t *testing.T) {
	for line, want := range map[string]bool{
		"7f0000000000-7f0010000000 rw-s 00000000 00:01 9 /memfd:ram (deleted)": true,
		"7f0000000000-7f0010000000 rw-s 00000000 00:0f 9 /dev/hugepages/vm":    true,
		"7f0000000000-7f0010000000 rw-p 00000000 00:00 0 ":                     true,
		"7f0000000000-7f0004000000 rw-p 00000000 00:00 0 ":                     false, // an arena
		"7f0000000000-7f0010000000 ---p 00000000 00:00 0 ":                     false,
		"7f0000000000-7f0010000000 rw-p 00000000 00:00 0 [heap]":               false,
		"7f0000000000-7f0010000000 rw-s 00000000 08:01 9 /var/lib/data":        false,
		"7f0000000000-7f0010000000 rw-s 00000000 00:05 9 /dev/vfio/1":          false,
		"nonsense": false,
	} {
		if _, _, ok := guestMapping(line); ok != want {
			t.Errorf("%q: %v", line, ok)
		}
	}
}

func TestKallsyms(t *testing.T) {
	root := fixture(t, map[string]string{"proc/kallsyms": "ffffffff81000000 T _text\n0000000000000000 d hidden\nffffffffc0000000 d vm_list\t[kvm]\n"})
	if table := kallsyms(root); len(table) != 1 || table["_text"] != image {
		t.Errorf("%#x", table)
	}
}

// TestThisMachine reads the kernel that the test runs on, where it may.
func TestThisMachine(t *testing.T) {
	if _, err := os.Stat("/proc/kcore"); err != nil || os.Geteuid() != 0 {
		t.Skip("needs root and /proc/kcore")
	}
	s, err := Open(DefaultRoot)
	if err != nil {
		t.Skip(err)
	}
	defer s.Close()
	d := s.Dump()
	want, err := os.ReadFile(filepath.Join(DefaultRoot.Proc, "sys/kernel/osrelease"))
	if err != nil || d.Uname.Release != string(bytes.TrimSpace(want)) {
		t.Errorf("kernel %q, want %q", d.Uname.Release, want)
	}
	src, err := s.Pages()
	if err != nil {
		t.Skip(err)
	}
	c, err := pages.Count(src, d.Runs, uint64(d.PageSize))
	if err != nil || c.Pages[pages.Free] == 0 || c.Pages[pages.Slab] == 0 || c.Pages[pages.Anon] == 0 {
		t.Errorf("%v, %v", c, err)
	}
}
