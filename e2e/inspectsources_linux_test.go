package e2e

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"procdump/victims"
	"procdump/victims/need"
)

// moved is a waiting program whose file is no longer where it was mapped, and a
// dump of it without code.
type moved struct {
	pid  int
	exe  string // where it was
	now  string // where it is
	dump string
	want []string // functions and lines while it was there
	id   string
}

func move(t testing.TB) *moved {
	t.Helper()
	need.Root(t)
	built := explained(t)
	// It runs from a folder of its own: nothing of it stays there.
	m := &moved{exe: filepath.Join(t.TempDir(), "explain"), now: filepath.Join(t.TempDir(), "moved")}
	command(t, "cp", built, m.exe)
	m.pid = waiting(t, m.exe)
	m.dump = dump(t, m.pid, spec{"-mm", "elf"})
	r := inspectReport(t, m.dump)
	m.want = r.lines()
	if !strings.Contains(strings.Join(m.want, " "), "victim::wait_inlined:") {
		t.Fatalf("no inlined function: %q", m.want)
	}
	for _, mod := range r.Modules {
		if mod.Path == m.exe {
			m.id = mod.BuildID
		}
	}
	if err := os.Rename(m.exe, m.now); err != nil {
		t.Fatal(err)
	}
	if got := inspectReport(t, m.dump).lines(); fmt.Sprint(got) == fmt.Sprint(m.want) {
		t.Fatalf("the file is needed for nothing: %q", got)
	}
	return m
}

func (m *moved) check(t testing.TB, how string, r *inspected) {
	t.Helper()
	if got := r.lines(); fmt.Sprint(got) != fmt.Sprint(m.want) || !r.Groups[0].Complete {
		t.Errorf("%s:\n got %q\nwant %q\n%q", how, got, m.want, r.Warnings)
	}
}

// TestInspectSysRoot explains a dump by a copy of another machine's root, in which
// symbolic links lead where they do there. A file of another build is not taken.
func TestInspectSysRoot(t *testing.T) {
	m := move(t)
	m.check(t, "a PID without its file", inspectReport(t, strconv.Itoa(m.pid)))
	root := t.TempDir()
	for _, image := range images(t, m.pid) {
		if image == m.exe+" (deleted)" || strings.HasPrefix(image, tempDir) || image == m.now || image == m.exe {
			continue
		}
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(image)), 0o755); err != nil {
			t.Fatal(err)
		}
		command(t, "cp", "-p", image, filepath.Join(root, image))
	}
	// gdb goes by the names that the dynamic linker has.
	for _, lib := range []string{"lib", "lib64"} {
		if err := os.Symlink("usr/"+lib, filepath.Join(root, lib)); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
	}
	// The program's folder is a link that is right below the root only.
	if err := os.MkdirAll(filepath.Join(root, "apps-of-that-machine"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(root, filepath.Dir(filepath.Dir(m.exe))), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/apps-of-that-machine", filepath.Join(root, filepath.Dir(m.exe))); err != nil {
		t.Fatal(err)
	}
	there := filepath.Join(root, "apps-of-that-machine/explain")
	command(t, "cp", m.now, there)
	m.check(t, "-sysroot", inspectReport(t, m.dump, "-sysroot", root))
	m.check(t, "-sysroot of a PID", inspectReport(t, strconv.Itoa(m.pid), "-sysroot", root))

	need.Tool(t, "gdb")
	var judged []string
	text := gdb(t, []string{"-iex", "set sysroot " + root, there, m.dump}, "source "+scriptFile(t, inlineScript))
	for _, line := range strings.Split(text, "\n") {
		if f := strings.Split(line, "|"); f[0] == "L" && len(f) == 3 {
			if f[1] == "main" {
				break
			}
			judged = append(judged, normal(f[1])+":"+f[2])
		}
	}
	if fmt.Sprint(aliased(judged)) != fmt.Sprint(aliased(m.want)) {
		t.Errorf("gdb with the sysroot:\n got %q\nwant %q", judged, m.want)
	}

	other := filepath.Join(t.TempDir(), "other")
	command(t, "objcopy", "--update-section", ".comment=/dev/null", m.now, other)
	b, err := os.ReadFile(m.now)
	if err != nil {
		t.Fatal(err)
	}
	id, err := hex.DecodeString(m.id)
	if err != nil || len(id) < 16 {
		t.Fatalf("build id %q, %v", m.id, err)
	}
	wrong := []byte(strings.Replace(string(b), string(id), strings.Repeat("x", len(id)), 1))
	if err := os.WriteFile(there, wrong, 0o755); err != nil {
		t.Fatal(err)
	}
	r := inspectReport(t, m.dump, "-sysroot", root)
	if got := r.lines(); fmt.Sprint(got) == fmt.Sprint(m.want) || !strings.Contains(strings.Join(r.Warnings, "\n"), "another build id") {
		t.Errorf("a file with another build id is taken: %q, %q", got, r.Warnings)
	}
}

// debuginfodServer serves files by build id and kind, and notes what it is asked
// for and whether a process stood still then.
type debuginfodServer struct {
	*httptest.Server
	mu      sync.Mutex
	asked   []string
	stopped []string
}

func serveDebuginfod(t testing.TB, files map[string]string, pid int) *debuginfodServer {
	s := &debuginfodServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, state, _ := strings.Cut(string(stat), ") ")
		s.mu.Lock()
		s.asked = append(s.asked, r.URL.Path)
		if strings.HasPrefix(state, "t") || strings.HasPrefix(state, "T") {
			s.stopped = append(s.stopped, r.URL.Path)
		}
		s.mu.Unlock()
		if file := files[strings.TrimPrefix(r.URL.Path, "/buildid/")]; file != "" {
			http.ServeFile(w, r, file)
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// took returns what the server was asked for since the last call.
func (s *debuginfodServer) took() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.asked
	s.asked = nil
	return all
}

// TestInspectDebuginfod gets a program and its debug information from a server,
// then from the cache, which gdb reads, too.
func TestInspectDebuginfod(t *testing.T) {
	m := move(t)
	dir := t.TempDir()
	bare, debug := filepath.Join(dir, "bare"), filepath.Join(dir, "debug")
	command(t, "objcopy", "--only-keep-debug", m.now, debug)
	command(t, "strip", "-o", bare, m.now)
	s := serveDebuginfod(t, map[string]string{m.id + "/executable": bare, m.id + "/debuginfo": debug}, m.pid)
	cache := filepath.Join(dir, "cache")
	t.Setenv("DEBUGINFOD_CACHE_PATH", cache)
	t.Setenv("http_proxy", "")

	inspectReport(t, m.dump)
	if asked := s.took(); asked != nil {
		t.Errorf("without the variable it is asked for %q", asked)
	}
	t.Setenv("DEBUGINFOD_URLS", s.URL)
	m.check(t, "from the server", inspectReport(t, m.dump))
	asked := strings.Join(s.took(), " ")
	if strings.Count(asked, m.id+"/executable") != 1 || strings.Count(asked, m.id+"/debuginfo") != 1 {
		t.Errorf("asked for %s", asked)
	}

	t.Setenv("DEBUGINFOD_URLS", "http://127.0.0.1:1")
	r := inspectReport(t, m.dump)
	m.check(t, "from the cache", r)
	t.Run("gdb", func(t *testing.T) {
		need.Tool(t, "gdb")
		text := command(t, "env", "DEBUGINFOD_URLS=http://127.0.0.1:1", "gdb", "--batch", "-nx", "-q", "-iex", "set debuginfod enabled on",
			"-ex", "bt", filepath.Join(cache, m.id, "executable"), m.dump)
		for _, want := range []string{"in victim::wait_inlined", "in victim::wait_here"} {
			if !strings.Contains(text, want) {
				t.Errorf("gdb does not find %q by procdump's cache:\n%s", want, cut(text))
			}
		}
	})

	// A process whose program was deleted still has it, and runs while the debug
	// information is fetched.
	stripped := filepath.Join(t.TempDir(), "explain")
	command(t, "cp", bare, stripped)
	pid := waiting(t, stripped)
	if err := errors.Join(os.RemoveAll(cache), os.Remove(m.now), os.Remove(stripped)); err != nil {
		t.Fatal(err)
	}
	s = serveDebuginfod(t, map[string]string{m.id + "/executable": bare, m.id + "/debuginfo": debug}, pid)
	t.Setenv("DEBUGINFOD_URLS", s.URL)
	m.check(t, "a PID", inspectReport(t, strconv.Itoa(pid)))
	if asked := strings.Join(s.took(), " "); strings.Contains(asked, m.id+"/executable") || !strings.Contains(asked, m.id+"/debuginfo") || len(s.stopped) > 0 {
		t.Errorf("asked for %s; while the process stood still: %q", asked, s.stopped)
	}

	// What goes wrong is one line.
	t.Setenv("DEBUGINFOD_CACHE_PATH", filepath.Join(dir, "empty"))
	t.Setenv("DEBUGINFOD_URLS", "http://127.0.0.1:1 http://127.0.0.1:2")
	var said []string
	for _, w := range inspectReport(t, m.dump).Warnings {
		if strings.Contains(w, "debuginfod") {
			said = append(said, w)
		}
	}
	if len(said) != 1 || !strings.Contains(said[0], "connection refused") {
		t.Errorf("warnings %q", said)
	}
}

// TestInspectSymbolFiles walks and names stacks by nothing but Breakpad's symbol
// files, and compares them with gdb's of the process and with those that
// Breakpad finds by these files.
func TestInspectSymbolFiles(t *testing.T) {
	need.Root(t)
	need.Tool(t, "gdb")
	exe, err := victims.Build("threads")
	if err != nil {
		t.Fatal(err)
	}
	v := victims.StartSpec(t, victims.Spec{Name: "threads", Args: []string{"3"}, Exe: exe})
	freeze(t, v)
	live := gdbLive(t, v.PID, exe)
	file := dump(t, v.PID, spec{"-mm", "minidump"})
	walked := stackwalk(t, file, imagesWith(t, v.PID, exe)) // makes the symbol files
	none := t.TempDir()
	for what, f := range map[string]string{"minidump": file, "core": dump(t, v.PID, spec{"-mm", "elf"})} {
		r := inspectReport(t, f, "-sysroot", none, "-sympath", none+":"+symbolDir())
		got := r.stacks(t)
		compare(t, what+" against gdb", live, got, rule{})
		for tid, all := range got {
			// dump_syms does not write where a stack ends: the walker goes on.
			w := walked[tid]
			if len(w) < len(all) || len(w) > len(all)+1 {
				t.Errorf("%s: thread %d has %d frames, Breakpad's walker finds %d", what, tid, len(all), len(w))
				continue
			}
			for i, f := range all {
				if f.pc != w[i].pc || f.module == exe && f.name != w[i].name {
					t.Errorf("%s: thread %d, #%d: %+v, Breakpad's walker finds %+v", what, tid, i, f, w[i])
				}
			}
		}
		for _, g := range r.Groups {
			for _, f := range g.Frames {
				if f.Guess || f.How != "registers" && f.How != "cfi" {
					t.Errorf("%s: %+v", what, f)
				}
			}
		}
		if !strings.Contains(fmt.Sprint(r.Groups), "threads.c") {
			t.Errorf("%s: no lines: %+v", what, r.Groups[0])
		}
	}
	bare := inspectReport(t, file, "-sysroot", none).stacks(t)
	if fmt.Sprint(bare) == fmt.Sprint(live) {
		t.Error("the symbol files are needed for nothing")
	}
}

// TestInspectDWZ reads debug information that two programs share in a third file.
func TestInspectDWZ(t *testing.T) {
	need.Root(t)
	need.Tool(t, "dwz")
	exe := explained(t)
	dir := filepath.Dir(exe)
	want := inspectReport(t, strconv.Itoa(waiting(t, exe))).lines()
	shared := filepath.Join(dir, "shared.debug")
	var both []string
	for i := range 2 {
		f := filepath.Join(dir, fmt.Sprintf("explain%d", i))
		command(t, "cp", exe, f)
		both = append(both, f)
	}
	command(t, "dwz", append([]string{"-r", "-m", shared}, both...)...)
	sections := command(t, "readelf", "-SW", both[0])
	if !strings.Contains(sections, ".gnu_debugaltlink") {
		t.Fatalf("dwz shares nothing:\n%s", sections)
	}
	pid := waiting(t, both[0])
	if got := inspectReport(t, strconv.Itoa(pid)).lines(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("shared:\n got %q\nwant %q", got, want)
	}
	if err := os.Remove(shared); err != nil {
		t.Fatal(err)
	}
	r := inspectReport(t, strconv.Itoa(pid))
	if got := r.lines(); fmt.Sprint(got) == fmt.Sprint(want) || !strings.Contains(strings.Join(r.Warnings, "\n"), "that it shares with other files") {
		t.Errorf("without the shared file:\n got %q\n%q", got, r.Warnings)
	}
}
