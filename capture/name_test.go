package capture

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"procdump/dumpkind"
)

var testTime = time.Date(2023, 7, 15, 11, 57, 59, 0, time.Local)

func testVars() Vars {
	return Vars{Process: "nginx", PID: 1234, Time: testTime, Kind: dumpkind.Mini}
}

func TestMaskName(t *testing.T) {
	if DefaultFormat() != FormatELF {
		t.Skip("the expected names are those of systems whose dumps are cores")
	}
	tests := []struct {
		name string // the file-name part of the path
		o    MaskOptions
		want string
	}{
		// ProcDump's rule: upper case anywhere.
		{"", MaskOptions{}, "nginx_230715_115759.core"},
		{"PROCESSNAME", MaskOptions{}, "nginx.core"},
		{"xPIDy.core", MaskOptions{}, "x1234y.core"},
		{"PROCESSNAMEPID", MaskOptions{}, "nginx1234.core"},
		{"a_EXCEPTIONCODE_b", MaskOptions{}, "a_0_b.core"},
		{"YYMMDDHHMMSS-PID.dmp", MaskOptions{}, "230715115759-1234.dmp"},
		// Other cases only alone.
		{"pid", MaskOptions{}, "1234.core"},
		{"x_Pid.core", MaskOptions{}, "x_1234.core"},
		{"yymmddhhmmss", MaskOptions{}, "230715115759.core"},
		{"processnamePID", MaskOptions{}, "nginx1234.core"},
		{"rapid", MaskOptions{}, "rapid.core"},
		{"web-pid28876.dmp", MaskOptions{}, "web-pid28876.dmp"},
		{"pidé", MaskOptions{}, "pidé.core"},
		{"pid.pid", MaskOptions{}, "1234.1234.core"},
		{"PIDrapidPID", MaskOptions{}, "1234rapid1234.core"},
		// Extensions.
		{"x.core", MaskOptions{}, "x.core"},
		{"x.CORE", MaskOptions{}, "x.CORE"},
		{"x.elf", MaskOptions{}, "x.elf"},
		{"core", MaskOptions{}, "core"},
		{"core.77", MaskOptions{}, "core.77"},
		{"x.dump", MaskOptions{}, "x.dump.core"},
		{"x.dump", MaskOptions{Format: FormatMinidump}, "x.dump.dmp"},
		{"x.Dmp", MaskOptions{}, "x.Dmp"},
		{"x.dmp", MaskOptions{Format: FormatELF}, "x.dmp.core"},
		{"x.core", MaskOptions{Format: FormatMinidump}, "x.core.dmp"},
		{"", MaskOptions{Format: FormatMinidump}, "nginx_230715_115759.dmp"},
		{"x", MaskOptions{Compress: true}, "x.core.zst"},
		{"x.core.zst", MaskOptions{}, "x.core.zst"},
		{"x.zst", MaskOptions{}, "x.core.zst"},
		{"x.dmp.ZST", MaskOptions{Compress: true}, "x.dmp.zst"},
		{"core", MaskOptions{Compress: true}, "core.zst"},
		{".core", MaskOptions{}, ".core.core"},
		{"a b", MaskOptions{}, "a b.core"},
		// Several kinds, several processes.
		{"x", MaskOptions{Kinds: 1}, "x.core"},
		{"x", MaskOptions{Kinds: 2}, "x_mini.core"},
		{"x.dmp", MaskOptions{Kinds: 2, Processes: true, Compress: true}, "x_1234_mini.dmp.zst"},
		{"", MaskOptions{Processes: true}, "nginx_230715_115759_1234.core"},
		{"x-PID", MaskOptions{Processes: true}, "x-1234.core"},
		{"core", MaskOptions{Processes: true}, "core_1234"},
	}
	dir := t.TempDir()
	for _, tt := range tests {
		m, err := ParseMask(filepath.Join(dir, tt.name), tt.o)
		if err != nil {
			t.Errorf("ParseMask(%q): %v", tt.name, err)
			continue
		}
		if got := m.Name(testVars()); got != tt.want {
			t.Errorf("%q %+v: name %q, want %q", tt.name, tt.o, got, tt.want)
		}
		if got, want := m.Path(testVars()), filepath.Join(dir, tt.want); got != want {
			t.Errorf("%q: path %q, want %q", tt.name, got, want)
		}
	}
}

func TestMaskFormat(t *testing.T) {
	if DefaultFormat() != FormatELF {
		t.Skip("dumps are minidumps here")
	}
	for _, tt := range []struct {
		path     string
		o        MaskOptions
		format   Format
		compress bool
	}{
		{"", MaskOptions{}, FormatELF, false},
		{"x.dmp", MaskOptions{}, FormatMinidump, false},
		{"x.dmp.zst", MaskOptions{}, FormatMinidump, true},
		{"x.dmp", MaskOptions{Format: FormatELF}, FormatELF, false},
		{"x", MaskOptions{Format: FormatMinidump, Compress: true}, FormatMinidump, true},
	} {
		m, err := ParseMask(tt.path, tt.o)
		if err != nil {
			t.Fatal(err)
		}
		if m.Format() != tt.format || m.Compress() != tt.compress {
			t.Errorf("%q %+v: format %v, compress %v", tt.path, tt.o, m.Format(), m.Compress())
		}
	}
	if f := FormatOf("/a.dmp/x"); f != FormatAuto {
		t.Errorf("the folder's name decides on the format: %v", f)
	}
}

func TestMaskFolder(t *testing.T) {
	dir := t.TempDir()
	sep := string(filepath.Separator)
	upper := filepath.Join(dir, "PID_pid")
	if err := os.Mkdir(upper, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, tt := range []struct {
		path         string
		o            MaskOptions
		folder, mask string
		err          error
	}{
		{"", MaskOptions{}, dir + sep, DefaultMask, nil},
		{".", MaskOptions{}, dir + sep + "." + sep, DefaultMask, nil},
		{dir, MaskOptions{}, dir + sep, DefaultMask, nil},
		{dir + sep, MaskOptions{Folder: true}, dir + sep, DefaultMask, nil},
		{"x", MaskOptions{}, dir + sep, "x", nil},
		{"PID_pid", MaskOptions{}, upper + sep, DefaultMask, nil},
		{"PID_pid/x", MaskOptions{}, upper + sep, "x", nil},
		{"file", MaskOptions{}, dir + sep, "file", nil},
		{"none/x", MaskOptions{}, "", "", fs.ErrNotExist},
		{"none/", MaskOptions{}, "", "", fs.ErrNotExist},
		{"none", MaskOptions{Folder: true}, "", "", fs.ErrNotExist},
		{"file", MaskOptions{Folder: true}, "", "", ErrNotFolder},
	} {
		m, err := ParseMask(filepath.FromSlash(tt.path), tt.o)
		if !errors.Is(err, tt.err) {
			t.Errorf("%q: error %v, want %v", tt.path, err, tt.err)
		}
		if err == nil && (m.Folder() != tt.folder || m.String() != tt.mask) {
			t.Errorf("%q: %q and %q, want %q and %q", tt.path, m.Folder(), m, tt.folder, tt.mask)
		}
	}
	for _, bad := range []string{"x\x00", strings.Repeat("x", 256)} {
		if _, err := ParseMask(bad, MaskOptions{}); err == nil {
			t.Errorf("%.10q: no error", bad)
		}
	}
}

// TestMaskSymlinkParent has a path whose lexical cleaning means another folder.
func TestMaskSymlinkParent(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "a", "b"), filepath.Join(dir, "link")); err != nil {
		t.Skip(err)
	}
	m, err := ParseMask(dir+"/link/../x.core", MaskOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.Path(testVars()), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "a", "x.core")); err != nil {
		t.Errorf("path %q is not where the system has it: %v", m.Path(testVars()), err)
	}
}

func TestMaskAlternatives(t *testing.T) {
	dir := t.TempDir()
	m, err := ParseMask(filepath.Join(dir, "x.dmp"), MaskOptions{Kinds: 2, Compress: true})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for p := range m.Alternatives(testVars()) {
		if got = append(got, filepath.Base(p)); len(got) == 3 {
			break
		}
	}
	if want := []string{"x_mini.dmp.zst", "x_mini-1.dmp.zst", "x_mini-2.dmp.zst"}; !slices.Equal(got, want) {
		t.Errorf("alternatives %q, want %q", got, want)
	}
}

func TestMaskCleansValues(t *testing.T) {
	for _, tt := range []struct{ process, want string }{
		{"", "process.core"},
		{"a/b", "a_b.core"},
		{"../../etc/passwd", "___.._etc_passwd.core"},
		{".", "_.core"},
		{"-bash", "_bash.core"},
		{"php-fpm: pool www", "php-fpm__pool_www.core"},
		{"a\x1b[31m\n\x00", "a_[31m__.core"},
		{"\xff\xfe", "__.core"},
		{"\u202egnp", "_gnp.core"},
		{"größe", "größe.core"},
		{"PID", "PID.core"},
	} {
		m, err := ParseMask(filepath.Join(t.TempDir(), "PROCESSNAME.core"), MaskOptions{})
		if err != nil {
			t.Fatal(err)
		}
		v := testVars()
		v.Process = tt.process
		if got := m.Name(v); got != tt.want {
			t.Errorf("process %q: name %q, want %q", tt.process, got, tt.want)
		}
	}
}

func TestMaskLongName(t *testing.T) {
	v := testVars()
	v.Process = strings.Repeat("ä", 300)
	for _, mask := range []string{"", "PROCESSNAME_PROCESSNAME_PID", strings.Repeat("x", 250) + "PID", strings.Repeat("PID", 80)} {
		m, err := ParseMask(mask, MaskOptions{Kinds: 2, Processes: true, Compress: true})
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for p := range m.Alternatives(v) {
			name := filepath.Base(p)
			if len(name) > 255 || !utf8.ValidString(name) || !strings.HasSuffix(name, m.ext) || seen[name] {
				t.Fatalf("mask %.20q: name %q (%d bytes)", mask, name, len(name))
			}
			if seen[name] = true; len(seen) == 12 {
				break
			}
		}
	}
	m, _ := ParseMask("", MaskOptions{})
	if name := m.Name(v); !strings.Contains(name, "_230715_115759.") {
		t.Errorf("the time was cut, not the process's name: %q", name)
	}
}

func TestBeside(t *testing.T) {
	for dump, want := range map[string]string{
		"/d/x-1.core.zst": "/d/x-1.kernel.txt",
		"/d.core/x.dmp":   "/d.core/x.kernel.txt",
		"core":            "core.kernel.txt",
	} {
		if got := Beside(filepath.FromSlash(dump), ".kernel.txt"); got != filepath.FromSlash(want) {
			t.Errorf("Beside(%q) = %q, want %q", dump, got, want)
		}
	}
}

// FuzzMaskName checks what must hold of every name: it is one path element,
// not too long, and has no character that the target put there to do harm.
func FuzzMaskName(f *testing.F) {
	f.Add("", "nginx", 2, true, false)
	f.Add("PROCESSNAMEpid.dmp", "../x", 1, false, true)
	f.Add("core.PID", "\x1b", 2, true, true)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, mask, process string, kinds int, processes, compress bool) {
		if strings.ContainsAny(mask, `/\`) || mask == "." || mask == ".." {
			t.Skip("that is a folder")
		}
		m, err := ParseMask(dir+string(filepath.Separator)+mask, MaskOptions{Kinds: kinds, Processes: processes, Compress: compress})
		if err != nil {
			if len(mask) <= 255 && !strings.Contains(mask, "\x00") {
				t.Fatalf("mask %q: %v", mask, err)
			}
			return
		}
		v := testVars()
		v.Process = process
		first := m.Name(v)
		n := 0
		for p := range m.Alternatives(v) {
			name := filepath.Base(p)
			if name == "" || len(name) > 255 || filepath.Dir(p) != dir {
				t.Fatalf("mask %q, process %q: path %q", mask, process, p)
			}
			if n == 0 != (name == first) {
				t.Fatalf("alternative %d is %q, first %q", n, name, first)
			}
			control := func(s string) bool { return strings.ContainsFunc(s, unicode.IsControl) }
			if !control(mask) && control(name) {
				t.Fatalf("process %q: control character in %q", process, name)
			}
			if n++; n == 3 {
				break
			}
		}
	})
}
