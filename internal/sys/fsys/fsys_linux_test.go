package fsys

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"procdump/victims/need"
)

// ways are the file systems that Temp must work on.
var ways = []struct {
	name                        string
	noUnnamed, noFlags, noLinks bool
}{
	{"unnamed", false, false, false},
	{"named", true, false, false},
	{"hard link", true, true, false},
	{"neither flags nor links", true, true, true},
}

func eachWay(t *testing.T, f func(t *testing.T, dir string)) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			noUnnamed, noFlags, noLinks = w.noUnnamed, w.noFlags, w.noLinks
			defer func() { noUnnamed, noFlags, noLinks = false, false, false }()
			dir := t.TempDir()
			f(t, dir)
		})
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func create(t *testing.T, dir, text string) *Temp {
	t.Helper()
	f, err := CreateTemp(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestTempLink(t *testing.T) {
	eachWay(t, func(t *testing.T, dir string) {
		f := create(t, dir, "one")
		for _, n := range names(t, dir) {
			if !strings.HasPrefix(n, ".procdump-") {
				t.Errorf("%q is to be seen", n)
			}
		}
		path := filepath.Join(dir, "x")
		if err := f.Link(path, false); err != nil {
			t.Fatal(err)
		}
		f.Discard()
		st, err := os.Stat(path)
		if err != nil || st.Mode() != 0o600 {
			t.Fatalf("mode %v, %v", st.Mode(), err)
		}
		g := create(t, dir, "two")
		if err := g.Link(path, false); !errors.Is(err, fs.ErrExist) {
			t.Errorf("existing name: %v", err)
		}
		if b, _ := os.ReadFile(path); string(b) != "one" {
			t.Errorf("the old file holds %q", b)
		}
		if err := g.Link(path, true); err != nil {
			t.Errorf("overwrite: %v", err)
		}
		g.Discard()
		if b, _ := os.ReadFile(path); string(b) != "two" {
			t.Errorf("the overwritten file holds %q", b)
		}
		h := create(t, dir, "three")
		if err := h.Link(filepath.Join(dir, "new"), true); err != nil {
			t.Errorf("overwrite of nothing: %v", err)
		}
		h.Discard()
		if got := fmt.Sprint(names(t, dir)); got != "[new x]" {
			t.Errorf("files %s", got)
		}
	})
}

func TestTempDiscard(t *testing.T) {
	eachWay(t, func(t *testing.T, dir string) {
		f := create(t, dir, "x")
		f.Discard()
		f.Discard()
		g := create(t, dir, "x")
		folder := filepath.Join(dir, "folder")
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, overwrite := range []bool{false, true} {
			if err := g.Link(folder, overwrite); err == nil {
				t.Errorf("a folder gave way, overwrite %v", overwrite)
			}
			if err := g.Link(filepath.Join(dir, "none", "x"), overwrite); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("missing folder, overwrite %v: %v", overwrite, err)
			}
		}
		g.Discard()
		if got := fmt.Sprint(names(t, dir)); got != "[folder]" {
			t.Errorf("files %s", got)
		}
	})
}

// TestTempSymlink has a symbolic link where the dump should be: what it points
// at must not change.
func TestTempSymlink(t *testing.T) {
	eachWay(t, func(t *testing.T, dir string) {
		victim, link := filepath.Join(dir, "victim"), filepath.Join(dir, "link")
		if err := os.WriteFile(victim, []byte("v"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(victim, link); err != nil {
			t.Fatal(err)
		}
		f := create(t, dir, "dump")
		if err := f.Link(link, false); !errors.Is(err, fs.ErrExist) {
			t.Errorf("existing symbolic link: %v", err)
		}
		if err := f.Link(link, true); err != nil {
			t.Error(err)
		}
		f.Discard()
		if b, _ := os.ReadFile(victim); string(b) != "v" {
			t.Errorf("what the link points at holds %q", b)
		}
	})
}

// TestTempRace has eight writers want one name; one gets it, and its content is
// its own.
func TestTempRace(t *testing.T) {
	eachWay(t, func(t *testing.T, dir string) {
		path := filepath.Join(dir, "x")
		var wg sync.WaitGroup
		won := make(chan string, 8)
		for i := range 8 {
			f := create(t, dir, fmt.Sprint(i))
			wg.Go(func() {
				defer f.Discard()
				switch err := f.Link(path, false); {
				case err == nil:
					won <- fmt.Sprint(i)
				case !errors.Is(err, fs.ErrExist):
					t.Errorf("writer %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		b, err := os.ReadFile(path)
		if len(won) != 1 || err != nil || string(b) != <-won {
			t.Errorf("%d writers won, content %q, %v", len(won), b, err)
		}
		if n := names(t, dir); len(n) != 1 {
			t.Errorf("files %q", n)
		}
	})
}

func TestCreateTempErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, noUnnamed = range []bool{false, true} {
		if _, err := CreateTemp(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("missing folder: %v", err)
		}
		if _, err := CreateTemp(file); !errors.Is(err, syscall.ENOTDIR) {
			t.Errorf("file as folder: %v", err)
		}
	}
	noUnnamed = false
}

// TestWriteFile holds for files that have no name at first, and for those that
// have a hidden one.
func TestWriteFile(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	for _, noUnnamed = range []bool{false, true} {
		for _, durable := range []WriteFlag{0, Durable} {
			dir := t.TempDir()
			path := filepath.Join(dir, "file")
			if err := WriteFile(path, []byte("first"), 0o644, durable); err != nil {
				t.Fatal(err)
			}
			if err := WriteFile(path, []byte("second"), 0o600, durable); !errors.Is(err, fs.ErrExist) {
				t.Errorf("a file that is there: %v", err)
			}
			want := func(content string, mode fs.FileMode) {
				t.Helper()
				b, err := os.ReadFile(path)
				if st, _ := os.Stat(path); err != nil || string(b) != content || st.Mode() != mode {
					t.Errorf("%q of mode %v, %v; want %q, %v", b, st.Mode(), err, content, mode)
				}
				if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
					t.Errorf("left behind: %v, %v", entries, err)
				}
			}
			want("first", 0o644)
			if err := WriteFile(path, []byte("third"), 0o600, durable|Overwrite); err != nil {
				t.Fatal(err)
			}
			want("third", 0o600)
			if err := WriteFile(filepath.Join(dir, "none", "file"), nil, 0o600, durable); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("no folder: %v", err)
			}
		}
	}
	noUnnamed = false
}

func TestAllocated(t *testing.T) {
	f := create(t, t.TempDir(), "")
	defer f.Discard()
	if err := f.Truncate(1 << 30); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 1<<20), 1<<29); err != nil {
		t.Fatal(err)
	}
	StartWriteback(f.File, 1<<29, 1<<20)
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if n := Allocated(f.File); n < 1<<20 || n > 2<<20 {
		t.Errorf("1 GiB with 1 MiB written occupies %d bytes", n)
	}
}

func TestFree(t *testing.T) {
	dir := t.TempDir()
	n, err := Free(dir)
	if err != nil || n <= 0 {
		t.Errorf("%d bytes, %v", n, err)
	}
	if size, _, err := Space(dir); err != nil || size < n {
		t.Errorf("size %d, free %d, %v", size, n, err)
	}
	// FUSE may count in other blocks than those of a transfer.
	if size, free := spaceOf(&unix.Statfs_t{Bsize: 1 << 20, Frsize: 4096, Blocks: 100, Bavail: 10}); size != 100*4096 || free != 10*4096 {
		t.Errorf("size %d, free %d", size, free)
	}
	if size, free := spaceOf(&unix.Statfs_t{Bsize: 4096, Blocks: math.MaxUint64, Bavail: 10}); size <= 0 || free != 10*4096 {
		t.Errorf("size %d, free %d", size, free)
	}
	if _, err := Free(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing folder: %v", err)
	}
	if err := SyncDir(dir); err != nil {
		t.Error(err)
	}
	// Some file systems do not know: that is not "full".
	if _, err := Free("/proc"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("free space of /proc: %v", err)
	}
}

func TestUntrusted(t *testing.T) {
	need.Root(t)
	// /tmp can be written by all: a folder in / is needed.
	dir, err := os.MkdirTemp("/", ".procdump-test-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "folder", "file")
	if err := errors.Join(os.Mkdir(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o755), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	check := func(path, want string) {
		t.Helper()
		if why, err := Untrusted(path); err != nil || !strings.Contains(why, want) || (why == "") != (want == "") {
			t.Errorf("%s: %q, %v; want %q", path, why, err, want)
		}
	}
	check(file, "")
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	check(link, link+" is a link")
	for _, p := range []string{file, filepath.Dir(file), dir} {
		for _, mode := range []fs.FileMode{0o775, 0o757} {
			if err := os.Chmod(p, mode); err != nil {
				t.Fatal(err)
			}
			check(file, p+" can be written by others than root")
		}
		if err := errors.Join(os.Chmod(p, 0o755), os.Chown(p, 65534, -1)); err != nil {
			t.Fatal(err)
		}
		check(file, p+" belongs to user 65534")
		if err := os.Chown(p, 0, -1); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Untrusted(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestErrorKinds(t *testing.T) {
	wrap := func(e syscall.Errno) error { return fmt.Errorf("x: %w", &fs.PathError{Op: "write", Err: e}) }
	if !IsNoSpace(wrap(syscall.ENOSPC)) || !IsNoSpace(wrap(syscall.EDQUOT)) || IsNoSpace(wrap(syscall.EIO)) || IsNoSpace(nil) {
		t.Error("IsNoSpace")
	}
	if !IsTooLarge(wrap(syscall.EFBIG)) || IsTooLarge(wrap(syscall.ENOSPC)) {
		t.Error("IsTooLarge")
	}
}

// TestFileSizeLimit runs itself with a limit on file sizes: the write that
// passes it must be an error, not the end of the program.
func TestFileSizeLimit(t *testing.T) {
	if dir := os.Getenv("FSYS_TEST_LIMIT"); dir != "" {
		f, err := CreateTemp(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 1 << 20, Max: unix.RLIM_INFINITY}); err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			if _, err := f.WriteAt(make([]byte, 1<<16), 1<<20-1<<15); !IsTooLarge(err) {
				t.Fatalf("write %d: %v", i, err)
			}
			if err := f.Truncate(2 << 20); !IsTooLarge(err) {
				t.Fatalf("truncate %d: %v", i, err)
			}
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestFileSizeLimit$", "-test.count=1")
	cmd.Env = append(os.Environ(), "FSYS_TEST_LIMIT="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// TestOpenDirect writes past the page cache where that is possible.
func TestOpenDirect(t *testing.T) {
	f := create(t, t.TempDir(), "head")
	defer f.Discard()
	d, err := OpenDirect(f.File)
	if err != nil {
		t.Skipf("direct writes: %v", err) // a file system in memory, or one that cannot
	}
	defer d.Close()
	b := AlignedBuffer(3 * DirectAlign)
	for i := range b {
		b[i] = byte(i/DirectAlign) + 1
	}
	if len(b) != 3*DirectAlign || !IsAligned(b, DirectAlign) || IsAligned(b[1:], DirectAlign) || IsAligned(b[:100], 0) || IsAligned(b, 512) || IsAligned(nil, 0) {
		t.Fatal("alignment")
	}
	if _, err := d.WriteAt(b, DirectAlign); err != nil {
		t.Fatal(err)
	}
	if _, err := d.WriteAt(b[1:100], 1); err != nil && !IsDirectRefused(err) {
		t.Errorf("unaligned write: %v", err)
	}
	got := make([]byte, len(b))
	if _, err := f.ReadAt(got, DirectAlign); err != nil || string(got) != string(b) {
		t.Errorf("read back other bytes, or %v", err)
	}
	if n := Allocated(f.File); n < 3*DirectAlign {
		t.Errorf("%d bytes allocated", n)
	}
}
