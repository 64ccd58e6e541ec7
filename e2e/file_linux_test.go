package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"procdump/victims"
	"procdump/victims/need"
)

// diskUse is how many bytes a file occupies.
func diskUse(t testing.TB, file string) int64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(file, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

func TestFileNames(t *testing.T) {
	need.Root(t)
	v := victims.Start(t, "threads", "2")
	pid := strconv.Itoa(v.PID)
	dir := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		r := procdump(t, append([]string{"-json"}, args...)...)
		if r.code != 0 || len(r.completed()) != 1 {
			t.Fatalf("procdump %v: %v", args, r)
		}
		return r.completed()[0]
	}
	for _, c := range []struct {
		name string
		args []string
		want string // pattern of the base name
	}{
		{"folder", []string{pid, dir}, `^threads_\d{6}_\d{6}\.core$`},
		{"extension added", []string{pid, filepath.Join(dir, "plain")}, `^plain\.core$`},
		{"existing", []string{pid, filepath.Join(dir, "plain")}, `^plain-1\.core$`},
		{"existing twice", []string{pid, filepath.Join(dir, "plain.core")}, `^plain-2\.core$`},
		{"overwritten", []string{"-o", pid, filepath.Join(dir, "plain.core")}, `^plain\.core$`},
		{"words", []string{pid, filepath.Join(dir, "A_PROCESSNAME_PID_EXCEPTIONCODE.core")}, `^A_threads_` + pid + `_[0-9A-F]+\.core$`},
		{"minidump by name", []string{pid, filepath.Join(dir, "mini.dmp")}, `^mini\.dmp$`},
		{"minidump by switch", []string{"-format", "minidump", pid, filepath.Join(dir, "other")}, `^other\.dmp$`},
		{"slash and case", []string{"/MA", pid, filepath.Join(dir, "slash.core")}, `^slash\.core$`},
		{"switch last", []string{pid, filepath.Join(dir, "last.core"), "-mm"}, `^last\.core$`},
		{"compressed", []string{"-z", pid, filepath.Join(dir, "packed.core")}, `^packed\.core\.zst$`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := run(c.args...)
			if !regexp.MustCompile(c.want).MatchString(filepath.Base(got)) {
				t.Errorf("wrote %s, want %s", got, c.want)
			}
			st, err := os.Stat(got)
			if err != nil {
				t.Fatal(err)
			}
			if st.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, want 0600", st.Mode().Perm())
			}
		})
	}
	left, _ := filepath.Glob(filepath.Join(dir, ".*"))
	if len(left) > 0 {
		t.Errorf("temporary files: %v", left)
	}
}

// TestSeveralKinds: one command, one stop, a file of each kind, smallest first.
func TestSeveralKinds(t *testing.T) {
	need.Root(t)
	v := victims.Start(t, "threads", "5")
	dir := t.TempDir()
	r := procdump(t, "-json", "-ma", "-mm", "-mp", strconv.Itoa(v.PID), filepath.Join(dir, "x.core"))
	if r.code != 0 || len(r.completed()) != 3 {
		t.Fatal(r)
	}
	var disk int64
	for _, p := range r.completed() {
		if n := diskUse(t, p); n < disk {
			t.Errorf("%s is smaller than the one before", p)
		} else {
			disk = n
		}
	}
}

// TestRepeated: -n dumps, -s seconds apart.
func TestRepeated(t *testing.T) {
	need.Root(t)
	v := victims.Start(t, "threads", "2")
	r := procdump(t, "-json", "-n", "3", "-s", "1", strconv.Itoa(v.PID), t.TempDir())
	if r.code != 0 || len(r.completed()) != 3 {
		t.Fatal(r)
	}
}

// TestAll: every process of a name, one file each; without -all an error that
// names them.
func TestAll(t *testing.T) {
	need.Root(t)
	exe, err := victims.Build("threads")
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(t.TempDir(), "manyofaname")
	copyFile(t, exe, own)
	var pids []string
	for range 5 {
		v := victims.StartSpec(t, victims.Spec{Name: "threads", Args: []string{"2"}, Exe: own})
		pids = append(pids, strconv.Itoa(v.PID))
	}
	dir := t.TempDir()
	r := procdump(t, "manyofaname", dir)
	if r.code != 3 {
		t.Errorf("several matches: want exit code 3: %v", r)
	}
	for _, p := range pids {
		if !strings.Contains(r.stdout+r.stderr, p) {
			t.Errorf("the list lacks PID %s: %v", p, r)
		}
	}
	wantNoFile(t, dir)
	r = procdump(t, "-json", "-all", "manyofaname", dir)
	if r.code != 0 || len(r.completed()) != 5 {
		t.Errorf("-all: %d dumps, want 5: %v", len(r.completed()), r)
	}
}

// TestLaunch: -x starts a program and dumps it.
func TestLaunch(t *testing.T) {
	exe, err := victims.Build("deep")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	r := procdump(t, "-json", "-x", dir, exe, "10")
	if r.code != 0 || len(r.completed()) != 1 {
		t.Errorf("want one dump: %v", r)
	}
}
