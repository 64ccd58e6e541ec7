package cli

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"procdump/image"
	"procdump/inspect"
	"procdump/internal/packed"
	"procdump/minidump"
	"procdump/render"
	"procdump/render/html"
	"procdump/snapshot"
)

// processSamples are small cores, and a minidump of the first.
func processSamples(t testing.TB) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	files, err := filepath.Glob("../elfcore/testdata/*.core.gz")
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	for _, file := range files {
		all[filepath.Base(file)] = packed.Read(t, file)
	}
	b := all["gcore-amd64.core.gz"]
	p, _, err := openProcess(bytes.NewReader(b), int64(len(b)), false)
	if err != nil {
		t.Fatal(err)
	}
	xs, err := p.Memory.Extents(snapshot.Range{Size: ^uint64(0)})
	if err != nil {
		t.Fatal(err)
	}
	var ranges []snapshot.Range
	for _, x := range xs {
		ranges = append(ranges, x.Range)
	}
	var m bytes.Buffer
	if err := minidump.Write(&m, p, ranges, minidump.Options{}); err != nil {
		t.Fatal(err)
	}
	all["minidump"] = m.Bytes()
	return all
}

func TestInspectProcessDumps(t *testing.T) {
	for name, b := range processSamples(t) {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "dump")
			if err := os.WriteFile(file, b, 0o600); err != nil {
				t.Fatal(err)
			}
			code, out, errOut := inspected(t, file)
			want := "The process did not crash: it was dumped while it ran"
			if strings.HasPrefix(name, "kernel") {
				want = "Segmentation fault (SIGSEGV): access to 0x20: a null pointer plus 32, in "
			}
			if code != ExitOK || errOut != "" || !strings.HasPrefix(out, want) {
				t.Errorf("code %d, %q\n%s", code, errOut, out)
			}
			code, out, errOut = inspected(t, "-json", file)
			var r struct {
				Version int
				Groups  []struct {
					Threads []struct{ TID int }
					Frames  []struct{ PC string }
				}
				Modules []struct{ Path string }
			}
			if err := json.Unmarshal([]byte(out), &r); err != nil || code != ExitOK || errOut != "" {
				t.Fatalf("code %d, %q, %v", code, errOut, err)
			}
			if r.Version != inspect.Version || len(r.Groups) != 1 || len(r.Groups[0].Frames) == 0 || len(r.Modules) == 0 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// damage returns a dump with bytes changed and, if cut is set, its end cut off.
func damage(random *rand.Rand, b []byte, cut bool) []byte {
	b = bytes.Clone(b)
	if cut {
		b = b[:random.IntN(len(b))]
	}
	for range random.IntN(40) {
		if len(b) > 0 {
			b[random.IntN(len(b))] = byte(random.Uint32())
		}
	}
	return b
}

// TestInspectDamaged inspects dumps with bytes changed and ends cut off: there
// is a report, or an error that says why not.
func TestInspectDamaged(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for name, b := range processSamples(t) {
		reports := 0
		const tries = 60
		for i := range tries {
			if explainBytes(t, damage(random, b, i%3 == 0)) {
				reports++
			}
		}
		if reports < tries/2 {
			t.Errorf("%s: %d reports of %d damaged dumps", name, reports, tries)
		}
	}
}

// TestInspectCut: a dump that is cut off before what happened does not say that
// nothing did, and one of a process is not taken for that of a kernel.
func TestInspectCut(t *testing.T) {
	samples := processSamples(t)
	crash := sampleFile(t, "crash.core", packed.Read(t, "testdata/inspect/crash.core.gz"))
	minidump, err := os.ReadFile(mustConvert(t, "crash.dmp", crash))
	if err != nil {
		t.Fatal(err)
	}
	// gdb writes the notes behind the memory.
	for name, b := range map[string][]byte{"gcore": samples["gcore-amd64.core.gz"], "minidump": minidump} {
		for _, n := range []int{300, 1500} {
			file := sampleFile(t, "cut", b[:n])
			code, out, errOut := inspected(t, file)
			if code != ExitOK || !strings.HasPrefix(out, "The dump does not tell what happened: it is cut off or damaged, 0 threads") ||
				!strings.Contains(out, "What could not be read") {
				t.Errorf("%d bytes of %s: code %d, %s\n%s", n, name, code, errOut, out)
			}
		}
	}
}

// explainBytes inspects a dump and checks what must hold of every report; false:
// it is refused.
func explainBytes(t testing.TB, b []byte) bool {
	t.Helper()
	begin := time.Now()
	d, err := readDump(bytes.NewReader(b), int64(len(b)))
	if d == nil || err != nil {
		return false
	}
	p, warnings := d.process, d.warnings
	// Not the machine's own files: what is fuzzed is the dump.
	set := image.NewSet(p, image.Options{Roots: []string{"/nonexistent"}, DebugDirs: []string{"/nonexistent"}})
	defer set.Close()
	r := inspect.Collect(p, set, warnings).Report()
	var text, object bytes.Buffer
	if err := render.Text(&text, r); err != nil {
		t.Fatal(err)
	}
	if err := render.JSON(&object, r); err != nil || !json.Valid(object.Bytes()) {
		t.Fatalf("JSON: %v", err)
	}
	var page bytes.Buffer
	if err := html.Write(&page, r); err != nil || !utf8.Valid(page.Bytes()) {
		t.Fatalf("HTML: %v", err)
	}
	for line := range strings.SplitSeq(text.String(), "\n") {
		if utf8.RuneCountInString(line) > 100 {
			t.Errorf("a line of %d characters", utf8.RuneCountInString(line))
		}
	}
	if r.Reason == "" || len(r.Groups) > len(p.Threads) {
		t.Errorf("reason %q, %d groups of %d threads", r.Reason, len(r.Groups), len(p.Threads))
	}
	if took := time.Since(begin); took > time.Minute {
		t.Errorf("it took %v", took)
	}
	return true
}

// FuzzInspect inspects dumps of any content.
func FuzzInspect(f *testing.F) {
	for _, b := range processSamples(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { explainBytes(t, b) })
}
