package capture

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"procdump/dumpkind"
	"procdump/victims/need"
)

// mount mounts a file system of its own for the test.
func mount(t *testing.T, kind, options string) string {
	t.Helper()
	need.Root(t)
	dir := t.TempDir()
	if err := syscall.Mount("procdump-test", dir, kind, 0, options); err != nil {
		need.Missing(t, "mount", "mount "+kind+": "+err.Error())
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestDiskFull(t *testing.T) {
	noLeak(t)
	dir := mount(t, "tmpfs", "size=2m")
	for i, name := range formats {
		for _, kind := range []dumpkind.Kind{dumpkind.Full, dumpkind.MiniPlus} {
			src, m := newSource(9 << 20)
			if i%2 == 0 {
				src.p.Memory = fastMemory{m}
			}
			j := &Job{Outputs: []Output{output(t, dir, name, kind, 1)}}
			refused(t, j, t.Context(), src, ErrNoSpace)
		}
	}
	// The disk fills up after the check; what is in RAM does not fit either.
	for _, name := range formats {
		src, _ := newSource(9 << 20)
		j := &Job{Outputs: []Output{output(t, dir, name, dumpkind.Triage, 2), output(t, dir, name, dumpkind.Mini, 2)}}
		if err := j.Prepare(src.p); err != nil {
			t.Fatal(err)
		}
		ballast := filepath.Join(dir, "ballast")
		if err := os.WriteFile(ballast, make([]byte, 3<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		for _, res := range j.Run(t.Context(), src) {
			if !errors.Is(res.Err, ErrNoSpace) || !strings.Contains(res.Err.Error(), "free some space") || !strings.Contains(res.Err.Error(), dir) {
				t.Errorf("%s: %v", name, res.Err)
			}
		}
		j.Discard()
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		if n := files(t, dir); len(n) > 0 {
			t.Errorf("%s: files %q are left", name, n)
		}
	}
	// There is room again.
	src, m := newSource(1 << 20)
	res := run(t, &Job{Outputs: []Output{output(t, dir, "x.core", dumpkind.Mini, 1)}}, src)
	m.resumed.Store(false)
	check(t, &res[0], m)
}

// directDump is a size that does not go through the page cache alone.
const directDump = 64 << 20

func lowerCached(t *testing.T) {
	was := cachedMax
	cachedMax = directDump / 4
	t.Cleanup(func() { cachedMax = was })
}

// TestRunLarge has a dump that is large enough to be written past the page
// cache, where the file system can do that.
func TestRunLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 500 MB")
	}
	lowerCached(t)
	dirs := []string{t.TempDir()}
	if os.Geteuid() == 0 {
		dirs = append(dirs, mount(t, "tmpfs", "size=400m"))
	}
	for _, dir := range dirs {
		for _, name := range formats[:2] {
			src, m := newSource(directDump + 5*page)
			m.dense = true
			m.bad = map[uint64]bool{m.runs[300].Addr + 9*page: true}
			res := run(t, &Job{Outputs: []Output{output(t, dir, name, dumpkind.Full, 1)}}, src)
			m.resumed.Store(false)
			check(t, &res[0], m)
			if res[0].Disk > res[0].Full*2/3 {
				t.Errorf("%s: %d bytes occupy %d", name, res[0].Full, res[0].Disk)
			}
			os.Remove(res[0].Path)
		}
	}
}

// TestDiskFullExt4 has a file system that finds out late that it is full.
func TestDiskFullExt4(t *testing.T) {
	noLeak(t)
	need.Root(t)
	lowerCached(t)
	mkfs := need.Tool(t, "mkfs.ext4")
	image := filepath.Join(t.TempDir(), "image")
	dir := t.TempDir()
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 48<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs, "-q", image).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
		need.Missing(t, "mount", string(out))
	}
	defer func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %s", out)
		}
	}()
	if err := os.Remove(filepath.Join(dir, "lost+found")); err != nil {
		t.Fatal(err)
	}
	for _, name := range formats {
		src, m := newSource(directDump + 5*page)
		m.dense = true
		j := &Job{Outputs: []Output{output(t, dir, name, dumpkind.Full, 1)}}
		refused(t, j, t.Context(), src, ErrNoSpace)
	}
}

// TestPrepareNoSpace finds out before the stop.
func TestPrepareNoSpace(t *testing.T) {
	dir := t.TempDir()
	src, _ := newSource(1 << 20)
	src.p.Regions[300].Size, src.p.Regions[300].Resident = 1<<52, 1<<52
	for _, name := range formats {
		j := &Job{Outputs: []Output{output(t, dir, name, dumpkind.Full, 1)}}
		err := j.Prepare(src.p)
		if !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "PiB") && !strings.Contains(err.Error(), "TiB") || !strings.Contains(err.Error(), "-mm") {
			t.Errorf("%s: %v", name, err)
		}
		j.Discard()
		j = &Job{Outputs: []Output{output(t, dir, name, dumpkind.Mini, 1)}}
		if err := j.Prepare(src.p); err != nil {
			t.Errorf("mini: %v", err)
		}
		j.Discard()
	}
	if n := files(t, dir); len(n) > 0 {
		t.Errorf("files %q are left", n)
	}
}

// TestPrepareUnknownSpace has file systems that do not say how much is free.
func TestPrepareUnknownSpace(t *testing.T) {
	for _, kind := range []string{"ramfs", "tmpfs"} {
		dir := mount(t, kind, map[string]string{"tmpfs": "size=0"}[kind])
		src, m := newSource(1 << 20)
		src.p.Regions[300].Resident = 1 << 20
		res := run(t, &Job{Outputs: []Output{output(t, dir, "x.core", dumpkind.Full, 1)}}, src)
		m.resumed.Store(false)
		check(t, &res[0], m)
	}
}

// TestFileSizeLimit runs itself under RLIMIT_FSIZE (ulimit -f).
func TestFileSizeLimit(t *testing.T) {
	if dir := os.Getenv("CAPTURE_TEST_LIMIT"); dir != "" {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 1 << 20, Max: 1 << 20}); err != nil {
			t.Fatal(err)
		}
		for _, name := range formats {
			src, _ := newSource(9 << 20)
			j := &Job{Outputs: []Output{output(t, dir, name, dumpkind.Full, 1)}}
			refused(t, j, t.Context(), src, syscall.EFBIG)
			src, _ = newSource(9 << 20)
			res := run(t, &Job{Outputs: []Output{output(t, dir, name, dumpkind.Full, 1)}}, src)
			if err := res[0].Err; errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "ulimit -f") {
				t.Errorf("%s: %v", name, err)
			}
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestFileSizeLimit$", "-test.count=1")
	cmd.Env = append(os.Environ(), "CAPTURE_TEST_LIMIT="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestFolderRemoved(t *testing.T) {
	noLeak(t)
	for _, name := range formats {
		dir := filepath.Join(t.TempDir(), "d")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		src, m := newSource(1 << 20)
		j := &Job{Outputs: []Output{output(t, dir, name, dumpkind.Full, 1)}}
		if err := j.Prepare(src.p); err != nil {
			t.Fatal(err)
		}
		m.onRead = func(uint64) error { return os.RemoveAll(dir) }
		res := j.Run(t.Context(), src)
		j.Discard()
		if err := res[0].Err; !errors.Is(err, fs.ErrNotExist) || res[0].Path != "" {
			t.Errorf("%s: %q, %v", name, res[0].Path, err)
		}
		if err := j.Prepare(src.p); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: prepare: %v", name, err)
		}
		j.Discard()
	}
}

// TestFolderUnwritable is nobody, in one thread, who may not write there.
func TestFolderUnwritable(t *testing.T) {
	dir, err := os.MkdirTemp("", "procdump-unwritable")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	src, _ := newSource(1 << 20)
	j := &Job{Outputs: []Output{output(t, dir, "x.core", dumpkind.Full, 1)}}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with this
		if os.Geteuid() == 0 {
			const nobody = 65534
			if err := syscall.Setfsuid(nobody); err != nil {
				done <- err
				return
			}
		}
		defer j.Discard()
		done <- j.Prepare(src.p)
	}()
	if err := <-done; !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), dir) || strings.Contains(err.Error(), ".tmp") {
		t.Errorf("error %v", err)
	}
	if n := files(t, dir); len(n) > 0 {
		t.Errorf("files %q", n)
	}
}
