//go:build unix

package settings

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUntrusted: root writes to the device that the file names, so that nobody
// else may name it.
func TestUntrusted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kernel.toml")
	if err := Default().Save(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "others than root can write it; chown root") {
		t.Errorf("a file that all can write: %v", err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	for group, refused := range map[int]bool{0: false, 65534: true} {
		if err := os.Chown(path, 0, group); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o664); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); (err != nil) != refused {
			t.Errorf("a file that group %d can write: %v", group, err)
		}
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "belongs to another user") {
		t.Errorf("a file of another user: %v", err)
	}
}
