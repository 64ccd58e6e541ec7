package cli

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"procdump/capture"
	"procdump/corepattern"
	"procdump/dumpkind"
	"procdump/victims/need"
)

// handlerSystem is a machine in a folder that only root can write.
func handlerSystem(t *testing.T) (corepattern.System, string) {
	t.Helper()
	need.Root(t)
	if runtime.GOOS != "linux" {
		t.Skip("core_pattern is Linux's")
	}
	dir, err := os.MkdirTemp("/var/lib", "procdump-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for name, content := range map[string]string{"core_pattern": "core\n", "core_pipe_limit": "0\n", "core_uses_pid": "0\n", "h": "#!"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return corepattern.System{Kernel: dir, Sysctl: dir, State: dir, Executable: filepath.Join(dir, "h")}, dir
}

func printed(f func(c *Console) int) (code int, out, errs string) {
	var o, e bytes.Buffer
	c := NewConsole(ConsoleConfig{Out: &o, Err: &e})
	code = f(c)
	c.Close()
	return code, o.String(), e.String()
}

func TestInstallAndUninstall(t *testing.T) {
	sys, dir := handlerSystem(t)
	set, err := handlerSettings(&Options{Kinds: []dumpkind.Kind{dumpkind.MiniPlus}, Path: filepath.Join(dir, "dumps"), Format: capture.FormatMinidump, TimeLimit: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	code, out, errs := printed(func(c *Console) int { return install(c, sys, set, false) })
	if code != ExitOK || errs != "" {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
	for _, want := range []string{"dumped to " + dir + "/dumps.", "miniplus", "minidump", "PROCESSNAME_PID_EXCEPTIONCODE", "the newest 1000 dumps, 1.0 GiB of the disk free", `core_pattern was "core"`} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	code, out, errs = printed(func(c *Console) int { return uninstall(c, sys, false) })
	if code != ExitOK || errs != "" || !strings.Contains(out, `core_pattern is "core" again`) {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	code, out, errs = printed(func(c *Console) int { return uninstall(c, sys, false) })
	if code != ExitFailed || !strings.Contains(errs, "not installed") {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
}

func TestInstallRefusesOtherTools(t *testing.T) {
	sys, dir := handlerSystem(t)
	theirs := "|/usr/lib/systemd/systemd-coredump %P %u %g %s %t %c %h\n"
	if err := os.WriteFile(filepath.Join(dir, "core_pattern"), []byte(theirs), 0o644); err != nil {
		t.Fatal(err)
	}
	set := corepattern.Settings{Folder: filepath.Join(dir, "dumps")}
	code, _, errs := printed(func(c *Console) int { return install(c, sys, set, false) })
	if code != ExitFailed || !strings.Contains(errs, "systemd-coredump") || !strings.Contains(errs, "-o replaces it") {
		t.Errorf("exit code %d, %s", code, errs)
	}
	if code, _, errs := printed(func(c *Console) int { return install(c, sys, set, true) }); code != ExitOK {
		t.Errorf("with -o: exit code %d, %s", code, errs)
	}
	other := "|/usr/bin/other %P\n"
	if err := os.WriteFile(filepath.Join(dir, "core_pattern"), []byte(other), 0o644); err != nil {
		t.Fatal(err)
	}
	code, _, errs = printed(func(c *Console) int { return uninstall(c, sys, false) })
	if code != ExitOK || !strings.Contains(errs, "/usr/bin/other") {
		t.Errorf("exit code %d, %s", code, errs)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "core_pattern")); string(b) != other {
		t.Errorf("core_pattern is %q", b)
	}
}

func TestHandlerSettingsRefuse(t *testing.T) {
	for _, o := range []*Options{{KernelStacks: true}, {View64: true}} {
		_, err := handlerSettings(o)
		var usage *UsageError
		if !errors.As(err, &usage) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestHandle(t *testing.T) {
	if isHandler(nil) || isHandler([]string{"-i", "-j"}) || !isHandler([]string{"-j"}) {
		t.Error("what makes a handler")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	if code := handle([]string{"-j", "nonsense"}, r); code == ExitOK {
		t.Error("a crash without facts was dumped")
	}
}
