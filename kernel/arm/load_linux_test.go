package arm

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"procdump/internal/sys/kexec"
	"procdump/kernel/rescue"
	"procdump/kernel/settings"
	"procdump/kernel/superblock"
)

// loads has a system keep what it is to load.
type loads struct {
	image, initrd []byte
	line          string
	err           error
}

func (l *loads) into(t *testing.T, s *System) {
	s.Load = func(image, initrd *os.File, line string) error {
		l.image, l.initrd, l.line = readAll(t, image), readAll(t, initrd), line
		if l.err == nil {
			write(t, s, "sys/kernel/kexec_crash_loaded", "1")
		}
		return l.err
	}
	s.Unload = func() error { write(t, s, "sys/kernel/kexec_crash_loaded", "0"); return nil }
}

// unpack returns the names in an initrd and the content of one of them.
func unpack(t *testing.T, b []byte, name string) (names []string, content []byte) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if b, err = io.ReadAll(z); err != nil {
		t.Fatal(err)
	}
	number := func(off int) int {
		n, err := strconv.ParseUint(string(b[off:off+8]), 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		return int(n)
	}
	for off := 0; ; {
		size, length := number(off+54), number(off+94)
		n := string(b[off+110 : off+110+length-1])
		off = (off + 110 + length + 3) &^ 3
		if n == "TRAILER!!!" {
			return names, content
		}
		if names = append(names, n); n == name {
			content = b[off : off+size]
		}
		off = (off + size + 3) &^ 3
	}
}

func TestArm(t *testing.T) {
	s := tree(t, nil)
	moduleContents(t, s)
	var l loads
	l.into(t, s)
	set := settings.Default()
	set.SmallFolder = "/srv/small" // out of reach
	j, err := s.Prepare(Request{Settings: set, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if len(j.Warnings) != 1 || !strings.Contains(j.Warnings[0], "LVM") || j.Plan.SmallTarget != nil || s.exists("var/crash") {
		t.Errorf("warnings %q, plan %+v", j.Warnings, j.Plan)
	}
	j.SetReserved("/var/crash/.reserved", 1<<30)
	loaded, err := j.Load()
	if err != nil {
		t.Fatal(err)
	}
	files, plan := unpack(t, l.initrd, strings.TrimPrefix(rescue.PlanFile, "/"))
	var p rescue.Plan
	if err := json.Unmarshal(plan, &p); err != nil {
		t.Fatal(err)
	}
	if p.Version != "test" || p.Target.Folder != "/var/crash" || p.ReservedFile != "/var/crash/.reserved" || p.Reserved != 1<<30 || p.Settings != set || names(p.Modules) != names(j.Plan.Modules) {
		t.Errorf("plan %+v", p)
	}
	for _, want := range []string{"init", "dev/console", "dev/null", "etc/localtime", "lib/modules/ext4.ko.xz"} {
		if !slices.Contains(files, want) {
			t.Errorf("no %s in %v", want, files)
		}
	}
	if _, m := unpack(t, l.initrd, "lib/modules/ext4.ko.xz"); string(m) != "module ext4.ko.xz" {
		t.Errorf("module %q", m)
	}
	if string(l.image) != "kernel" || l.line != j.CommandLine || !s.exists("var/crash") || loaded.InitrdBytes != int64(len(l.initrd)) {
		t.Errorf("image %q, line %q, %+v", l.image, l.line, loaded)
	}
	st, err := s.Status()
	if err != nil || !st.Armed || st.Loaded == nil || st.Loaded.InitrdBytes != loaded.InitrdBytes {
		t.Errorf("status %+v, %v", st, err)
	}
	// At another boot it is somebody else's.
	write(t, s, "proc/sys/kernel/random/boot_id", "boot-2\n")
	if st, err := s.Status(); err != nil || st.Armed || st.Foreign == "" {
		t.Errorf("status %+v, %v", st, err)
	}
	if d, err := s.Disarm(false); err != nil || d.Unloaded || d.Foreign == "" {
		t.Errorf("disarm: %+v, %v", d, err)
	}
	write(t, s, "proc/sys/kernel/random/boot_id", "boot-1\n")
	write(t, s, "sys/kernel/kexec_crash_loaded", "0")
	if st, err := s.Status(); err != nil || st.Armed || !strings.HasPrefix(st.Why, "another program has unloaded the crash kernel") {
		t.Errorf("status %+v, %v", st, err)
	}
	write(t, s, "sys/kernel/kexec_crash_loaded", "1")
	if d, err := s.Disarm(false); err != nil || !d.Unloaded || d.Unit {
		t.Errorf("disarm: %+v, %v", d, err)
	}
	s.User = 1000 // anybody may ask
	if st, err := s.Status(); err != nil || st.Armed || st.Why != "procdump kernel arm has not been run" {
		t.Errorf("status %+v, %v", st, err)
	}
}

// TestReplaceable: who can rename a folder above the dumps' can lead them astray.
func TestReplaceable(t *testing.T) {
	s := tree(t, nil)
	set := settings.Default()
	for mode, warns := range map[os.FileMode]bool{0o755: false, 0o777: true, 0o777 | os.ModeSticky: false} {
		if err := os.MkdirAll(s.file("/var"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(s.file("/var"), mode); err != nil {
			t.Fatal(err)
		}
		j, err := s.Prepare(Request{Settings: set})
		if err != nil {
			t.Fatal(err)
		}
		if text := strings.Join(j.Warnings, " "); strings.Contains(text, "others than root can write /var") != warns {
			t.Errorf("%v: warnings %q", mode, text)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can give a folder away")
	}
	if err := errors.Join(os.Chmod(s.file("/var"), 0o755), os.Chown(s.file("/var"), 65534, -1)); err != nil {
		t.Fatal(err)
	}
	if j, err := s.Prepare(Request{Settings: set}); err != nil || !strings.Contains(strings.Join(j.Warnings, " "), "others than root can write /var") {
		t.Errorf("another user's folder: %+v, %v", j, err)
	}
}

func TestArmDevice(t *testing.T) {
	s := tree(t, nil)
	moduleContents(t, s)
	var l loads
	l.into(t, s)
	set := settings.Default()
	set.Folder = "/dev/vdb"
	var uuid string
	f, err := os.OpenFile(s.file("/dev/vdb"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// Where the mark goes, and where users have their headers.
	for _, off := range []int64{superblock.MarkOffset(32 << 20), 100_000} {
		if _, err := f.WriteAt([]byte("a database"), off); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Prepare(Request{Settings: set}); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "give -o") {
			t.Errorf("a device with content at %d: %v", off, err)
		}
		if _, err := f.WriteAt(make([]byte, 100), off); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.WriteAt([]byte("a database"), 100_000); err != nil {
		t.Fatal(err)
	}
	for again := range 2 {
		j, err := s.Prepare(Request{Settings: set, Replace: again == 0})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := j.Load(); err != nil {
			t.Fatal(err)
		}
		i, err := s.superblock(j.target.device)
		if err != nil || i.Class != superblock.DumpTarget || j.Plan.Target.Device != "UUID="+i.UUID || j.Plan.Target.FSType != "" {
			t.Fatalf("%+v, %v, %+v", i, err, j.Plan.Target)
		}
		if uuid != "" && uuid != i.UUID {
			t.Error("the mark has been replaced")
		}
		uuid = i.UUID
	}
	// One that is too small is not written to.
	if err := f.Truncate(minDevice - 1); err != nil {
		t.Fatal(err)
	}
	j, err := s.Prepare(Request{Settings: set, Replace: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.Load(); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "choose a larger one") {
		t.Errorf("a small device: %v", err)
	}
}

func TestArmFails(t *testing.T) {
	s := tree(t, map[string]string{"sys/kernel/security/lockdown": "none [integrity] confidentiality\n"})
	moduleContents(t, s)
	for _, c := range []struct {
		err  error
		want string
	}{
		{kexec.ErrTooSmall, "crashkernel=256M"},
		{kexec.ErrRefused, "lockdown (integrity)"},
		{kexec.ErrSignature, "signed by a key it trusts"},
	} {
		l := loads{err: c.err}
		l.into(t, s)
		j, err := s.Prepare(Request{Settings: settings.Default()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := j.Load(); !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v; want %q", err, c.want)
		}
		if s.ours() {
			t.Error("it counts as loaded")
		}
	}
}

// TestArmFailsBefore: a crash kernel that stays, because the kernel refuses
// before it drops it, is procdump's still.
func TestArmFailsBefore(t *testing.T) {
	s := tree(t, nil)
	moduleContents(t, s)
	var l loads
	l.into(t, s)
	for _, fails := range []error{nil, kexec.ErrBusy} {
		l.err = fails
		j, err := s.Prepare(Request{Settings: settings.Default()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := j.Load(); !errors.Is(err, fails) {
			t.Fatalf("%v, want %v", err, fails)
		}
	}
	if st, err := s.Status(); err != nil || !st.Armed || st.Foreign != "" {
		t.Errorf("%+v, %v", st, err)
	}
	// Other tools that may replace it are named.
	for _, unit := range []string{"kdump.service", "kdump-tools.service"} {
		write(t, s, "etc/systemd/system/multi-user.target.wants/"+unit, "->x")
	}
	if st, err := s.Status(); err != nil || !st.Armed || !strings.Contains(st.Why, "enabled, too (kdump-tools.service, kdump.service), and") {
		t.Errorf("%+v, %v", st, err)
	}
	// What cannot be unloaded stays, and the cause is told.
	write(t, s, "proc/sys/kernel/kexec_load_disabled", "1")
	s.Unload = func() error { return kexec.ErrRefused }
	if d, err := s.Disarm(false); err == nil || d.Unloaded || !strings.Contains(err.Error(), "kexec_load_disabled") || !s.ours() {
		t.Errorf("%+v, %v", d, err)
	}
}

// TestDisarm unloads another tool's crash kernel only if told to, and removes
// the unit in any case.
func TestDisarm(t *testing.T) {
	for _, anyway := range []bool{false, true} {
		s := tree(t, map[string]string{"run/systemd/system/x": "", "sys/kernel/kexec_crash_loaded": "1", "usr/bin/kdumpctl": ""})
		s.Unload = func() error { write(t, s, "sys/kernel/kexec_crash_loaded", "0"); return nil }
		if _, err := s.InstallUnit("/usr/bin/env", false, nil); err != nil {
			t.Fatal(err)
		}
		s.User = 1000
		if _, err := s.Disarm(anyway); !errors.Is(err, ErrNotRoot) || !s.unitEnabled() {
			t.Errorf("not root: %v", err)
		}
		s.User = 0
		want := Disarmed{Unit: true, Unloaded: anyway}
		if !anyway {
			want.Foreign = "kdump (kexec-tools)"
		}
		d, err := s.Disarm(anyway)
		if err != nil || d != want || s.unitEnabled() || (s.text("sys/kernel/kexec_crash_loaded") == "0") != anyway {
			t.Errorf("%+v, %v; want %+v", d, err, want)
		}
	}
}

// TestArmFailsAfter: a crash kernel that is gone is nobody's, and one of which
// nobody would know does not stay.
func TestArmFailsAfter(t *testing.T) {
	s := tree(t, nil)
	moduleContents(t, s)
	var l loads
	l.into(t, s)
	load := func() error {
		t.Helper()
		j, err := s.Prepare(Request{Settings: settings.Default()})
		if err != nil {
			t.Fatal(err)
		}
		_, err = j.Load()
		return err
	}
	if err := load(); err != nil {
		t.Fatal(err)
	}
	s.Load = func(_, _ *os.File, _ string) error {
		write(t, s, "sys/kernel/kexec_crash_loaded", "0") // it is dropped first
		return kexec.ErrTooSmall
	}
	if err := load(); !errors.Is(err, kexec.ErrTooSmall) {
		t.Fatal(err)
	}
	if st, err := s.Status(); err != nil || st.Armed || st.Why != "procdump kernel arm has not been run" {
		t.Errorf("%+v, %v", st, err)
	}
	l.into(t, s)
	if err := os.RemoveAll(s.file("run")); err != nil {
		t.Fatal(err)
	}
	write(t, s, "run", "a file where a folder is needed")
	if err := load(); err == nil || s.text("sys/kernel/kexec_crash_loaded") != "0" {
		t.Errorf("%v, and the crash kernel is loaded: %s", err, s.text("sys/kernel/kexec_crash_loaded"))
	}
}

// TestQuoteUnit has what systemd reads: a path as it is.
func TestQuoteUnit(t *testing.T) {
	for path, want := range map[string]string{
		"/usr/bin/procdump": "/usr/bin/procdump",
		"/a b":              `"/a b"`,
		`/a"b\c`:            `"/a\"b\\c"`,
		"/100%":             "/100%%",
		"/usr/$a":           "/usr/$a",
		"/a;b":              `"/a;b"`,
	} {
		if got := quoteUnit(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func TestUnit(t *testing.T) {
	s := tree(t, map[string]string{"run/systemd/system/x": ""})
	program := "/usr/bin/env" // root's
	if ok, err := s.InstallUnit(program, true, []string{"/a b"}); err != nil || !ok {
		t.Fatalf("%v, %v", ok, err)
	}
	b, err := os.ReadFile(s.file(unitFile()))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ExecStart=/usr/bin/env kernel arm -boot -o\n", "RequiresMountsFor=\"/a b\"\n", "kdump-tools.service\n", "WantedBy=sysinit.target\n"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %q in\n%s", want, b)
		}
	}
	if to, err := os.Readlink(s.file(unitLink())); err != nil || to != unitFile() || !s.unitEnabled() {
		t.Errorf("link to %s, %v", to, err)
	}
	if _, err := s.InstallUnit(program, false, nil); err != nil {
		t.Errorf("again: %v", err)
	}
	if found, err := s.removeUnit(); err != nil || !found || s.unitEnabled() {
		t.Errorf("remove: %v, %v", found, err)
	}
	mine := filepath.Join(t.TempDir(), "procdump")
	if err := os.WriteFile(mine, nil, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := s.InstallUnit(mine, false, nil); !errors.Is(err, ErrUntrusted) {
		t.Errorf("untrusted: %v", err)
	}
	os.RemoveAll(s.file("run/systemd"))
	if ok, err := s.InstallUnit(program, false, nil); ok || err != nil {
		t.Errorf("without systemd: %v, %v", ok, err)
	}
}

// TestProgram: what the crash kernel gets of a program runs, and holds no
// symbols.
func TestProgram(t *testing.T) {
	p, err := openProgram("/proc/self/exe")
	if err != nil {
		t.Fatal(err) // a test that is linked with libc: CGO_ENABLED=0
	}
	defer p.Close()
	b, err := io.ReadAll(p.reader())
	if err != nil || int64(len(b)) != p.size {
		t.Fatalf("%d bytes of %d, %v", len(b), p.size, err)
	}
	file := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(file, b, 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(file, "-test.list", "^TestProgram$").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "TestProgram") {
		t.Errorf("%v\n%s", err, out)
	}
	if p, err := openProgram("/bin/sh"); err == nil || !strings.Contains(err.Error(), "needs shared libraries") {
		t.Errorf("a program that needs libc: %+v, %v", p, err)
	}
	f, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if len(f.Sections) > 0 {
		t.Errorf("%d sections", len(f.Sections))
	}
}
