package lockdown

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestRead(t *testing.T) {
	sys := t.TempDir()
	if mode := Read(sys); mode != "" {
		t.Errorf("without the file: %q", mode)
	}
	file := filepath.Join(sys, "kernel/security/lockdown")
	for text, want := range map[string]string{
		"[none] integrity confidentiality\n": "none", "none [integrity] confidentiality\n": "integrity",
		"none integrity [confidentiality]\n": "confidentiality", "none integrity": "", "[none": "", "": "",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
		if mode := Read(sys); mode != want {
			t.Errorf("%q: %q, want %q", text, mode, want)
		}
	}
}
