package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"procdump/internal/sys/kexec"
	"procdump/kernel/arm"
	"procdump/kernel/rescue"
	"procdump/kernel/settings"
	"procdump/kernel/space"
)

func TestParseArm(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, c := range []struct {
		line string
		want armOptions
	}{
		{"", armOptions{}},
		{"-type kernel -to /mnt/x", armOptions{Kind: "kernel", To: "/mnt/x"}},
		{"/TYPE small --to dumps -O", armOptions{Kind: "small", To: filepath.Join(dir, "dumps"), Replace: true}},
		{"-test -json", armOptions{Test: true, JSON: true}},
		{"-boot -o", armOptions{Boot: true, Replace: true}},
		{"-test -? -nonsense", armOptions{Help: true}},
	} {
		if o, err := parseArm(armVerb, armSwitches, strings.Fields(c.line)); err != nil || *o != c.want {
			t.Errorf("%s: %+v, %v; want %+v", c.line, o, err, c.want)
		}
	}
	for line, want := range map[string]string{
		"-type":           "missing KIND",
		"-to":             "missing PLACE",
		"-to a -to b":     "given twice",
		"-format elf":     "unknown switch; procdump kernel arm -? lists the switches",
		"/mnt":            `"/mnt" is no switch, and procdump kernel arm takes nothing else`,
		"-boot -test":     "by the settings alone",
		"-boot -type all": "by the settings alone",
	} {
		var usage *UsageError
		if _, err := parseArm(armVerb, armSwitches, strings.Fields(line)); !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", line, err, want)
		}
	}
	if _, err := parseArm(statusVerb, statusSwitches, []string{"-o"}); err == nil {
		t.Error("status takes -o")
	}
}

func TestArmApply(t *testing.T) {
	for _, c := range []struct {
		o                   armOptions
		kind, folder, small string
		changed             bool
	}{
		{armOptions{}, "automatic", "/var/crash", "/var/crash/small", false},
		{armOptions{Kind: "automatic", To: "/var/crash"}, "automatic", "/var/crash", "/var/crash/small", false},
		{armOptions{Kind: "active"}, "active", "/var/crash", "/var/crash/small", true},
		{armOptions{To: "/data/d"}, "automatic", "/data/d", "/data/d/small", true},
		{armOptions{To: "/dev/sdb"}, "automatic", "/dev/sdb", "/var/crash/small", true},
	} {
		s := settings.Default()
		changed, err := c.o.apply(&s)
		if err != nil || changed != c.changed || string(s.Kind) != c.kind || s.Folder != c.folder || s.SmallFolder != c.small {
			t.Errorf("%+v: %v, %v, %+v", c.o, changed, err, s)
		}
	}
	s := settings.Default()
	s.SmallFolder = "/other"
	o := armOptions{To: "/data"}
	if _, err := o.apply(&s); err != nil || s.SmallFolder != "/other" {
		t.Errorf("%v, %+v", err, s)
	}
	o = armOptions{Kind: "full"}
	if _, err := o.apply(&s); armExit(err) != ExitUsage {
		t.Errorf("%v", err)
	}
}

func TestArmExit(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
	}{
		{&arm.Error{Err: arm.ErrNotRoot}, ExitPermission},
		{&arm.Error{Err: kexec.ErrRefused}, ExitPermission},
		{&arm.Error{Err: arm.ErrReservation}, ExitFailed},
		{&settings.Error{Key: "kind"}, ExitUsage},
		{&settings.Error{File: "x", Key: "kind"}, ExitFailed},
		{errCancelled, ExitCancelled},
	} {
		if code := armExit(c.err); code != c.code {
			t.Errorf("%v: %d, want %d", c.err, code, c.code)
		}
	}
}

// armConsole is a console whose lines can be read.
func armConsole(t *testing.T) (*Console, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	c := NewConsole(ConsoleConfig{Out: &out, Err: &out})
	t.Cleanup(c.Close)
	return c, &out
}

func TestArmConfirm(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for input, ok := range map[string]bool{host + "\n": true, " " + host + " \nmore": true, host: true, "": false, "yes\n": false, "\n" + host: false} {
		c, out := armConsole(t)
		a := &arming{console: c, in: strings.NewReader(input)}
		err := a.confirm(context.Background(), &arm.Job{Plan: rescue.Plan{Settings: settings.Default()}})
		if (err == nil) != ok {
			t.Errorf("%q: %v", input, err)
		}
		c.Flush()
		if !strings.Contains(out.String(), "The machine starts again") || !strings.Contains(out.String(), host) {
			t.Errorf("it says %s", out)
		}
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errCancelled)
	c, _ := armConsole(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	a := &arming{console: c, in: r}
	if err := a.confirm(ctx, &arm.Job{}); !errors.Is(err, errCancelled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestShowStatus is about a machine without memory for a crash kernel.
func TestShowStatus(t *testing.T) {
	root := t.TempDir()
	for name, content := range map[string]string{
		"sys/kernel/kexec_crash_loaded": "0\n", "sys/kernel/kexec_crash_size": "0\n",
		"proc/cmdline": "quiet\n", "proc/meminfo": "MemTotal: 8000000 kB\n", "usr/sbin/grubby": "",
	} {
		file := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	c, out := armConsole(t)
	manager := func(s settings.Settings) *space.Manager {
		m := space.New(s)
		m.StateFile = filepath.Join(root, "state")
		return m
	}
	sys := &arm.System{Root: root, Release: "6.1", Machine: "amd64", User: 1000}
	if err := showStatus(c, sys, filepath.Join(root, "none.toml"), manager); err != nil {
		t.Fatal(err)
	}
	c.Flush()
	for _, want := range []string{
		"Armed             no\n", `grubby --update-kernel=ALL --args="crashkernel=192M"`, "Kind              automatic\n",
		"To                /var/crash\n", "Reserved memory   none", "Last crash        none is known\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// TestBootNone gives back at boot what was set aside for another kind.
func TestBootNone(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "kernel.toml")
	set := settings.Default()
	set.Kind, set.Folder, set.SmallFolder = settings.None, filepath.Join(dir, "crash"), filepath.Join(dir, "crash/small")
	reserved := filepath.Join(set.Folder, space.ReservedName)
	if err := errors.Join(os.Mkdir(set.Folder, 0o700), os.WriteFile(reserved, make([]byte, 4096), 0o600), set.Save(file)); err != nil {
		t.Fatal(err)
	}
	c, out := armConsole(t)
	manager := func(s settings.Settings) *space.Manager {
		m := space.New(s)
		m.StateFile = filepath.Join(dir, "state/space.json")
		return m
	}
	a := &arming{o: &armOptions{Boot: true}, console: c, settingsFile: file, manager: manager}
	err := a.boot(context.Background())
	if runtime.GOOS != "linux" {
		if err == nil {
			t.Error("there are crash kernels on Linux only")
		}
		return
	}
	c.Flush()
	if _, statErr := os.Lstat(reserved); err != nil || !errors.Is(statErr, os.ErrNotExist) {
		t.Errorf("%v; the space set aside: %v\n%s", err, statErr, out)
	}
}

// TestDisarmDamagedSettings gives back what was set aside, and says what is wrong
// with the settings.
func TestDisarmDamagedSettings(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there are crash kernels on Linux only")
	}
	dir := t.TempDir()
	reserved := filepath.Join(dir, "crash", space.ReservedName)
	state := fmt.Sprintf(`{"file": %q, "reserved": 4096}`, reserved)
	file := filepath.Join(dir, "kernel.toml")
	if err := errors.Join(os.Mkdir(filepath.Dir(reserved), 0o700), os.WriteFile(reserved, make([]byte, 4096), 0o600),
		os.WriteFile(filepath.Join(dir, "state.json"), []byte(state), 0o600), os.WriteFile(file, []byte("kind = 5\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	c, out := armConsole(t)
	manager := func(s settings.Settings) *space.Manager {
		s.Folder = filepath.Join(dir, "none") // not this machine's own
		m := space.New(s)
		m.StateFile = filepath.Join(dir, "state.json")
		return m
	}
	a := &arming{o: &armOptions{}, console: c, system: &arm.System{Root: dir}, settingsFile: file, manager: manager}
	if err := a.disarm(); err != nil {
		t.Fatal(err)
	}
	c.Flush()
	if _, err := os.Lstat(reserved); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the space set aside: %v", err)
	}
	if !strings.Contains(out.String(), file+", line 1: kind: ") {
		t.Errorf("nothing is said of the settings:\n%s", out)
	}
}

func TestArmHelp(t *testing.T) {
	help := armHelp()
	for _, s := range armSwitches {
		if listed := strings.Contains(help, "\n  -"+s.name+" "); listed != (s.help != "") {
			t.Errorf("-%s is listed: %v", s.name, listed)
		}
	}
	for line := range strings.Lines(help) {
		if len(line) > 82 {
			t.Errorf("a line of %d bytes: %s", len(line), line)
		}
	}
	golden(t, "testdata/kernelarmhelp.golden", help)
}
