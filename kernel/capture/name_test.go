package capture

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParseName(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Mkdir("sub", 0o755); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 4, 15, 6, 7, 0, time.Local)
	for _, c := range []struct {
		path   string
		format Format
		want   string // "" is an error
		is     Format
	}{
		{"", FormatAuto, "vmcore_260304_150607.kdump", KDump},
		{"", ELF, "vmcore_260304_150607.elf", ELF},
		{"sub", FormatAuto, "sub/vmcore_260304_150607.kdump", KDump},
		{"sub/", ELF, "sub/vmcore_260304_150607.elf", ELF},
		{"sub/x", FormatAuto, "sub/x.kdump", KDump},
		{"x.elf", FormatAuto, "x.elf", ELF},
		{"x.CORE", FormatAuto, "x.CORE", ELF},
		{"x.elf", KDump, "x.elf.kdump", KDump},
		{"x.kdump", ELF, "x.kdump.elf", ELF},
		{"x.y", FormatAuto, "x.y.kdump", KDump},
		{".elf", FormatAuto, ".elf.elf", ELF},
		{"vmcore", FormatAuto, "vmcore", KDump},
		{"vmcore", ELF, "vmcore", ELF},
		{"HHMMSS_aYYMMDD.kdump", FormatAuto, "150607_a260304.kdump", KDump},
		{"/dev/null", FormatAuto, "", 0},
		{"none/x", FormatAuto, "", 0},
		{"none/", FormatAuto, "", 0},
		{"a\x00b", FormatAuto, "", 0},
		{strings.Repeat("x", 250), FormatAuto, "", 0},
	} {
		n, err := ParseName(c.path, c.format)
		if c.want == "" {
			if err == nil {
				t.Errorf("%q is %s", c.path, n.Path(at))
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", c.path, err)
			continue
		}
		if got := n.Path(at); got != filepath.Join(dir, c.want) || n.Format() != c.is || filepath.Dir(got)+"/" != n.Folder() {
			t.Errorf("%q, %v: %s in %s, %v, want %s, %v", c.path, c.format, got, n.Folder(), n.Format(), c.want, c.is)
		}
	}
}

func TestNamed(t *testing.T) {
	n, err := ParseName(filepath.Join(t.TempDir(), "dump.of_YYMMDD_HHMMSS.kdump"), FormatAuto)
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]bool{
		"dump.of_260102_030405.kdump":    true,
		"dump.of_260102_030405-12.kdump": true,
		"dump.of_26010_030405.kdump":     false,
		"dumpxof_260102_030405.kdump":    false,
		"dump.of_260102_030405x.kdump":   false,
		"dump.of_260102_030405-.kdump":   false,
		"dump.of_260102_030405.kdump~":   false,
		"dump.of_YYMMDD_HHMMSS.kdump":    false,
	} {
		if n.Named(file) != want {
			t.Errorf("%s: %v", file, !want)
		}
	}
}

// TestExisting: a dump is known by its name and by its content.
func TestExisting(t *testing.T) {
	folder := t.TempDir()
	n, err := ParseName(filepath.Join(folder, "k.YYMMDD"), FormatAuto)
	if err != nil {
		t.Fatal(err)
	}
	dump := "KDUMP   " + strings.Repeat("x", 100)
	for name, content := range map[string]string{"k.260102-10.kdump": dump, "k.260102-9.kdump": dump, "k.260101-1.kdump": dump, "k.260103.kdump": dump,
		"k.260104.kdump": "text", "k.260105.elf": dump, "other.kdump": dump} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink("other.kdump", filepath.Join(folder, "k.260106.kdump")), os.Mkdir(filepath.Join(folder, "k.260107.kdump"), 0o700)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, path := range n.Existing(IsDump) {
		got = append(got, filepath.Base(path))
	}
	if want := "k.260101-1.kdump k.260102-9.kdump k.260102-10.kdump k.260103.kdump"; strings.Join(got, " ") != want {
		t.Errorf("%q, want %s", got, want)
	}
	if Holds(filepath.Join(folder, "k.260106.kdump"), IsDump) || Holds(filepath.Join(folder, "none"), IsDump) || !Holds(filepath.Join(folder, "other.kdump"), IsDump) {
		t.Error("a link is a dump, or a dump is none")
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if got := n.Existing(IsDump); got != nil {
		t.Errorf("without the folder: %q", got)
	}
}
