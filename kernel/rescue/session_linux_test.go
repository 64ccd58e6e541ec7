package rescue

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"procdump/arch"
	"procdump/kdump"
	"procdump/kdump/diskdump"
	"procdump/kernel/settings"
)

// ram is memory from address 1 MiB on.
type ram []byte

const ramBase = 1 << 20

func (r ram) ReadPhys(b []byte, addr uint64) (int, error) {
	if addr < ramBase || addr >= ramBase+uint64(len(r)) {
		return 0, kdump.ErrAbsent
	}
	n := copy(b, r[addr-ramBase:])
	if n < len(b) {
		return n, kdump.ErrAbsent
	}
	return n, nil
}

// damaged is the session of a kernel of which nothing but memory is left.
func damaged(kind settings.Kind, place place) *session {
	memory := make(ram, 4<<20)
	rand.NewChaCha8([32]byte{1}).Read(memory)
	p := &Plan{Settings: settings.Default()}
	p.Settings.Kind, p.Settings.Compression = kind, "none"
	s := newSession(p, newLogger(), "test")
	s.dump = &kdump.Dump{
		Arch: arch.AMD64, PageSize: 4096, Memory: memory, Runs: []kdump.Run{{Addr: ramBase, Size: uint64(len(memory))}},
		VMCoreInfo: []byte("OSRELEASE=6.1\nSYMBOL(swapper_pg_dir)=zzz\n"),
	}
	s.place, s.small = place, place
	return s
}

// TestDamaged: where nobody can tell what pages are used for all are dumped.
func TestDamaged(t *testing.T) {
	f := below(t.TempDir(), Target{Folder: "crash"})
	s := damaged(settings.Kernel, f)
	s.step("write small dump", s.writeSmall)
	s.saveRecord(false)
	if !strings.Contains(readRecord(t, f).Step, "small") {
		t.Errorf("record before the dump: %+v", s.rec)
	}
	for range 2 { // the second one replaces the first
		s.step("write dump", s.writeDump)
	}
	s.saveRecord(true)
	r := readRecord(t, f)
	if r.Kind != settings.Complete || r.Wanted != settings.Kernel || !r.Verified || r.Pages != 1024 || r.File != "/crash/vmcore.kdump" || r.NoSpace {
		t.Errorf("record %+v", r)
	}
	if len(r.Failures) < 2 || !r.Finished || r.Step != "" {
		t.Errorf("record %+v", r)
	}
	if got := names(t, f.path); !slices.Equal(got, []string{RecordName, "vmcore.kdump"}) {
		t.Errorf("files %v", got)
	}
}

func readRecord(t *testing.T, f *folder) *Record {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(f.path, RecordName))
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseRecord(b)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestDeviceDump writes to a device, and to one that is too small.
func TestDeviceDump(t *testing.T) {
	for size, fits := range map[int64]bool{8 << 20: true, 2 << 20: false} {
		path := disk(t, size)
		mark(t, path, size)
		d, err := openDevice(path)
		if err != nil {
			t.Fatal(err)
		}
		s := damaged(settings.Complete, d)
		s.step("write dump", s.writeDump)
		s.saveRecord(true)
		b, err := os.ReadFile(path)
		if err != nil || int64(len(b)) != size {
			t.Fatalf("%d bytes: %v", len(b), err)
		}
		r, _, err := ReadTail(bytes.NewReader(b), size)
		if err != nil {
			t.Fatal(err)
		}
		if r.Verified != fits || r.NoSpace == fits || (r.File == path) != fits || r.NeededBytes < 4<<20 || r.FreeBytes <= 0 {
			t.Errorf("device of %d bytes: %+v", size, r)
		}
		// Complete, active and kernel.
		if n := strings.Count(strings.Join(r.Failures, "\n"), "larger device"); fits != (n == 0) || !fits && n != 3 {
			t.Errorf("%d kinds found no room: %q", n, r.Failures)
		}
	}
}

// TestWriteKind keeps what the kind that was wanted needed, and does without a
// compression that is none.
func TestWriteKind(t *testing.T) {
	f := below(t.TempDir(), Target{Folder: "crash"})
	s := damaged(settings.Complete, f)
	s.plan.Settings.Compression, s.rec.NeededBytes, s.rec.FreeBytes = "lzo", 7, 5
	s.step("write dump", s.writeDump)
	if s.rec.NeededBytes != 7 || s.rec.FreeBytes != 5 || !s.rec.Verified || !strings.Contains(strings.Join(s.rec.Failures, "\n"), "lzo") {
		t.Errorf("%+v", s.rec)
	}
}

// TestStep: a bug or an error in one step is told, and the others go on.
func TestStep(t *testing.T) {
	s := damaged(settings.Kernel, nil)
	s.place, s.small = nil, nil
	s.step("first", func() error { panic("no such thing") })
	s.step("second", func() error { return errors.New("broken") })
	s.step("third", s.writeDump) // nowhere to write to
	s.saveRecord(true)
	if f := s.rec.Failures; len(f) != 2 || !strings.Contains(f[0], "first: procdump has a bug") || f[1] != "broken" {
		t.Errorf("failures %q", f)
	}
}

// TestFailed names files as the machine does when it runs.
func TestFailed(t *testing.T) {
	f := below(t.TempDir(), Target{Folder: "crash"})
	s := damaged(settings.Kernel, f)
	s.failed(&os.PathError{Op: "write", Path: f.path + "/x", Err: os.ErrPermission})
	if got := s.rec.Failures; len(got) != 1 || got[0] != "write /crash/x: permission denied" || !strings.HasSuffix(s.log.said()[0], got[0]) {
		t.Errorf("%q", got)
	}
}

// TestMakeWay removes older dumps only where that helps.
func TestMakeWay(t *testing.T) {
	f := below(t.TempDir(), Target{Folder: "crash"})
	s := damaged(settings.Complete, f)
	if err := os.MkdirAll(f.path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.path, "vmcore.kdump"), []byte(diskdump.Signature), 0o600); err != nil {
		t.Fatal(err)
	}
	if s.makeWay(100) || len(names(t, f.path)) != 1 {
		t.Error("a dump is gone for nothing")
	}
	s.plan.Settings.Overwrite = false
	if s.makeWay(1) || len(names(t, f.path)) != 1 {
		t.Error("a dump is gone that has to stay")
	}
	s.plan.Settings.Overwrite = true
	if !s.makeWay(1) || len(names(t, f.path)) != 0 {
		t.Error("the older dump is still there")
	}
}

// TestRelease gives reserved space back.
func TestRelease(t *testing.T) {
	f := below(t.TempDir(), Target{Subvolume: "sub", Folder: "crash"})
	s := damaged(settings.Automatic, f)
	s.plan.ReservedFile = "/crash/.reserved"
	s.step("give back", s.release) // it is not there
	if err := os.MkdirAll(f.path, 0o700); err != nil {
		t.Fatal(err)
	}
	reserved := filepath.Join(f.path, ".reserved")
	if err := os.WriteFile(reserved, []byte("a letter"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.step("give back", s.release)
	if got := names(t, f.path); len(got) != 1 || len(s.rec.Failures) != 1 {
		t.Errorf("another file of that name: files %v, failures %v", got, s.rec.Failures)
	}
	s.rec.Failures = nil
	if err := os.WriteFile(reserved, make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	s.plan.Settings.Kind = settings.Small // which is not in need of it
	s.step("give back", s.release)
	if got := names(t, f.path); len(got) != 1 {
		t.Errorf("for a small dump: files %v", got)
	}
	s.plan.Settings.Kind = settings.Automatic
	s.step("give back", s.release)
	if got := names(t, f.path); len(got) != 0 || len(s.rec.Failures) != 0 {
		t.Errorf("files %v, failures %v", got, s.rec.Failures)
	}
}

func TestActive(t *testing.T) {
	if Active() {
		t.Error("this is no crash kernel")
	}
}
