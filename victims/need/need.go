// Package need lets a test say what it cannot do without. A test whose need is
// not met is skipped with the reason; the environment variable PROCDUMP_REQUIRE
// turns such skips into failures, so that a test run which is meant to be
// complete cannot lose tests in silence.
//
// PROCDUMP_REQUIRE is "all" or a comma list of needs: names of tools ("gdb"),
// "root", "kernel", "space", "guest" (a virtual machine with a kernel of Debian).
package need

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Long tells whether long tests are asked for (PROCDUMP_LONG=1).
func Long() bool { return os.Getenv("PROCDUMP_LONG") == "1" }

// Required tells whether the need called name must be met.
func Required(name string) bool {
	list := strings.Split(os.Getenv("PROCDUMP_REQUIRE"), ",")
	return slices.Contains(list, "all") || slices.Contains(list, name)
}

// Missing ends the test: the need called name is not met, for this reason.
func Missing(t testing.TB, name, reason string) {
	t.Helper()
	if Required(name) {
		t.Fatalf("needs %s: %s (PROCDUMP_REQUIRE forbids the skip)", name, reason)
	}
	t.Skipf("needs %s: %s", name, reason)
}

// Root ends the test unless it runs as root.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		// A person may run everything that works without privileges, so this
		// is never a failure: a complete run is a run as root.
		t.Skip("needs root")
	}
}

// Tool returns the path of the first of the named programs that is installed,
// or ends the test. The first name is the one reported.
func Tool(t testing.TB, names ...string) string {
	t.Helper()
	for _, n := range names {
		if p, err := exec.LookPath(n); err == nil {
			return p
		}
	}
	Missing(t, names[0], "not installed (scripts/install-test-deps installs it)")
	return ""
}

// LoopDevice makes a block device of an image file until the test ends.
func LoopDevice(t testing.TB, image string) string {
	t.Helper()
	losetup := Tool(t, "losetup")
	out, err := exec.Command(losetup, "-f", "--show", image).CombinedOutput()
	if err != nil {
		Missing(t, "mount", string(out))
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command(losetup, "-d", device).CombinedOutput(); err != nil {
			t.Errorf("losetup -d: %s", out)
		}
	})
	return device
}
