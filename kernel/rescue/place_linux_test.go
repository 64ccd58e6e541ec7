package rescue

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"procdump/kdump/diskdump"
	"procdump/kernel/capture"
	"procdump/kernel/superblock"
)

func names(t *testing.T, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func TestFolder(t *testing.T) {
	root := t.TempDir()
	f := below(root, Target{Subvolume: "/@", Folder: "/var/../crash"})
	at := time.Date(2026, 2, 3, 4, 5, 6, 0, time.Local)
	for i, want := range []string{"/crash/small_260203_040506.elf", "/crash/small_260203_040506-1.elf"} {
		name, err := f.saveSmall([]byte{byte(i)}, at)
		if err != nil || name != want {
			t.Errorf("small dump %q, want %q: %v", name, want, err)
		}
	}
	for range 2 {
		if err := f.saveRecord(sampleRecord()); err != nil {
			t.Fatal(err)
		}
	}
	folder := filepath.Join(root, "@/crash")
	b, err := os.ReadFile(filepath.Join(folder, RecordName))
	if err != nil {
		t.Fatal(err)
	}
	if r, err := ParseRecord(b); err != nil || r.Panic != "BUG" {
		t.Errorf("record %+v: %v", r, err)
	}
	for name, content := range map[string]string{"vmcore.kdump": diskdump.Signature, "vmcore-2.kdump": diskdump.Signature,
		"vmcore-3.kdump": "a text", "vmcore.txt": diskdump.Signature} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{filepath.Join(folder, "vmcore.kdump"), filepath.Join(folder, "vmcore-2.kdump")}
	if got := f.older("vmcore.kdump"); !slices.Equal(got, want) {
		t.Errorf("older dumps %v, want %v", got, want)
	}
}

// disk makes a file that stands for a device.
func disk(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return path
}

func writeAt(path, text string, off int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(text), off)
	return errors.Join(err, f.Close())
}

// mark makes a disk one for dumps.
func mark(t *testing.T, path string, size int64) superblock.Mark {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m := superblock.NewMark()
	if err := m.Write(f, size); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestDevice(t *testing.T) {
	const size = 1 << 20
	path := disk(t, size)
	if _, err := openDevice(path); !errors.Is(err, superblock.ErrNoMark) {
		t.Errorf("a device without mark: %v", err)
	}
	mark(t, path, size)
	used := disk(t, size)
	mark(t, used, size)
	if err := writeAt(used, "XFSB", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := openDevice(used); err == nil || !strings.Contains(err.Error(), "a file system (xfs)") {
		t.Errorf("a device of which a file system was made: %v", err)
	}
	d, err := openDevice(path)
	if err != nil {
		t.Fatal(err)
	}
	var o capture.Options
	if err := d.options(&o, "name"); err != nil || o.Device != path || o.Room <= 0 || o.Room >= size-TailSize {
		t.Errorf("options %+v: %v", o, err)
	}
	if _, err := d.saveSmall([]byte("small"), time.Now()); err != nil {
		t.Fatal(err)
	}
	r := sampleRecord()
	r.SmallSizeBytes = 5
	if err := d.saveRecord(r); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil || len(b) != size {
		t.Fatalf("%d bytes: %v", len(b), err)
	}
	got, small, err := ReadTail(bytes.NewReader(b), size)
	if err != nil || got.Panic != "BUG" || string(small) != "small" {
		t.Errorf("record %+v, small dump %q: %v", got, small, err)
	}
	if _, err := superblock.ReadMark(bytes.NewReader(b), size); err != nil {
		t.Errorf("mark: %v", err)
	}
}

// TestFindDevice finds a device by what is on it, not by its name.
func TestFindDevice(t *testing.T) {
	root := t.TempDir()
	d := devices{sys: filepath.Join(root, "sys"), dev: filepath.Join(root, "dev")}
	if _, err := d.await(byUUID+"1", 0, func() {}); err == nil || !strings.Contains(err.Error(), "none at all") {
		t.Errorf("no devices: %v", err)
	}
	const size = 1 << 20
	path := disk(t, size)
	m := mark(t, path, size)
	for name, to := range map[string]string{"sda": disk(t, size), "sdb": path, "loop0": path, "sdc": filepath.Join(root, "gone")} {
		if err := os.MkdirAll(filepath.Join(d.sys, "class/block", name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(d.dev, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, filepath.Join(d.dev, name)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := d.await(byUUID+strings.ToUpper(m.UUID), 0, func() {})
	if want := filepath.Join(d.dev, "sdb"); got != want || err != nil {
		t.Errorf("found %q, want %q: %v", got, want, err)
	}
	beats := 0
	if _, err := d.await(byUUID+"other", 300*time.Millisecond, func() { beats++ }); err == nil || !strings.Contains(err.Error(), "only sda, sdb, sdc") || beats < 2 {
		t.Errorf("another device: %v after %d looks", err, beats)
	}
	if path, err := d.await("/dev/null", 0, func() {}); path != "/dev/null" || err != nil {
		t.Errorf("a path: %q, %v", path, err)
	}
}
