package cli

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"procdump/arch"
	"procdump/snapshot"
)

// sampleFile writes a sample into a file of its own.
func sampleFile(t testing.TB, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// opened reads the dump of a process.
func opened(t testing.TB, path string) *snapshot.Process {
	t.Helper()
	d, err := openDump(path)
	if err != nil || d == nil {
		t.Fatalf("%s: %v, %v", path, d, err)
	}
	t.Cleanup(d.Close)
	return d.process
}

// sameProcess compares registers, modules and memory: got has what want has.
func sameProcess(t testing.TB, who string, got, want *snapshot.Process) {
	t.Helper()
	if len(got.Threads) != len(want.Threads) || len(got.Modules) != len(want.Modules) || got.PID != want.PID {
		t.Fatalf("%s: %d threads, %d modules, PID %d; want %d, %d, %d", who, len(got.Threads), len(got.Modules), got.PID,
			len(want.Threads), len(want.Modules), want.PID)
	}
	for i := range want.Threads {
		g, w := &got.Threads[i], &want.Threads[i]
		for _, set := range w.Registers.Sets {
			if g.TID != w.TID || !bytes.Equal(g.Registers.Set(set.Type), set.Data) {
				t.Errorf("%s: thread %d, registers %#x: % x, want % x", who, w.TID, set.Type, g.Registers.Set(set.Type), set.Data)
			}
		}
	}
	for i := range want.Modules {
		if g, w := &got.Modules[i], &want.Modules[i]; g.Range != w.Range || g.Path != w.Path || !bytes.Equal(g.BuildID, w.BuildID) {
			t.Errorf("%s: module %+v, want %+v", who, g, w)
		}
	}
	sameMemory(t, who, got, want)
}

// sameMemory compares what two dumps hold, byte by byte.
func sameMemory(t testing.TB, who string, got, want *snapshot.Process) {
	t.Helper()
	if g, w := memoryOf(t, got), memoryOf(t, want); fmt.Sprint(g) != fmt.Sprint(w) {
		t.Errorf("%s: memory %v, want %v", who, g, w)
	}
	for _, r := range memoryOf(t, want) {
		a, b := make([]byte, r.Size), make([]byte, r.Size)
		_, err := got.Memory.ReadMemory(a, r.Addr)
		_, err2 := want.Memory.ReadMemory(b, r.Addr)
		if err != nil || err2 != nil || !bytes.Equal(a, b) {
			t.Errorf("%s: memory of %v differs (%v, %v)", who, r, err, err2)
		}
	}
}

// memoryOf lists the memory of a dump.
func memoryOf(t testing.TB, p *snapshot.Process) []snapshot.Range {
	t.Helper()
	xs, err := p.Memory.Extents(snapshot.Range{Size: ^uint64(0)})
	if err != nil {
		t.Fatal(err)
	}
	var out []snapshot.Range
	for _, x := range xs {
		out = append(out, x.Range)
	}
	return snapshot.MergeRanges(out, 0)
}

// mustConvert converts a file into one in a folder of its own.
func mustConvert(t testing.TB, name string, args ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), name)
	if code, text, errs := convertFile(t, append(args, out)...); code != ExitOK {
		t.Fatalf("convert %q: code %d: %s%s", args, code, text, errs)
	}
	return out
}

// TestConvertProcess takes cores of the kernel and gdb and a minidump to each
// format and back: nothing of registers, modules and memory is lost.
func TestConvertProcess(t *testing.T) {
	for name, b := range processSamples(t) {
		t.Run(name, func(t *testing.T) {
			in := sampleFile(t, "dump", b)
			want := opened(t, in)
			core, mini := mustConvert(t, "a.core", in), mustConvert(t, "a.dmp", in)
			for _, path := range []string{core, mini, mustConvert(t, "b.core", mini), mustConvert(t, "b.dmp", core),
				mustConvert(t, "c.dmp.zst", core), mustConvert(t, "c.core.zst", mini), mustConvert(t, "d.core", mustConvert(t, "d.dmp.zst", core))} {
				sameProcess(t, filepath.Base(path), opened(t, path), want)
			}
		})
	}
}

// TestConvertCompression: where only that changes, the file is the same.
func TestConvertCompression(t *testing.T) {
	for name, b := range processSamples(t) {
		ext := ".core"
		if name == "minidump" {
			ext = ".dmp"
		}
		in := sampleFile(t, "dump"+ext, b)
		packed := mustConvert(t, "x"+ext+".zst", in)
		again := mustConvert(t, "y"+ext, packed)
		got, err := os.ReadFile(again)
		if err != nil || !bytes.Equal(got, b) {
			t.Errorf("%s: %d bytes of %d come back (%v)", name, len(got), len(b), err)
		}
		if z := mustConvert(t, "z"+ext, "-z", "zstd", in); filepath.Ext(z) == ".zst" {
			t.Error(z)
		} else if _, err := os.Stat(z + ".zst"); err != nil {
			t.Error(err)
		}
	}
}

// TestConvertTruncated: what a dump that was cut off has lost is said, and the new
// dump, which is whole, says so of itself.
func TestConvertTruncated(t *testing.T) {
	mini := processSamples(t)["minidump"]
	core, err := os.ReadFile(mustConvert(t, "x.core", sampleFile(t, "x.dmp", mini)))
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"minidump": mini, "core": core} {
		in := sampleFile(t, "dump", b[:len(b)-4096])
		for _, form := range []string{"elf", "minidump"} {
			out := filepath.Join(t.TempDir(), "out")
			code, text, errs := convertFile(t, "-format", form, in, out)
			if code != ExitOK || !strings.Contains(errs, "is truncated") {
				t.Errorf("%s to %s: code %d: %s%s", name, form, code, text, errs)
				continue
			}
			files, _ := filepath.Glob(out + "*")
			if p := opened(t, files[0]); !slices.ContainsFunc(p.Info.Warnings, func(w string) bool { return strings.Contains(w, "is truncated") }) {
				t.Errorf("%s to %s: warnings %q", name, form, p.Info.Warnings)
			}
		}
	}
}

// TestConvertKinds: a smaller kind holds less of the same, and says which it is.
func TestConvertKinds(t *testing.T) {
	in := sampleFile(t, "dump", processSamples(t)["gcore-amd64.core.gz"])
	want := opened(t, in)
	for arg, kind := range map[string]string{"-mm": "mini", "-mt": "triage", "-mp": "miniplus"} {
		for _, out := range []string{"x.core", "x.dmp"} {
			path := mustConvert(t, out, arg, in)
			p := opened(t, path)
			if p.Info.Kind != kind || len(p.Threads) != len(want.Threads) {
				t.Errorf("%s: kind %q, %d threads", out, p.Info.Kind, len(p.Threads))
			}
			sp := p.Threads[0].Registers.SP()
			word, same := make([]byte, 8), make([]byte, 8)
			if _, err := p.Memory.ReadMemory(word, sp); err != nil {
				t.Errorf("%s %s: no stack: %v", arg, out, err)
			}
			if _, err := want.Memory.ReadMemory(same, sp); err == nil && kind != "triage" && !bytes.Equal(word, same) {
				t.Errorf("%s %s: other stack", arg, out)
			}
			for _, set := range want.Threads[0].Registers.Sets {
				if set.Type == arch.NT_PRSTATUS && !bytes.Equal(p.Threads[0].Registers.Set(set.Type), set.Data) {
					t.Errorf("%s %s: other registers", arg, out)
				}
			}
			if code, _, errs := convertFile(t, "-ma", path, filepath.Join(t.TempDir(), "y.core")); code != ExitFailed || !strings.Contains(errs, "kind") {
				t.Errorf("a full dump of one of kind %s: code %d, %s", kind, code, errs)
			}
		}
	}
	// What it does not hold is not made up.
	mini := opened(t, mustConvert(t, "m.core", "-mm", in))
	plus := mustConvert(t, "p.core", "-mc", "7f", mustConvert(t, "m.core", "-mm", in))
	for _, r := range memoryOf(t, opened(t, plus)) {
		if _, err := mini.Memory.ReadMemory(make([]byte, r.Size), r.Addr); err != nil {
			t.Errorf("%v is not in the dump that it was made of", r)
		}
	}
}

// TestConvertCustom: what a dump that a mask was put on was made of bounds what is
// made of it in its turn, however often.
func TestConvertCustom(t *testing.T) {
	in := sampleFile(t, "x.core", processSamples(t)["gcore-amd64.core.gz"])
	for kind, want := range map[string]map[string]string{ // by the switch: what is said, "" where it goes
		"-mt": {"-mt": "", "-mm": "made of a dump of kind triage", "-mp": "made of a dump of kind triage", "-ma": "made of a dump of kind triage"},
		"-mm": {"-mt": "", "-mm": "", "-mp": "made of a dump of kind mini", "-ma": "kind mini"},
		"":    {"-mt": "", "-mm": "", "-mp": "it is of kind custom", "-ma": "it is of kind custom"},
	} {
		small := in
		if kind != "" {
			small = mustConvert(t, "small.core", kind, in)
		}
		for _, name := range []string{"custom.core", "custom.dmp"} {
			custom := mustConvert(t, name, "-mc", "ff", mustConvert(t, name, "-mc", "7f", small))
			for arg, said := range want {
				code, text, errs := convertFile(t, arg, custom, filepath.Join(t.TempDir(), name))
				if (code == ExitOK) != (said == "") || !strings.Contains(errs, said) {
					t.Errorf("%s of %s of one of %q: code %d, want %q: %s%s", arg, name, kind, code, said, text, errs)
				}
			}
		}
	}
}

// TestConvertProcessRefused: what cannot be is said, and leaves nothing behind.
func TestConvertProcessRefused(t *testing.T) {
	samples := processSamples(t)
	core := sampleFile(t, "x.core", samples["gcore-amd64.core.gz"])
	cut := sampleFile(t, "x.dmp", samples["minidump"][:40])
	for _, c := range []struct {
		args []string
		in   string
		code int
		want string
	}{
		{[]string{"-type", "kernel"}, core, ExitUsage, "is the dump of a process"},
		{[]string{"-format", "kdump"}, core, ExitUsage, "elf or minidump"},
		{[]string{"-z", "snappy"}, core, ExitUsage, "zstd or none"},
		{[]string{"-ma"}, core, ExitFailed, "only a full dump"},
		{nil, cut, ExitFailed, "x.dmp"},
		{[]string{"-mm"}, filepath.Join(t.TempDir(), "none"), ExitFailed, "no such file"},
		{nil, sampleFile(t, "text", []byte("just text")), ExitFailed, "it begins with 6a 75 73 74 20 74 65 78; name the dump of a process (an ELF core or a minidump"},
		{[]string{"-mm"}, writeFakeVMCore(t), ExitUsage, "no dump of a process"},
		{[]string{"-dontdump"}, writeFakeVMCore(t), ExitUsage, "-dontdump: it is for processes"},
		{[]string{"-format", "minidump"}, writeFakeVMCore(t), ExitUsage, "a minidump holds a process"},
	} {
		out := filepath.Join(t.TempDir(), "out.core")
		code, text, errs := convertFile(t, append(c.args, c.in, out)...)
		if code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("%q %s: code %d, want %d and %q: %s%s", c.args, c.in, code, c.code, c.want, text, errs)
		}
		if left, _ := filepath.Glob(filepath.Dir(out) + "/*"); len(left) > 0 {
			t.Errorf("%q %s: left behind: %q", c.args, c.in, left)
		}
	}
	packed, err := os.ReadFile(mustConvert(t, "x.core.zst", core))
	if err != nil {
		t.Fatal(err)
	}
	clear(packed[20:200])
	broken := sampleFile(t, "broken.core.zst", packed)
	code, text, errs := convertFile(t, broken, filepath.Join(t.TempDir(), "out.core"))
	if code != ExitFailed || !strings.Contains(errs, "corrupt zstd") {
		t.Errorf("damaged compression: code %d: %s%s", code, text, errs)
	}
	for _, args := range [][]string{{"-o", core, core}, {core, "-"}} {
		if code, _, errs := convertFile(t, args...); code != ExitUsage {
			t.Errorf("%q: code %d, %s", args, code, errs)
		}
	}
	if again := opened(t, core); len(again.Threads) == 0 {
		t.Error("the dump was harmed")
	}
	out := sampleFile(t, "there.core", []byte("old"))
	if code, text, _ := convertFile(t, core, out); code != ExitOK || !strings.Contains(text, "there-1.core") {
		t.Errorf("an existing file: code %d, %s", code, text)
	}
	if b, err := os.ReadFile(out); err != nil || string(b) != "old" {
		t.Errorf("it became %.20q, %v", b, err)
	}
}

// convertBytes converts a dump of any content to a format, and opens what came
// of it; false: it is refused.
func convertBytes(t testing.TB, b []byte, args ...string) bool {
	t.Helper()
	d, err := readDump(bytes.NewReader(b), int64(len(b)))
	if d == nil || err != nil {
		return false
	}
	// A dump may claim terabytes of the bytes that it has.
	size := uint64(0)
	for _, r := range memoryOf(t, d.process) {
		size += r.Size
	}
	if size > 16<<20 {
		return false
	}
	in := sampleFile(t, "in", b)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	out := filepath.Join(filepath.Dir(in), "out")
	code := convertMain(append(args, "-o", in, out), null, null)
	if code != ExitOK {
		if left, _ := filepath.Glob(out + "*"); len(left) > 0 || code != ExitFailed {
			t.Errorf("code %d, left behind: %q", code, left)
		}
		return false
	}
	files, _ := filepath.Glob(out + "*")
	if len(files) != 1 {
		t.Fatalf("%q", files)
	}
	p := opened(t, files[0])
	if len(p.Threads) != len(d.process.Threads) {
		t.Errorf("%d threads became %d", len(d.process.Threads), len(p.Threads))
	}
	return true
}

var convertForms = [][]string{{"-format", "elf"}, {"-format", "minidump"}, {"-mm", "-format", "elf"}, {"-mt", "-format", "minidump"}, {"-mp", "-format", "elf"}}

// TestConvertDamaged converts dumps with bytes changed and ends cut off.
func TestConvertDamaged(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for name, b := range processSamples(t) {
		good := 0
		const tries = 40
		for i := range tries {
			if convertBytes(t, damage(random, b, i%3 == 0), convertForms[i%len(convertForms)]...) {
				good++
			}
		}
		if good < tries/4 {
			t.Errorf("%s: only %d of %d damaged dumps are converted", name, good, tries)
		}
	}
}

// FuzzConvert converts dumps of any content.
func FuzzConvert(f *testing.F) {
	for _, b := range processSamples(f) {
		f.Add(b, uint8(0))
	}
	f.Fuzz(func(t *testing.T, b []byte, form uint8) {
		convertBytes(t, b, convertForms[int(form)%len(convertForms)]...)
	})
}

// TestReadDump: what is no dump of a process is nobody's error here.
func TestReadDump(t *testing.T) {
	for _, b := range [][]byte{nil, []byte("text"), bytes.Repeat([]byte{0}, 10000)} {
		if d, err := readDump(bytes.NewReader(b), int64(len(b))); d != nil || err != nil {
			t.Errorf("%.10q: %v, %v", b, d, err)
		}
	}
}
