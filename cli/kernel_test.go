package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"procdump/arch"
	"procdump/kdump"
	"procdump/kdump/diskdump"
	"procdump/kernel/capture"
	"procdump/kernel/live"
	"procdump/kernel/pages"
)

func TestParseKernel(t *testing.T) {
	t.Chdir(t.TempDir())
	zstd := kernelOptions{Compression: diskdump.Zstd}
	with := func(change func(*kernelOptions)) *kernelOptions {
		o := zstd
		change(&o)
		return &o
	}
	for _, c := range []struct {
		line string
		want *kernelOptions
	}{
		{"", &zstd},
		{"-type complete", with(func(o *kernelOptions) { o.Kind = capture.Complete })},
		{"/TYPE Active x.kdump", with(func(o *kernelOptions) { o.Kind, o.Path = capture.Active, "x.kdump" })},
		{"x -o --json", with(func(o *kernelOptions) { o.Path, o.Overwrite, o.JSON = "x", true, true })},
		{"- -format elf", with(func(o *kernelOptions) { o.Path, o.Format = "-", capture.ELF })},
		{"-z snappy -", with(func(o *kernelOptions) { o.Path, o.Compression = "-", diskdump.Snappy })},
		{"-z none x.elf", with(func(o *kernelOptions) { o.Path, o.Compression = "x.elf", diskdump.Stored })},
		{"-type SMALL", with(func(o *kernelOptions) { o.Small, o.Format = true, capture.ELF })},
		{"-type small -z none", with(func(o *kernelOptions) { o.Small, o.Format, o.Compression = true, capture.ELF, diskdump.Stored })},
		{"-type small -pid 42 -format elf x", with(func(o *kernelOptions) { o.Small, o.PID, o.Format, o.Path = true, 42, capture.ELF, "x" })},
		{"-- -o", with(func(o *kernelOptions) { o.Path = "-o" })},
		{"/tmp", with(func(o *kernelOptions) { o.Path = "/tmp" })},
		{"./arm", with(func(o *kernelOptions) { o.Path = "./arm" })},
		{"-type kernel -? -nonsense", &kernelOptions{Help: true}},
	} {
		o, err := parseKernel(strings.Fields(c.line))
		if err != nil || *o != *c.want {
			t.Errorf("%s: %+v, %v; want %+v", c.line, o, err, c.want)
		}
	}
}

func TestParseKernelErrors(t *testing.T) {
	t.Chdir(t.TempDir())
	for line, want := range map[string]string{
		"-type":                     "missing KIND",
		"-type full":                "choose complete, kernel, automatic, active or small",
		"-type small -z zlib":       "a small dump is not compressed",
		"-type small -format kdump": "a small dump is ELF",
		"-type small -pid 0":        "give the number of a process",
		"-type small -pid self":     "give the number of a process",
		"-type kernel -pid 7":       "add -type small",
		"-type kernel -type x":      "given twice",
		"-format lime":              "choose kdump or elf",
		"-z lzo":                    "choose none, zlib, snappy or zstd",
		"-z zstd -format elf":       "an ELF dump is not compressed",
		"-z zstd -format elf -":     "an ELF dump is not compressed",
		"-z zstd x.elf":             "an ELF dump is not compressed",
		"-pid 1":                    "add -type small",
		"arm":                       "procdump kernel arm",
		"config":                    "a file of that name is ./config",
		"a b":                       `"b" is one word too many`,
		"-- ":                       "",
		"-":                         "",
		"- -o":                      "standard output is no file",
		"-ma":                       "unknown switch",
		"--":                        "",
		"-type automatic status ":   "a file of that name is ./status",
	} {
		_, err := parseKernel(strings.Fields(line))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
	if _, err := parseKernel([]string{""}); err == nil {
		t.Error("an empty path is accepted")
	}
}

func TestKernelHelp(t *testing.T) {
	help := kernelHelp()
	for i, line := range strings.Split(help, "\n") {
		if len(line) > helpWidth || strings.TrimRight(line, " ") != line {
			t.Errorf("line %d: %q", i+1, line)
		}
	}
	for _, s := range kernelSwitches {
		if !strings.Contains(help, "\n  -"+s.name+" ") {
			t.Errorf("-%s is not there", s.name)
		}
	}
	golden(t, "testdata/kernelhelp.golden", help)
	t.Chdir(t.TempDir())
	for _, e := range kernelExamples {
		words := strings.Fields(strings.Split(e.name, " |")[0])
		if findVerb(verbs(), words[1:]) == nil {
			t.Fatalf("%s is not about the kernel", e.name)
		}
		if _, err := parseKernel(words[2:]); err != nil {
			t.Errorf("%s: %v", e.name, err)
		}
	}
}

// fakeKernel is memory of 32 pages, of which eight are free and one is new at
// each look.
type fakeKernel struct{ dump kdump.Dump }

func newFakeKernel() *fakeKernel {
	k := &fakeKernel{kdump.Dump{
		Arch: arch.AMD64, PageSize: 4096, Runs: []kdump.Run{{Size: 32 * 4096}}, CPUs: make([]kdump.CPU, 2),
		VMCoreInfo: []byte("OSRELEASE=6.1.0\n"), Time: time.Date(2026, 3, 4, 15, 6, 7, 0, time.Local),
		Uname: kdump.Uname{Sysname: "Linux", Nodename: "host", Release: "6.1.0", Machine: "x86_64"},
	}}
	k.dump.Memory = k
	return k
}

func (k *fakeKernel) Dump() *kdump.Dump            { return &k.dump }
func (k *fakeKernel) Live() bool                   { return true }
func (k *fakeKernel) Pages() (pages.Source, error) { return k, nil }

func (k *fakeKernel) Classify(pfn uint64, out []pages.Page) error {
	for i := range out {
		out[i] = pages.Page(pages.Slab)
		if pfn+uint64(i) < 8 {
			out[i] = pages.Page(pages.Free)
		}
	}
	return nil
}

func (k *fakeKernel) ReadPhys(b []byte, addr uint64) (int, error) {
	for i := range b {
		b[i] = byte((addr + uint64(i)) >> 12)
	}
	return len(b), nil
}

// dumpFake dumps a fakeKernel to the path and returns what is printed.
func dumpFake(t *testing.T, asJSON bool, path string) (stdout, stderr string) {
	t.Helper()
	name, err := capture.ParseName(path, capture.FormatAuto)
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	c := NewConsole(ConsoleConfig{Out: &out, Err: &errs, JSON: asJSON})
	src := newFakeKernel()
	o := &kernelOptions{Kind: capture.Kernel, Compression: diskdump.Stored, Path: path}
	d := newKernelConsole(c, o, name.Format())
	d.Source(src.Dump(), live.Guests{VMs: 2, Pages: 512}, []string{"it is a fake"})
	j := capture.NewJob(src, capture.Options{Kind: o.Kind, Format: name.Format(), Compression: o.Compression, Name: name})
	defer j.Discard()
	if err := j.Prepare(context.Background()); err != nil {
		t.Fatal(err)
	}
	d.Initiated(j)
	res, err := j.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	d.Complete(j, res, 1500*time.Millisecond)
	d.Failed(os.ErrDeadlineExceeded)
	c.Close()
	return out.String(), errs.String()
}

func TestKernelConsole(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the lines are those of Linux")
	}
	dir := t.TempDir()
	out, errs := dumpFake(t, false, dir)
	for _, want := range []string{
		`Linux 6\.1\.0 \(x86_64\) on host: 128\.0 KB of memory, 2 CPUs, 2 virtual machines with 2\.0 MB\n`,
		`Dump 1 info: Available space: \d+\n`,
		`Dump 1 initiated: .*/vmcore_260304_150607\.kdump\n`,
		`Dump 1 writing: Estimated dump file size is 1 MB\.\n`,
		`Dump 1 complete: 1 MB written in 1\.5 seconds\n  file     .*/vmcore_260304_150607\.kdump\n  size     .* on disk\n  time     1\.50 s\n` +
			`  memory   24 pages, 96\.0 KB\n  left out free 32\.0 KB\n  open     crash /usr/lib/debug/boot/vmlinux-6\.1\.0 .*\n {11}drgn -c .*\n`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
	if !strings.Contains(errs, "warning: it is a fake") || !strings.Contains(errs, "Dump 1 error: ") {
		t.Errorf("errors:\n%s", errs)
	}
}

func TestKernelEvents(t *testing.T) {
	dir := t.TempDir()
	out, _ := dumpFake(t, true, filepath.Join(dir, "x.elf"))
	var names []string
	for line := range strings.Lines(out) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		name := e["event"].(string)
		names = append(names, name)
		for field, want := range map[string]map[string]string{
			"kernel":    {"release": "6.1.0", "machine": "x86_64", "host": "host", "cpus": "2", "memoryBytes": "131072", "virtualMachines": "2"},
			"initiated": {"kind": "kernel", "format": "elf", "compressed": "false", "process": "kernel", "pid": "0"},
			"kernelComplete": {"kind": "kernel", "format": "elf", "compression": "none", "pages": "24", "zeroPages": "0", "latePages": "0",
				"missedPages": "0", "leftOutBytes": "map[free:32768]", "elapsedMicros": "1.5e+06", "path": filepath.Join(dir, "x.elf")},
		}[name] {
			if got := fmt.Sprint(e[field]); got != want {
				t.Errorf("%s: %s is %s, want %s", name, field, got, want)
			}
		}
	}
	if got := strings.Join(names, " "); !regexp.MustCompile(`^kernel warning (space )?initiated estimate kernelComplete failed$`).MatchString(got) {
		t.Errorf("events %s", got)
	}
}

// TestKernelDocument compares docs/kernel.md with the events: "### name"
// headings, then "| `field` | …" rows.
func TestKernelDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/kernel.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `([a-zA-Z]+)` \\|")
	for name, event := range map[string]any{"kernel": kernelEvent{}, "kernelComplete": kernelCompleteEvent{}} {
		_, section, ok := strings.Cut(string(text), "\n### "+name+"\n")
		if !ok {
			t.Fatalf("event %s is not documented", name)
		}
		section, _, _ = strings.Cut(section, "\n### ")
		got := []string{"event", "time"} // of all events
		for _, m := range row.FindAllStringSubmatch(section, -1) {
			got = append(got, m[1])
		}
		if want := jsonFields(reflect.TypeOf(event)); !slices.Equal(got, want) {
			t.Errorf("event %s: documented fields %q, has %q", name, got, want)
		}
	}
}
