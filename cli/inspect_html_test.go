package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestInspectHTML writes the report on each sample as HTML, alone and beside
// text and JSON, wherever in the command line its name stands.
func TestInspectHTML(t *testing.T) {
	for name, b := range processSamples(t) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			dump, text, page := filepath.Join(dir, "dump"), filepath.Join(dir, "text"), filepath.Join(dir, "page.html")
			if err := os.WriteFile(dump, b, 0o600); err != nil {
				t.Fatal(err)
			}
			code, out, errOut := inspected(t, dump, "-o", page)
			if code != ExitOK || out != "" || errOut != "" {
				t.Fatalf("code %d, %q, %q", code, out, errOut)
			}
			first := contentOf(t, page)
			for _, want := range []string{"<!doctype html>", "<title>", `id="group0"`, `id="memory"`, "</html>"} {
				if !strings.Contains(first, want) {
					t.Errorf("there is no %s", want)
				}
			}
			if code, _, errOut := inspected(t, dump, page); code != ExitFailed || !strings.Contains(errOut, "is there already") {
				t.Errorf("code %d, %q", code, errOut)
			}
			code, out, _ = inspected(t, "-o", page, dump, text)
			if code != ExitOK || out != "" || contentOf(t, page) != first || !strings.Contains(contentOf(t, text), "Modules: ") {
				t.Errorf("code %d, %q", code, out)
			}
			code, out, _ = inspected(t, "-json", "-o", dump, page)
			if code != ExitOK || !strings.HasPrefix(out, "{") {
				t.Errorf("code %d, %q", code, out)
			}
		})
	}
}

func contentOf(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
