//go:build unix

package cli

import (
	"errors"
	"path/filepath"
	"syscall"
	"testing"
)

// TestNamedPipe: to open a named pipe would wait for a writer.
func TestNamedPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openKernelFile(pipe); !errors.Is(err, errNoFile) {
		t.Errorf("convert: %v", err)
	}
	if code, _, _ := inspected(t, pipe); code != ExitFailed {
		t.Errorf("inspect: code %d", code)
	}
}
