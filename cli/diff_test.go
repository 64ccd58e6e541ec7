package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"procdump/inspect/diff"
)

// diffed runs procdump diff and returns its exit code and output.
func diffed(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return typed(t, append([]string{"diff"}, args...)...)
}

func TestDiff(t *testing.T) {
	samples := processSamples(t)
	a := sampleFile(t, "a.core", samples["gcore-amd64.core.gz"])
	b := mustConvert(t, "b.dmp", a)
	code, out, errs := diffed(t, a, b)
	if code != ExitOK || !strings.HasPrefix(out, "Nothing grew or shrank") {
		t.Errorf("a dump and itself: code %d, %s\n%s", code, errs, out)
	}
	i386 := sampleFile(t, "c.core", samples["gcore-i386.core.gz"])
	report := filepath.Join(t.TempDir(), "report.json")
	if code, _, errs := diffed(t, "-json", a, i386, report); code != ExitOK {
		t.Fatalf("code %d, %s", code, errs)
	}
	text, err := os.ReadFile(report)
	var r diff.Report
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil || r.Version != diff.Version || len(r.Memory.Names) == 0 || len(r.Warnings) == 0 {
		t.Errorf("%v, %.500s", err, text)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{a}, ExitUsage, "give two dumps"},
		{[]string{a, b, "c", "d"}, ExitUsage, "one word too many"},
		{[]string{"-", b}, ExitUsage, "standard input"},
		{[]string{a, b, report + ".html"}, ExitUsage, "text or JSON"},
		{[]string{a, filepath.Join(t.TempDir(), "none")}, ExitFailed, "no such file"},
		{[]string{a, writeFakeVMCore(t)}, ExitFailed, "not the dump of a process"},
		{[]string{"-o", a, b, b}, ExitUsage, "the dump itself"},
		{[]string{a, b, report}, ExitFailed, "there already"},
		{[]string{"999999999", a}, ExitNoTarget, "no such process"},
	} {
		if code, out, errs := diffed(t, c.args...); code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("%q: code %d, want %d and %q: %s%s", c.args, code, c.code, c.want, out, errs)
		}
	}
}

func TestDiffHelp(t *testing.T) {
	golden(t, "testdata/diffhelp.golden", diffHelp())
	for _, e := range diffExamples {
		if _, err := parseDiff(strings.Fields(e.name)[2:]); err != nil {
			t.Errorf("%s: %v", e.name, err)
		}
	}
}
