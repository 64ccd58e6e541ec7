package rescue

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"procdump/internal/sys/machine"
	"procdump/victims/need"
)

// loop makes a device with a file system.
func loop(t *testing.T, size int64, mkfs string, args ...string) string {
	t.Helper()
	need.Root(t)
	mkfs = need.Tool(t, mkfs)
	image := disk(t, size)
	if out, err := exec.Command(mkfs, append(args, image)...).CombinedOutput(); err != nil {
		t.Fatalf("mkfs: %v\n%s", err, out)
	}
	return need.LoopDevice(t, image)
}

// mounts is a volumes that has mounted nothing, with its log.
func mounts() (*volumes, *logger) {
	l := newLogger()
	return &volumes{s: newSession(&Plan{}, l, "test")}, l
}

// unmounting mounts a device until the test ends.
func unmounting(t *testing.T, v *volumes, device string, target Target) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "target")
	if err := v.mount(device, root, target); err != nil {
		need.Missing(t, "mount", err.Error())
	}
	t.Cleanup(func() {
		if err := machine.Unmount(root); err != nil {
			t.Error(err)
		}
	})
	return root
}

// TestMountBTRFS: the top of the file system is mounted, whichever subvolume is
// the default.
func TestMountBTRFS(t *testing.T) {
	btrfs := need.Tool(t, "btrfs")
	device := loop(t, 128<<20, "mkfs.btrfs", "-q")
	v, _ := mounts()
	t.Run("make", func(t *testing.T) {
		root := unmounting(t, v, device, Target{FSType: "btrfs"})
		for _, args := range [][]string{{"subvolume", "create", root + "/@home"}, {"subvolume", "set-default", root + "/@home"}} {
			if out, err := exec.Command(btrfs, args...).CombinedOutput(); err != nil {
				t.Fatalf("btrfs %s: %v\n%s", args, err, out)
			}
		}
	})
	root := unmounting(t, v, device, Target{FSType: "btrfs"})
	if entries, err := os.ReadDir(root); err != nil || len(entries) != 1 || entries[0].Name() != "@home" {
		t.Errorf("the root has %v: %v", entries, err)
	}
}

// TestMountOptions: options that the file system refuses are left out.
func TestMountOptions(t *testing.T) {
	device := loop(t, 16<<20, "mkfs.ext4", "-q")
	v, l := mounts()
	// Whether anything can be mounted here.
	t.Run("without", func(t *testing.T) { unmounting(t, v, device, Target{FSType: "ext4"}) })
	root := filepath.Join(t.TempDir(), "target")
	if err := v.mount(device, root, Target{FSType: "ext4", Options: "iocharset=klingon"}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := machine.Unmount(root); err != nil {
			t.Error(err)
		}
	}()
	if err := os.WriteFile(filepath.Join(root, "file"), []byte("text"), 0o600); err != nil {
		t.Error(err)
	}
	if said := strings.Join(l.said(), "\n"); !strings.Contains(said, "once more without the options iocharset=klingon") || !strings.Contains(said, "(ext4) is mounted") {
		t.Errorf("said\n%s", said)
	}
}
