package elfcore

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// need skips a test on machines without a tool, or fails it if the tool is
// among those that PROCDUMP_REQUIRE lists ("gdb,readelf").
func need(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			missing(t, tool, err.Error())
		}
	}
}

// missing ends a test for which something is not there.
func missing(t *testing.T, what, why string) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("PROCDUMP_REQUIRE"), ","), what) {
		t.Fatalf("required %s: %s", what, why)
	}
	t.Skipf("no %s: %s", what, why)
}

// run runs a tool and returns what it prints.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBUGINFOD_URLS=", "HOME=/nonexistent")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	return string(out)
}
