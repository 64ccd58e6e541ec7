package modfile

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"procdump/victims/need"
)

func TestName(t *testing.T) {
	for file, want := range map[string]string{
		"kernel/fs/ext4/ext4.ko":          "ext4",
		"drivers/virtio/virtio-pci.ko.xz": "virtio_pci",
		"a/b.ko.zst":                      "b",
		"b.ko.gz":                         "b",
		"b.ko.bz2":                        "",
		"b.o":                             "",
		".ko":                             "",
	} {
		if got := Name(file); got != want {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
}

// TestRead has the programs that distributions use pack a module.
func TestRead(t *testing.T) {
	module := append([]byte("\x7fELF"), bytes.Repeat([]byte("some content that is like a module's, and again "), 50000)...)
	for ext, args := range map[string][]string{
		"":     {"cat"},
		".xz":  {"xz", "--check=crc32", "--lzma2=dict=1MiB", "-c"},
		".zst": {"zstd", "-19", "-q", "-c"},
		".gz":  {"gzip", "-9", "-n", "-c"},
	} {
		t.Run("ko"+ext, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "module.ko")
			if err := os.WriteFile(name, module, 0o600); err != nil {
				t.Fatal(err)
			}
			packed, err := exec.Command(need.Tool(t, args[0]), append(args[1:], name)...).Output()
			if err != nil {
				t.Fatal(err)
			}
			if Compressed(name+ext) != (ext != "") {
				t.Errorf("compressed: %v", ext != "")
			}
			got, err := Read(name+ext, bytes.NewReader(packed))
			if err != nil || !bytes.Equal(got, module) {
				t.Errorf("%d bytes, want %d: %v", len(got), len(module), err)
			}
			if _, err := Read(name+ext, bytes.NewReader(packed[:len(packed)/2])); err == nil && ext != "" {
				t.Error("half of a file is no error")
			}
			if _, err := Read(name+ext, bytes.NewReader(nil)); err == nil {
				t.Error("an empty file is no error")
			}
		})
	}
	if _, err := Read("a.ko", bytes.NewReader([]byte("no module"))); !errors.Is(err, ErrFormat) {
		t.Errorf("text: %v", err)
	}
}
