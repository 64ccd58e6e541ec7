package minidump

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"procdump/victims/need"
)

// skip ends the test for want of a tool, see package need.
func skip(t *testing.T, tool, format string, args ...any) {
	t.Helper()
	need.Missing(t, tool, fmt.Sprintf(format, args...))
}

// breakpad returns the path of one of Breakpad's tools: in the folder that
// BREAKPAD_BIN names, else in a folder where npm's package "minidump" was
// installed for tests, else in PATH.
func breakpad(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range []string{os.Getenv("BREAKPAD_BIN"), "/tmp/npmtest/node_modules/minidump/bin/linux-x64"} {
		p := filepath.Join(dir, name)
		if st, err := os.Stat(p); dir != "" && err == nil && st.Mode()&0o111 != 0 {
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
