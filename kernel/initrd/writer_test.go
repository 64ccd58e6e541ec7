package initrd

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"procdump/victims/need"
)

// file is an entry of an archive.
type file struct {
	name    string
	mode    uint32
	content string
	major   uint32
	minor   uint32
}

// parse reads an archive as the format's description says, apart from Writer.
func parse(t *testing.T, b []byte) []file {
	t.Helper()
	var all []file
	inodes := map[uint32]bool{}
	for off := 0; ; {
		if off%4 != 0 || len(b) < off+110 || string(b[off:off+6]) != "070701" {
			t.Fatalf("no header at %d of %d", off, len(b))
		}
		var f [13]uint32
		for i := range f {
			n, err := strconv.ParseUint(string(b[off+6+8*i:off+14+8*i]), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			f[i] = uint32(n)
		}
		name := string(b[off+110 : off+110+int(f[11])])
		if !strings.HasSuffix(name, "\x00") {
			t.Fatalf("name %q has no end", name)
		}
		off = (off + 110 + int(f[11]) + 3) &^ 3
		e := file{name[:len(name)-1], f[1], string(b[off : off+int(f[6])]), f[9], f[10]}
		// The kernel takes files of several links and one inode for one file.
		links := uint32(1)
		if f[1]&typeMask == typeFolder {
			links = 2
		}
		if f[4] != links || inodes[f[0]] && e.name != trailer {
			t.Errorf("%s has inode %d and %d links", e.name, f[0], f[4])
		}
		inodes[f[0]] = true
		off = (off + int(f[6]) + 3) &^ 3
		if e.name == trailer {
			if off != len(b) {
				t.Fatalf("%d bytes after the end", len(b)-off)
			}
			return all
		}
		all = append(all, e)
	}
}

// fill writes one of everything.
func fill(t *testing.T, a *Writer) []file {
	t.Helper()
	for _, err := range []error{
		a.AddDevice("/dev/console", 0o600, 5, 1),
		a.AddBytes("/init", 0o755, []byte("program")),
		a.AddBytes("etc/deep/empty", 0o640, nil),
		a.AddFile("/etc/deep/four", 0o644, 4, strings.NewReader("four")),
		a.AddLink("/bin/sh", "../init"),
		a.AddDir("/etc/deep/"),
		a.AddDir("/proc"),
		a.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return []file{
		{"dev", 0o040755, "", 0, 0}, {"dev/console", 0o020600, "", 5, 1}, {"init", 0o100755, "program", 0, 0},
		{"etc", 0o040755, "", 0, 0}, {"etc/deep", 0o040755, "", 0, 0}, {"etc/deep/empty", 0o100640, "", 0, 0},
		{"etc/deep/four", 0o100644, "four", 0, 0}, {"bin", 0o040755, "", 0, 0}, {"bin/sh", 0o120777, "../init", 0, 0},
		{"proc", 0o040755, "", 0, 0},
	}
}

func TestWriter(t *testing.T) {
	var b bytes.Buffer
	a := NewWriter(&b)
	want := fill(t, a)
	if got := parse(t, b.Bytes()); !slices.Equal(got, want) {
		t.Errorf("entries\n%v, want\n%v", got, want)
	}
	if a.Size() != int64(b.Len()) {
		t.Errorf("size %d, want %d", a.Size(), b.Len())
	}
	if a.AddDir("/more") == nil || a.Close() == nil {
		t.Error("a closed archive takes more")
	}
}

func TestCompressed(t *testing.T) {
	var b bytes.Buffer
	want := fill(t, NewCompressed(&b))
	z, err := gzip.NewReader(&b)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if got := parse(t, plain); !slices.Equal(got, want) {
		t.Errorf("entries\n%v, want\n%v", got, want)
	}
}

// TestUnpack has another program unpack an archive.
func TestUnpack(t *testing.T) {
	busybox := need.Tool(t, "busybox")
	var b bytes.Buffer
	a := NewWriter(&b)
	large := bytes.Repeat([]byte("0123456789"), 100001)
	for _, err := range []error{
		a.AddBytes("/etc/procdump/large", 0o600, large), a.AddLink("/link", "etc/procdump/large"),
		a.AddBytes("/init", 0o755, []byte("#!/bin/sh\n")), a.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	cmd := exec.Command(busybox, "cpio", "-idm")
	cmd.Dir, cmd.Stdin = dir, &b
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v\n%s", err, out)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "link")); err != nil || !bytes.Equal(got, large) {
		t.Errorf("unpacked %d bytes, want %d: %v", len(got), len(large), err)
	}
	for name, mode := range map[string]os.FileMode{"init": 0o755, "etc/procdump/large": 0o600, "etc": 0o755 | os.ModeDir} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode() != mode {
			t.Errorf("%s: %v, want mode %v", name, st, mode)
		}
	}
}

func TestRefused(t *testing.T) {
	for name, add := range map[string]func(*Writer) error{
		"short":  func(a *Writer) error { return a.AddFile("f", 0o644, 5, strings.NewReader("four")) },
		"long":   func(a *Writer) error { return a.AddFile("f", 0o644, 3, strings.NewReader("four")) },
		"root":   func(a *Writer) error { return a.AddBytes("/", 0o644, nil) },
		"zero":   func(a *Writer) error { return a.AddBytes("a\x00b", 0o644, nil) },
		"size":   func(a *Writer) error { return a.AddFile("f", 0o644, 1<<32, strings.NewReader("")) },
		"writer": func(a *Writer) error { a.w = broken{}; return a.AddDir("d") },
	} {
		a := NewWriter(io.Discard)
		if err := add(a); err == nil {
			t.Errorf("%s: no error", name)
		}
		if a.AddDir("d") == nil || a.Close() == nil {
			t.Errorf("%s: the error is forgotten", name)
		}
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, fmt.Errorf("broken") }
