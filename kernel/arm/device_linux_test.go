package arm

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"procdump/victims/need"
)

// TestOpenUnused has the kernel say that a device is in use, whatever the files
// of sysfs and procfs say.
func TestOpenUnused(t *testing.T) {
	need.Root(t)
	mkfs := need.Tool(t, "mkfs.ext4")
	image, folder := filepath.Join(t.TempDir(), "image"), t.TempDir()
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 16<<20)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs, "-q", image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs: %v\n%s", err, out)
	}
	file := need.LoopDevice(t, image)
	s, d := &System{Root: "/"}, device{name: filepath.Base(file)}
	f, err := s.openUnused(d)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if out, err := exec.Command("mount", file, folder).CombinedOutput(); err != nil {
		need.Missing(t, "mount", string(out))
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", folder).CombinedOutput(); err != nil {
			t.Errorf("umount: %s", out)
		}
	})
	if f, err := s.openUnused(d); !errors.Is(err, ErrInUse) {
		f.Close()
		t.Errorf("a mounted device: %v", err)
	}
}
