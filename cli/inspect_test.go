package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"procdump/inspect/kernel/kerneltest"
)

// inspectSample is a small dump of a kernel.
func inspectSample(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "small.elf")
	if err := os.WriteFile(file, kerneltest.Small(t), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// inspected runs procdump inspect.
func inspected(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	return typed(t, append([]string{"inspect"}, args...)...)
}

func TestInspect(t *testing.T) {
	dump := inspectSample(t)
	const reason = "Null pointer dereference at address 0x0 in function msr_read of module msr"
	code, out, errOut := inspected(t, dump)
	if code != ExitOK || !strings.HasPrefix(out, reason) || errOut != "" {
		t.Errorf("code %d, %q, %q", code, out, errOut)
	}
	code, out, _ = inspected(t, "-json", dump)
	if code != ExitOK || !strings.HasPrefix(out, "{") || !strings.Contains(out, `"reason": "`+reason) {
		t.Errorf("code %d, %q", code, out)
	}

	report := filepath.Join(t.TempDir(), "report")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{dump, report}, ExitOK, ""},
		{[]string{dump, report}, ExitFailed, "is there already"},
		{[]string{"-JSON", "--o", dump, report}, ExitOK, ""},
		{[]string{dump, filepath.Join(report, "none")}, ExitFailed, "report"},
		{[]string{"-o", dump, dump}, ExitUsage, "is the dump itself"},
		{[]string{"-o", dump, os.DevNull}, ExitFailed, "is no regular file"},
		{[]string{"-o", dump, t.TempDir()}, ExitFailed, "is no regular file"},
		{[]string{"-redact", dump}, ExitUsage, "-redact: it is for processes"},
		{[]string{"-sysroot", t.TempDir(), dump}, ExitUsage, "-sysroot: it is for processes"},
		{[]string{"-sympath", t.TempDir(), dump}, ExitUsage, "-sympath: it is for processes"},
		{[]string{dump, report + ".html"}, ExitFailed, "the dump of a kernel, whose report is text or JSON"},
	} {
		if code, _, errOut := inspected(t, c.args...); code != c.code || !strings.Contains(errOut, c.want) {
			t.Errorf("%q: code %d, %q", c.args, code, errOut)
		}
	}
	b, err := os.ReadFile(report)
	if err != nil || !strings.HasPrefix(string(b), "{") {
		t.Errorf("report %q, %v", b, err)
	}
	if names, _ := filepath.Glob(filepath.Join(filepath.Dir(report), ".procdump-*")); len(names) != 0 {
		t.Errorf("left behind: %q", names)
	}
}

func TestInspectErrors(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{nil, ExitUsage, "no dump is given"},
		{[]string{"-x", "f"}, ExitUsage, "unknown switch"},
		{[]string{"a", "b", "c"}, ExitUsage, "is one word too many"},
		{[]string{"a", "b.html", "c.HTM"}, ExitUsage, "is one word too many"},
		{[]string{"b.html"}, ExitUsage, "no dump is given"},
		{[]string{"-"}, ExitUsage, "file first"},
		{[]string{""}, ExitUsage, "a path is empty"},
		{[]string{"a", ""}, ExitUsage, "a path is empty"},
		{[]string{filepath.Join(dir, "none")}, ExitFailed, "no such file"},
		{[]string{dir}, ExitFailed, "neither a file nor a block device"},
		{[]string{write("text", "just text")}, ExitFailed, "it begins with 6a 75 73 74 20 74 65 78; name the dump of a process (an ELF core or a minidump, compressed by zstd or not) or of a kernel (kdump"},
		{[]string{write("empty", "")}, ExitFailed, "it is empty; name the dump of a process (an ELF core or a minidump"},
		{[]string{write("mini.dmp", "MDMP\x93\xa7\x00\x00")}, ExitFailed, "no minidump header"},
		{[]string{os.Args[0]}, ExitFailed, "it is no core dump"},
		{[]string{"-sysroot", filepath.Join(dir, "none"), "f"}, ExitUsage, "-sysroot: stat"},
		{[]string{"-sysroot", filepath.Join(dir, "text"), "f"}, ExitUsage, "is no folder"},
		{[]string{"-sympath", dir + string(filepath.ListSeparator) + filepath.Join(dir, "none"), "f"}, ExitUsage, "-sympath: stat"},
		{[]string{"-sympath"}, ExitUsage, "missing DIR"},
	} {
		code, out, errOut := inspected(t, c.args...)
		if code != c.code || out != "" || !strings.Contains(errOut, c.want) {
			t.Errorf("%q: code %d, %q, %q; want %d, %q", c.args, code, out, errOut, c.code, c.want)
		}
	}
	code, out, _ := inspected(t, "-?")
	if code != ExitOK {
		t.Errorf("help: code %d", code)
	}
	golden(t, "testdata/inspecthelp.golden", out)
}
