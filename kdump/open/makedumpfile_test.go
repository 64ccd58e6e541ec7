package open_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"procdump/kdump"
	"procdump/kdump/diskdump"
	"procdump/kdump/flat"
	"procdump/kdump/internal/sample"
	"procdump/kdump/open"
	"procdump/kdump/vmcore"
	"procdump/victims/need"
)

// makedumpfile runs the program of that name with output to a new file, which
// it returns. If stdout is set, its standard output is the file.
func makedumpfile(t *testing.T, stdout bool, args ...string) string {
	t.Helper()
	tool := need.Tool(t, "makedumpfile")
	out := filepath.Join(t.TempDir(), "out")
	cmd := exec.Command(tool, args...)
	var log bytes.Buffer
	cmd.Stderr, cmd.Stdout = &log, &log
	if stdout {
		f, err := os.Create(out)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd.Stdout = f
	} else {
		cmd.Args = append(cmd.Args, out)
	}
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd.Args, err, log.Bytes())
	}
	return out
}

// elf writes d as an ELF file.
func elf(t *testing.T, d *kdump.Dump) string {
	t.Helper()
	var b bytes.Buffer
	if _, err := vmcore.Write(context.Background(), &b, d, d.Present(), vmcore.Options{DumpLevel: d.DumpLevel}); err != nil {
		t.Fatal(err)
	}
	return save(t, b.Bytes())
}

// compressed writes d as a kdump-compressed file.
func compressed(t *testing.T, d *kdump.Dump, c diskdump.Compression) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "kdump"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	k, err := diskdump.NewWriter(f, d, diskdump.Options{Compression: c, DumpLevel: d.DumpLevel})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Write(context.Background(), d.Present()); err != nil {
		t.Fatal(err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func save(t *testing.T, b []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "dump")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func openFile(t *testing.T, name string) *kdump.Dump {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	d, err := open.Dump(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// samePages compares the contents of all pages, and why others are not there.
func samePages(t *testing.T, got, want *kdump.Dump) {
	t.Helper()
	a, b := make([]byte, sample.Page), make([]byte, sample.Page)
	pages, wrong := 0, 0
	for _, r := range append([]kdump.Run{{Addr: 0, Size: 0x1000}, {Addr: 0x700000, Size: 0x2000}}, want.Runs...) {
		for addr := r.Addr; addr < r.End() && wrong < 5; addr += sample.Page {
			_, errA := got.Memory.ReadPhys(a, addr)
			_, errB := want.Memory.ReadPhys(b, addr)
			switch {
			case reason(errA) != reason(errB):
				t.Errorf("page at %#x: %v, want %v", addr, errA, errB)
				wrong++
			case errA == nil && !bytes.Equal(a, b):
				t.Errorf("page at %#x differs: % x…, want % x…", addr, a[:16], b[:16])
				wrong++
			case errA == nil:
				pages++
			}
		}
	}
	if pages < 100 {
		t.Errorf("compared %d pages only", pages)
	}
}

// reason is the sentinel that err wraps.
func reason(err error) error {
	for _, e := range []error{kdump.ErrAbsent, kdump.ErrExcluded, kdump.ErrDamaged} {
		if errors.Is(err, e) {
			return e
		}
	}
	return err
}

// TestMakedumpfileReadsOurs lets makedumpfile rewrite our files: what comes out
// must hold what went in, and must not depend on the format in between.
func TestMakedumpfileReadsOurs(t *testing.T) {
	d, _ := sample.New()
	fromELF := makedumpfile(t, false, "-l", "-d", "0", elf(t, d))
	want, err := os.ReadFile(fromELF)
	if err != nil {
		t.Fatal(err)
	}
	lzo := openFile(t, fromELF)
	samePages(t, lzo, d)
	if !bytes.Equal(lzo.VMCoreInfo, d.VMCoreInfo) || len(lzo.CPUs) != 2 {
		t.Errorf("makedumpfile kept %d bytes of VMCOREINFO and %d CPUs", len(lzo.VMCoreInfo), len(lzo.CPUs))
	}
	for _, c := range []diskdump.Compression{diskdump.Stored, diskdump.Zlib} {
		// Debian's makedumpfile reads these two and LZO.
		got, err := os.ReadFile(makedumpfile(t, false, "-l", "-d", "0", compressed(t, d, c)))
		if err != nil {
			t.Fatal(err)
		}
		samePages(t, openFile(t, save(t, got)), d)
		if len(got) != len(want) {
			t.Errorf("%s: makedumpfile makes %d bytes of it, %d of ELF", c, len(got), len(want))
		}
	}
}

// TestReadMakedumpfile reads every format that makedumpfile writes.
func TestReadMakedumpfile(t *testing.T) {
	d, _ := sample.New()
	in := elf(t, d)
	for _, c := range []struct {
		name   string
		stdout bool
		args   []string
	}{
		{"stored", false, []string{"-d", "0"}},
		{"zlib", false, []string{"-c", "-d", "0"}},
		{"lzo", false, []string{"-l", "-d", "0"}},
		{"shared zero page", false, []string{"-l", "-d", "1"}},
		{"elf", false, []string{"-E", "-d", "0"}},
		{"elf with zero fill", false, []string{"-E", "-d", "1"}},
		{"flattened lzo", true, []string{"-F", "-l", "-d", "0"}},
		{"flattened elf", true, []string{"-F", "-E", "-d", "1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			samePages(t, openFile(t, makedumpfile(t, c.stdout, append(c.args, in)...)), d)
		})
	}
}

// TestMakedumpfileRearranges lets makedumpfile unpack our flattened file.
func TestMakedumpfileRearranges(t *testing.T) {
	tool := need.Tool(t, "makedumpfile")
	d, _ := sample.New()
	var b bytes.Buffer
	w := flat.NewWriter(&b)
	k, err := diskdump.NewWriter(w, d, diskdump.Options{Compression: diskdump.Zstd})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(k.Write(context.Background(), d.Present()), k.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	samePages(t, openFile(t, save(t, b.Bytes())), d)
	out := filepath.Join(t.TempDir(), "out")
	cmd := exec.Command(tool, "-R", out)
	cmd.Stdin = bytes.NewReader(b.Bytes())
	if log, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("makedumpfile -R: %v\n%s", err, log)
	}
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(compressed(t, d, diskdump.Zstd))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("rearranged flattened file has %d bytes, the direct one %d, or they differ", len(got), len(want))
	}
}
