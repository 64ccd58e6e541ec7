package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"procdump/kdump"
	"procdump/kdump/diskdump"
	"procdump/kdump/vmcore"
	"procdump/kernel/capture"
)

func TestParseConvert(t *testing.T) {
	t.Chdir(t.TempDir())
	o, err := parseConvert([]string{"-type", "Kernel", "/z", "snappy", "in", "out.kdump", "-o"})
	if err != nil || o.In != "in" || o.Path != "out.kdump" || o.Kind != capture.Kernel || o.Compression != diskdump.Snappy || !o.Overwrite || o.AsIs {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err = parseConvert([]string{"in", "-"}); err != nil || !o.AsIs || o.Small || o.Compression != diskdump.Zstd {
		t.Errorf("%+v, %v", o, err)
	}
	o, err = parseConvert([]string{"-type", "small", "in", "x.kdump"})
	if err == nil {
		err = o.ofKernel()
	}
	if err != nil || !o.Small || o.AsIs || o.Format != capture.ELF {
		t.Errorf("%+v, %v", o, err)
	}
	for _, c := range []struct{ line, want string }{
		{"-mm -type kernel in out", "leave one out"},
		{"-mm -mp in out", "two kinds"},
		{"-format lime in out", "unknown format"},
		{"in", "give the dump to convert"},
		{"in out more", "one word too many"},
		{"- out", "standard input"},
		{"-nonsense in out", "unknown switch"},
		{"-type in out", "unknown kind"},
		{"in out -type", "missing KIND"},
		{"-z zstd -z zstd in out", "given twice"},
		{"-format elf -z zstd in out", "not compressed"},
		{"-type small -z zstd in out", "not compressed"},
		{"-type small -format kdump in out", "small dump is ELF"},
		{"-o in -", "no file to overwrite"},
	} {
		o, err := parseConvert(strings.Fields(c.line))
		if err == nil {
			err = o.ofKernel()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.line, err, c.want)
		}
	}
}

func TestConvertHelp(t *testing.T) {
	golden(t, "testdata/converthelp.golden", convertHelp())
	t.Chdir(t.TempDir())
	for _, e := range convertExamples {
		if _, err := parseConvert(strings.Fields(e.name)[2:]); err != nil {
			t.Errorf("%s: %v", e.name, err)
		}
	}
}

// convertFile runs procdump convert and returns its exit code and output.
func convertFile(t testing.TB, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	dir := t.TempDir()
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	errs, err := os.Create(filepath.Join(dir, "err"))
	if err != nil {
		t.Fatal(err)
	}
	defer errs.Close()
	code = convertMain(args, out, errs)
	a, err := os.ReadFile(out.Name())
	b, err2 := os.ReadFile(errs.Name())
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	return code, string(a), string(b)
}

// writeFakeVMCore writes the memory of a fakeKernel as ELF, without some pages.
func writeFakeVMCore(t *testing.T) string {
	t.Helper()
	k := newFakeKernel()
	var b bytes.Buffer
	if _, err := vmcore.Write(context.Background(), &b, k.Dump(), func(yield func(kdump.PageRun) bool) {
		_ = yield(kdump.PageRun{PFN: 0, Count: 10}) && yield(kdump.PageRun{PFN: 20, Count: 5})
	}, vmcore.Options{DumpLevel: 16}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "vmcore")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestConvertAsIs: format and compression change, and nothing else.
func TestConvertAsIs(t *testing.T) {
	in := writeFakeVMCore(t)
	for _, args := range [][]string{{"-z", "none"}, {"-z", "zlib"}, {}, {"-format", "elf"}} {
		dir := t.TempDir()
		code, out, errs := convertFile(t, append(append([]string{"-json"}, args...), in, dir)...)
		if code != ExitOK {
			t.Fatalf("%v: code %d: %s%s", args, code, out, errs)
		}
		var e kernelCompleteEvent
		for line := range strings.Lines(out) {
			if strings.Contains(line, `"kernelComplete"`) {
				if err := json.Unmarshal([]byte(line), &e); err != nil {
					t.Fatal(err)
				}
			}
		}
		if e.Kind != kindUnchanged || e.Pages != 15 || filepath.Dir(e.Path) != dir {
			t.Errorf("%v: %+v", args, e)
		}
		f, d, err := openKernelFile(e.Path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if d.DumpLevel != 16 || d.Uname.Release != "6.1.0" || len(d.Runs) != 1 || d.Runs[0].Size != 32*4096 {
			t.Errorf("%v: %+v", args, d)
		}
		b := make([]byte, 4096)
		for pfn := range uint64(32) {
			_, err := d.Memory.ReadPhys(b, pfn*4096)
			if want := pfn < 10 || pfn >= 20 && pfn < 25; (err == nil) != want || want && b[100] != byte(pfn) {
				t.Errorf("%v: page %d: %v", args, pfn, err)
			}
		}
	}
}

func TestConvertRefused(t *testing.T) {
	dir, in := t.TempDir(), writeFakeVMCore(t)
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text+strings.Repeat("\x00", 10000)), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		in, out string
		args    []string
		code    int
		want    string
	}{
		{in: filepath.Join(dir, "none"), code: ExitFailed, want: "no such file"},
		{in: dir, code: ExitFailed, want: "neither a file nor a block device"},
		{in: "/dev/null", code: ExitFailed, want: "neither a file nor a block device"},
		{in: file("text", "hello"), code: ExitFailed, want: "or of a kernel (kdump-compressed"},
		{in: file("mini", "MDMP"), code: ExitFailed, want: "read dump"},
		{in: file("windows", "PAGEDU64"), code: ExitFailed, want: "WinDbg"},
		{in: file("zst", "\x28\xb5\x2f\xfd"), code: ExitFailed, want: "zstd -d"},
		{in: in, out: in, args: []string{"-o"}, code: ExitUsage, want: "into itself"},
		{in: in, args: []string{"-type", "small"}, code: ExitFailed, want: "small dump"},
	} {
		if c.out == "" {
			c.out = filepath.Join(dir, "out.kdump")
		}
		code, out, errs := convertFile(t, append(c.args, c.in, c.out)...)
		if code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("%s: code %d, want %d and %q: %s%s", c.in, code, c.code, c.want, out, errs)
		}
		if _, err := os.Stat(filepath.Join(dir, "out.kdump")); err == nil {
			t.Fatalf("%s: left behind", c.in)
		}
	}
}

// TestConvertUnknown: where the uses of pages cannot be found out, all are kept.
func TestConvertUnknown(t *testing.T) {
	in, out := writeFakeVMCore(t), filepath.Join(t.TempDir(), "x.kdump")
	code, text, errs := convertFile(t, "-type", "kernel", in, out)
	if code != ExitOK || !strings.Contains(errs, "all pages of the dump are kept") || !strings.Contains(text, "15 pages") {
		t.Errorf("code %d: %s%s", code, text, errs)
	}
	f, d, err := openKernelFile(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if d.DumpLevel != 16 {
		t.Errorf("level %d of a dump in which nothing more is left out", d.DumpLevel)
	}
}
