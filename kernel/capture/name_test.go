package capture

import (
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
		"dump.of_260102_030405.kdump~":   false,
		"dump.of_YYMMDD_HHMMSS.kdump":    false,
	} {
		if n.Named(file) != want {
			t.Errorf("%s: %v", file, !want)
		}
	}
}
