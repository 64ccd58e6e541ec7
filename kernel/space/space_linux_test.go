package space

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"procdump/arch"
	"procdump/internal/sys/fsys"
	"procdump/internal/sys/systemlog"
	"procdump/kdump"
	"procdump/kernel/pages"
	"procdump/kernel/settings"
	"procdump/victims/need"
)

// manager returns a Manager of folders of the test's, on a disk of 100 GiB of
// which half is free.
func manager(t *testing.T, folder string) *Manager {
	s := settings.Default()
	s.Folder, s.SmallFolder = folder, filepath.Join(folder, "small")
	m := New(s)
	m.StateFile = filepath.Join(t.TempDir(), "lib", "state.json")
	m.Now = func() time.Time { return day0 }
	m.Measure = func(context.Context) (Measure, error) { return Measure{Memory: gib, Estimate: 2 * mib}, nil }
	m.Disk = func(string) (Disk, error) { return Disk{Size: 100 * gib, Free: 50 * gib}, nil }
	m.Log = func(_ systemlog.Level, text string) { t.Logf("log: %s", text) }
	return m
}

func reserve(t *testing.T, m *Manager) *Reservation {
	t.Helper()
	r, err := m.Reserve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// mounted mounts a file system of this size in bytes.
func mounted(t *testing.T, kind string, bytes int64) string {
	t.Helper()
	need.Root(t)
	dir := t.TempDir()
	if kind == "tmpfs" || kind == "ramfs" {
		if err := syscall.Mount("none", dir, kind, 0, fmt.Sprintf("size=%d", bytes)); err != nil {
			need.Missing(t, "mount", err.Error())
		}
	} else {
		mkfs := need.Tool(t, "mkfs."+kind)
		image := filepath.Join(t.TempDir(), "disk")
		if err := os.WriteFile(image, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(image, bytes); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(mkfs, image).CombinedOutput(); err != nil {
			t.Fatalf("mkfs: %v\n%s", err, out)
		}
		if out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
			need.Missing(t, "mount", string(out))
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	return dir
}

// sync has a file system write what it has not written, and give back what is
// free.
func sync(t *testing.T, dir string) {
	t.Helper()
	if out, err := exec.Command("sync", "-f", dir).CombinedOutput(); err != nil {
		t.Fatalf("sync: %v\n%s", err, out)
	}
}

// TestReserve has real file systems set space aside, more and less, and give it
// back.
func TestReserve(t *testing.T) {
	for _, kind := range []string{"tmpfs", "ext4", "xfs", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			dir := mounted(t, kind, 400*mib)
			m := manager(t, filepath.Join(dir, "crash"))
			m.Disk = diskOf
			if err := os.Mkdir(m.Settings.Folder, 0o700); err != nil {
				t.Fatal(err)
			}
			empty, err := diskOf(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range []struct{ estimate, want int64 }{{2 * mib, 80 * mib}, {20 * mib, 112 * mib}, {20 * mib, 112 * mib}, {2 * mib, 80 * mib}} {
				if c.estimate == 2*mib { // what was estimated before is forgotten
					os.Remove(m.StateFile)
				}
				m.Measure = func(context.Context) (Measure, error) { return Measure{Memory: gib, Estimate: c.estimate}, nil }
				r := reserve(t, m)
				if len(r.Warnings) > 0 || r.Bytes != c.want || r.File != filepath.Join(m.Settings.Folder, ReservedName) {
					t.Fatalf("%+v, want %d bytes", r, c.want)
				}
				st, err := os.Stat(r.File)
				if err != nil || st.Size() != c.want || st.Mode() != 0o600 {
					t.Fatalf("%v, %v", st, err)
				}
				// Btrfs tells what is free by chunks that it makes later.
				if now, err := diskOf(dir); kind != "btrfs" && (err != nil || now.Free > empty.Free-c.want) {
					t.Fatalf("%d bytes free of %d, with %d set aside: %v", now.Free, empty.Free, c.want, err)
				}
			}
			// The dump is written where there is nothing but what was set aside.
			hog, err := os.Create(filepath.Join(dir, "hog"))
			if err != nil {
				t.Fatal(err)
			}
			for end := int64(0); err == nil; end += mib {
				err = syscall.Fallocate(int(hog.Fd()), 0, end, mib)
			}
			hog.Close()
			if !fsys.IsNoSpace(err) {
				t.Fatal(err)
			}
			if err := os.Remove(filepath.Join(m.Settings.Folder, ReservedName)); err != nil {
				t.Fatal(err)
			}
			sync(t, dir) // as the crash kernel does
			if err := os.WriteFile(filepath.Join(m.Settings.Folder, "vmcore.kdump"), make([]byte, 64*mib), 0o600); err != nil {
				t.Error(err)
			}
			// Now there is no room.
			r := reserve(t, m)
			if len(r.Warnings) != 1 || r.Bytes >= 80*mib {
				t.Errorf("%+v", r)
			}
			os.Remove(hog.Name())
			for start := time.Now(); r.Bytes != 80*mib && time.Since(start) < 30*time.Second; {
				sync(t, dir) // xfs gives space back later
				r = reserve(t, m)
			}
			if len(r.Warnings) > 0 || r.Bytes != 80*mib {
				t.Errorf("%+v", r)
			}
			if err := m.Release(); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(r.File); r.File != "" && !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
			if s := m.Status(); s.ReservedBytes != 0 || len(s.Warnings) > 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestReserveDiskLies has the disk end before what it said was free.
func TestReserveDiskLies(t *testing.T) {
	dir := mounted(t, "tmpfs", 80*mib+mib/2)
	m := manager(t, dir)
	if r := reserve(t, m); r.Bytes != 80*mib {
		t.Fatalf("%+v", r)
	}
	m.Measure = func(context.Context) (Measure, error) { return Measure{Memory: gib, Estimate: 40 * mib}, nil }
	r := reserve(t, m)
	if len(r.Warnings) != 1 || !strings.HasPrefix(r.Warnings[0], "80.0 MB of the 144.0 MB that") {
		t.Errorf("warnings %q", r.Warnings)
	}
	if r.Bytes != 80*mib || r.File == "" {
		t.Errorf("%d bytes are left, want those of before", r.Bytes)
	}
}

// TestReserveUnsupported has file systems that set nothing aside.
func TestReserveUnsupported(t *testing.T) {
	for _, kind := range []string{"ramfs", "ext3"} {
		m := manager(t, filepath.Join(mounted(t, kind, 16*mib), "crash"))
		r := reserve(t, m)
		if r.Bytes != 0 || r.File != "" || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "cannot set space aside") {
			t.Errorf("%s: %+v", kind, r)
		}
		if entries, err := os.ReadDir(m.Settings.Folder); err != nil || len(entries) != 0 {
			t.Errorf("%s: left behind: %v, %v", kind, entries, err)
		}
	}
}

// TestReserveNotOurs puts something else where the file is to be.
func TestReserveNotOurs(t *testing.T) {
	m := manager(t, t.TempDir())
	file, victim := filepath.Join(m.Settings.Folder, ReservedName), filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, put := range map[string]func() error{
		"link":      func() error { return os.Symlink(victim, file) },
		"hard link": func() error { return os.Link(victim, file) },
		"folder":    func() error { return os.Mkdir(file, 0o700) },
		"pipe":      func() error { return syscall.Mkfifo(file, 0o600) },
	} {
		if err := put(); err != nil {
			t.Fatal(err)
		}
		if r := reserve(t, m); r.Bytes != 0 || len(r.Warnings) != 1 {
			t.Errorf("%s: %+v", what, r)
		}
		if err := m.Release(); err == nil {
			t.Errorf("%s: removed", what)
		}
		if b, err := os.ReadFile(victim); err != nil || string(b) != "mine" {
			t.Errorf("%s: %q, %v", what, b, err)
		}
		if err := os.Remove(file); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestReserveAgain: what is set aside already is there to be set aside.
func TestReserveAgain(t *testing.T) {
	m := manager(t, t.TempDir())
	const size, spare = 1000 * mib, 50 * mib
	free := int64(spare + 80*mib)
	m.Disk = func(string) (Disk, error) { return Disk{Size: size, Free: free}, nil }
	for range 2 {
		if r := reserve(t, m); r.Bytes != 80*mib || len(r.Warnings) > 0 {
			t.Errorf("%+v", r)
		}
		free = spare
	}
}

// TestReserveUnmeasured: the size of the memory is known in any case.
func TestReserveUnmeasured(t *testing.T) {
	m := manager(t, t.TempDir())
	m.Measure = func(context.Context) (Measure, error) { return Measure{}, errors.New("no kcore") }
	m.Disk = func(string) (Disk, error) { return Disk{Size: 100 * mib, Free: 21 * mib}, nil }
	r := reserve(t, m)
	if want := wholeMemory(fsys.Memory()) / 4; r.Bytes != atLeast || r.Decision.Wanted < want || len(r.Warnings) != 2 {
		t.Errorf("%+v, want %d bytes", r, want)
	}
}

// TestReserveMoves has the folder and the kind change.
func TestReserveMoves(t *testing.T) {
	m := manager(t, t.TempDir())
	first := reserve(t, m)
	m.Settings.Folder = filepath.Join(t.TempDir(), "other")
	second := reserve(t, m)
	if _, err := os.Stat(first.File); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the space of the old folder is not given back")
	}
	if second.File != filepath.Join(m.Settings.Folder, ReservedName) || second.Bytes != 80*mib {
		t.Errorf("%+v", second)
	}
	if err := os.Chmod(second.File, 0o644); err != nil {
		t.Fatal(err)
	}
	reserve(t, m)
	if st, err := os.Stat(second.File); err != nil || st.Mode() != 0o600 {
		t.Errorf("others can read what freed blocks held: %v, %v", st.Mode(), err)
	}
	m.Settings.Kind = settings.Kernel
	m.Measure = func(context.Context) (Measure, error) { panic("nothing is to be measured") }
	if r := reserve(t, m); r.Bytes != 0 || r.File != "" || len(r.Warnings) > 0 {
		t.Errorf("%+v", r)
	}
	if _, err := os.Stat(second.File); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the space of kind automatic is not given back")
	}
	// One that the state does not know of.
	m.Settings.Kind = settings.Automatic
	m.Measure = func(context.Context) (Measure, error) { return Measure{Memory: gib}, nil }
	reserve(t, m)
	os.Remove(m.StateFile)
	m.Settings.Kind = settings.None
	reserve(t, m)
	if _, err := os.Stat(second.File); !errors.Is(err, fs.ErrNotExist) {
		t.Error("space that the state does not know of is not given back")
	}
}

// TestReleaseElsewhere has the settings be lost: what was set aside by them is
// found nevertheless.
func TestReleaseElsewhere(t *testing.T) {
	m := manager(t, t.TempDir())
	folder := m.Settings.Folder
	gone := func(r *Reservation) {
		t.Helper()
		if _, err := os.Stat(r.File); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", r.File, err)
		}
	}
	first := reserve(t, m)
	m.Settings.Folder = t.TempDir()
	if err := m.Release(); err != nil {
		t.Error(err)
	}
	gone(first)
	if s := m.Status(); s.File != "" || len(s.Warnings) > 0 {
		t.Errorf("%+v", s)
	}
	// Now the state is lost, too.
	m.Settings.Folder = folder
	second := reserve(t, m)
	if err := os.WriteFile(m.StateFile, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.Settings.Folder = t.TempDir()
	if err := m.Release(); err == nil || !strings.Contains(err.Error(), "is damaged") || !strings.Contains(err.Error(), "remove "+ReservedName+" there") {
		t.Errorf("the state is damaged: %v", err)
	}
	if _, err := os.Stat(second.File); err != nil {
		t.Error(err)
	}
	m.Settings.Folder = folder
	if err := m.Release(); err == nil || !strings.Contains(err.Error(), "is damaged") {
		t.Errorf("the state is damaged: %v", err)
	}
	gone(second)
}

func TestStateDamaged(t *testing.T) {
	other := filepath.Join(t.TempDir(), "other") // of somebody else
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "{", "[]", `{"reserved": -1}`, `{"peak": 1e300}`, `{"needed": 9000000000000000000}`,
		fmt.Sprintf(`{"file": %q}`, other), `{"file": ".procdump-reserved"}`, "\x00\x00\x00\x00", strings.Repeat(" ", maxState+1)} {
		m := manager(t, t.TempDir())
		if err := os.MkdirAll(filepath.Dir(m.StateFile), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(m.StateFile, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if s := m.Status(); len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "is damaged") {
			t.Errorf("%.20q: %q", text, s.Warnings)
		}
		r := reserve(t, m)
		if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "is damaged") || r.Bytes != 80*mib {
			t.Errorf("%.20q: %+v", text, r)
		}
		if r := reserve(t, m); len(r.Warnings) > 0 {
			t.Errorf("%.20q: %q the second time", text, r.Warnings)
		}
		if _, err := os.Lstat(other); err != nil {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

// FuzzState holds that a state that is read can be planned with and written.
func FuzzState(f *testing.F) {
	f.Add([]byte(`{"file":"/var/crash/.procdump-reserved","reserved":83886080,"peak":1,"peakTime":"2026-03-01T12:00:00Z","lastCrashTime":"9999-03-01T12:00:00Z"}`))
	f.Add([]byte(`{"last":{"record":{"wanted":"automatic","step":"x"}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseState(b)
		if err != nil {
			return
		}
		d := Plan(Input{Now: day0, Kind: settings.Automatic, Measure: Measure{Memory: gib, Estimate: mib}, Disk: Disk{Size: 10 * gib, Free: 10 * gib}, State: s})
		if d.Bytes < atLeast || d.Bytes > 2*gib {
			t.Errorf("%d bytes", d.Bytes)
		}
		if err := d.State.save(filepath.Join(t.TempDir(), "s")); err != nil {
			t.Error(err)
		}
	})
}

// fakeKernel is memory of 1,024 pages, of which 256 are free. What is in them
// cannot be compressed.
type fakeKernel struct {
	dump  kdump.Dump
	noUse error // why the use of the pages is not known
}

func newFakeKernel() *fakeKernel {
	k := &fakeKernel{dump: kdump.Dump{Arch: arch.AMD64, PageSize: 4096, Runs: []kdump.Run{{Size: 4 * mib}}, CPUs: make([]kdump.CPU, 2),
		Uname: kdump.Uname{Sysname: "Linux", Release: "6.1.0", Machine: "x86_64"}}}
	k.dump.Memory = k
	return k
}

func (k *fakeKernel) Dump() *kdump.Dump            { return &k.dump }
func (k *fakeKernel) Live() bool                   { return true }
func (k *fakeKernel) Pages() (pages.Source, error) { return k, k.noUse }

func (k *fakeKernel) Classify(pfn uint64, out []pages.Page) error {
	for i := range out {
		out[i] = pages.Page(pages.Slab)
		if pfn+uint64(i) < 256 {
			out[i] = pages.Page(pages.Free)
		}
	}
	return nil
}

func (k *fakeKernel) ReadPhys(b []byte, addr uint64) (int, error) {
	r := rand.New(rand.NewPCG(addr, 0))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return len(b), nil
}

func TestMeasure(t *testing.T) {
	k := newFakeKernel()
	m, err := measureSource(t.Context(), k, "zstd")
	if err != nil || m.Memory != 4*mib || m.Estimate < 3*mib || m.Estimate > 4*mib {
		t.Errorf("%+v, %v", m, err)
	}
	// Where the use is not known, the memory is known nevertheless, and a
	// quarter of that is set aside.
	k.noUse = errors.New("no kpageflags")
	if m, err = measureSource(t.Context(), k, "zstd"); err == nil || m.Memory != 4*mib || m.Estimate != 0 {
		t.Errorf("%+v, %v", m, err)
	}
	mgr := manager(t, t.TempDir())
	mgr.Measure = func(context.Context) (Measure, error) { return Measure{Memory: 256 * mib}, k.noUse }
	if r := reserve(t, mgr); r.Bytes != 80*mib || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "no kpageflags") {
		t.Errorf("%+v", r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := mgr.Reserve(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x", "state")
	unlock, err := lockState(path)
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan error)
	go func() {
		unlock, err := lockState(path)
		if err == nil {
			unlock()
		}
		second <- err
	}()
	select {
	case err := <-second:
		t.Fatalf("two at once: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	unlock()
	if err := <-second; err != nil {
		t.Error(err)
	}
}
