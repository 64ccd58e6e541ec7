package minidump

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// skip skips the test for want of a tool, or fails it where the environment
// variable PROCDUMP_REQUIRE lists the tool.
func skip(t *testing.T, tool, format string, args ...any) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("PROCDUMP_REQUIRE"), ","), tool) {
		t.Fatalf("required "+tool+": "+format, args...)
	}
	t.Skipf("no "+tool+": "+format, args...)
}

// breakpad returns the path of one of Breakpad's tools: in the folder that
// BREAKPAD_BIN names, else where npm's package "minidump" puts them, else in PATH.
func breakpad(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range []string{os.Getenv("BREAKPAD_BIN"), "/tmp/npmtest/node_modules/minidump/bin/linux-x64"} {
		if dir == "" {
			continue
		}
		if p := filepath.Join(dir, name); exec.Command("test", "-x", p).Run() == nil {
			return p
		}
	}
	p, err := exec.LookPath(name)
	if err != nil {
		skip(t, "breakpad", "%v (set BREAKPAD_BIN, or npm install --ignore-scripts minidump)", err)
	}
	return p
}

func lldb(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"lldb-19", "lldb"} {
		if p, err := exec.LookPath(name); err == nil {
			return p
		}
	}
	skip(t, "lldb", "neither lldb-19 nor lldb in PATH")
	return ""
}
