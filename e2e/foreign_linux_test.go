package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"procdump/internal/packed"
	"procdump/victims"
	"procdump/victims/need"
)

// TestInspectForeign reads what lldb writes, in each of its styles. TestInspectAgreement
// does so for gdb's cores, TestHandlerStacks for the kernel's.
func TestInspectForeign(t *testing.T) {
	need.Root(t)
	need.Tool(t, "gdb")
	lldbPath(t)
	v := victims.Start(t, "threads", "3")
	freeze(t, v)
	live := gdbLive(t, v.PID, v.Exe)
	styles := []string{"stack", "modified-memory", "full"}
	commands := []string{fmt.Sprintf("process attach --pid %d", v.PID)}
	dir := t.TempDir()
	for _, style := range styles {
		commands = append(commands, "process save-core --plugin-name=minidump --style="+style+" "+filepath.Join(dir, style))
	}
	lldb(t, commands...)
	for _, style := range styles {
		t.Run("lldb "+style, func(t *testing.T) {
			file := filepath.Join(dir, style)
			if _, err := os.Stat(file); err != nil {
				t.Skipf("this lldb writes no such minidumps: %v", err)
			}
			r := inspectReport(t, file)
			compare(t, "inspect", live, r.stacks(t), rule{})
			if r.ThreadCount != len(live) || r.Process.PID != v.PID || !r.has(filepath.Base(v.Exe), "libc.so.6") {
				t.Errorf("%d threads of process %d with modules %v", r.ThreadCount, r.Process.PID, r.Modules)
			}
		})
	}
}

// has tells whether the report lists modules of those names.
func (r *inspected) has(names ...string) bool {
	for _, name := range names {
		if !slices.ContainsFunc(r.Modules, func(m struct{ Path, BuildID string }) bool {
			return m.Path[strings.LastIndexAny(m.Path, `/\`)+1:] == name
		}) {
			return false
		}
	}
	return true
}

// TestInspectBreakpad reads a minidump that Breakpad's pid2md has written.
func TestInspectBreakpad(t *testing.T) {
	root := t.TempDir()
	unpack(t, filepath.Join(root, "mnt"), "testdata/breakpad", "nap")
	dir := unpack(t, t.TempDir(), "testdata/breakpad", "pid2md.dmp")
	r := inspectReport(t, filepath.Join(dir, "pid2md.dmp"), "-sysroot", root)
	if r.ThreadCount != 1 || r.Process.Name != "nap" || !r.has("nap", "linux-gate.so") || len(r.Warnings) > 0 {
		t.Errorf("%d threads of %q with modules %v; %q", r.ThreadCount, r.Process.Name, r.Modules, r.Warnings)
	}
	if len(r.Groups) != 1 || !r.Groups[0].Complete {
		t.Fatalf("stacks %+v", r.Groups)
	}
	var names []string
	for _, f := range r.Groups[0].Frames {
		if f.Guess {
			t.Errorf("guessed: %+v", f)
		}
		names = append(names, f.Function)
	}
	if want := []string{"nap", "inner", "middle", "outer", "_start"}; !slices.Equal(names, want) {
		t.Errorf("stack %q, not %q", names, want)
	}
}

// unpack unpacks test data into a folder, which it returns.
func unpack(t testing.TB, dir, from string, names ...string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), packed.Read(t, filepath.Join(from, name+".gz")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// windowsTrace is the stack that a thread of testdata/windows/crash.c has printed.
type windowsTrace struct {
	tid int
	pcs []uint64
}

func readWindowsTraces(t testing.TB, file string) map[string]windowsTrace {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]windowsTrace{}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 3 {
			t.Fatalf("line %q", line)
		}
		tid, err := strconv.Atoi(f[1])
		if err != nil {
			t.Fatal(err)
		}
		w := windowsTrace{tid: tid}
		for _, s := range f[2:] {
			pc, err := strconv.ParseUint(s, 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			w.pcs = append(w.pcs, pc)
		}
		all[f[0]] = w
	}
	if len(all) != 3 {
		t.Fatalf("%d threads have printed their stack:\n%s", len(all), b)
	}
	return all
}

// checkCrash checks what holds of each report on a dump of the crash, and returns
// its stacks and what the crashed thread has printed from the fault on.
func checkCrash(t testing.TB, r *inspected, traces map[string]windowsTrace) (stacks, []uint64) {
	t.Helper()
	if e := r.Exception; e == nil || e.Code != "0xc0000005" || e.What != "write to 0x0: a null pointer plus 0" ||
		e.Frame == nil || e.Frame.Function != "leaf" {
		t.Errorf("exception %+v", e)
	}
	if r.ThreadCount != 3 || r.Process.Name != "crash.exe" || !r.has("crash.exe", "ntdll.dll", "kernel32.dll", "kernelbase.dll") {
		t.Errorf("%d threads of %s with modules %v", r.ThreadCount, r.Process.Name, r.Modules)
	}
	all := r.stacks(t)
	crashed := all[traces["crash"].tid]
	if got, want := chain(crashed), "<leaf<large<dynamic<recursive<recursive<recursive<recursive<"; !strings.HasPrefix(got, want) {
		t.Errorf("the crashed thread's stack is %s", got)
	}
	printed := traces["crash"].pcs
	at := -1
	if len(crashed) > 0 {
		at = slices.Index(printed, crashed[0].pc)
	}
	if at < 0 {
		t.Fatalf("the crashed thread's stack %v has nothing of %#x", crashed, printed)
	}
	return all, printed[at:]
}

// TestInspectWindows reads a minidump that Wine's dbghelp has written. Of Windows'
// own libraries nothing is there: stacks end where they begin.
func TestInspectWindows(t *testing.T) {
	dir := unpack(t, t.TempDir(), "testdata/windows", "crash.dmp", "crash.exe")
	traces := readWindowsTraces(t, "testdata/windows/crash.txt")
	r := inspectReport(t, filepath.Join(dir, "crash.dmp"), "-sysroot", dir)
	all, printed := checkCrash(t, r, traces)
	got := all[traces["crash"].tid]
	if want := printed[:len(printed)-1]; !slices.Equal(pcs(got), want) {
		t.Errorf("stack %#x, not %#x", pcs(got), want)
	}
	for _, f := range got {
		if !f.sure {
			t.Errorf("guessed: %+v", f)
		}
	}
	for _, name := range []string{"ntdll.dll", "kernel32.dll"} {
		if !strings.Contains(strings.Join(r.Warnings, "\n"), name+": the dump does not hold all of it, and its file is not here (-sysroot DIR)") {
			t.Errorf("nothing is said of %s: %q", name, r.Warnings)
		}
	}
}

func pcs(frames []frame) []uint64 {
	var all []uint64
	for _, f := range frames {
		all = append(all, f.pc)
	}
	return all
}

// TestInspectWine has Wine run the program, and reads the dump with Wine's own
// libraries: all stacks are what the threads have printed, one of them through the
// dispatcher of exceptions.
func TestInspectWine(t *testing.T) {
	wine, err := exec.LookPath("wine64")
	if err != nil {
		wine = "/usr/lib/wine/wine64" // of Debian, which has only scripts in the path
		if _, err := os.Stat(wine); err != nil {
			// Wine takes 700 MB: a complete run does with TestInspectWindows.
			t.Skip("needs Wine (package wine64)")
		}
	}
	prefix := t.TempDir()
	dir := unpack(t, t.TempDir(), "testdata/windows", "crash.exe")
	env := append(os.Environ(), "WINEPREFIX="+prefix, "WINEDEBUG=-all", "WINEDLLOVERRIDES=mscoree,mshtml=")
	t.Cleanup(func() { // its server and services go on for some seconds
		for _, how := range []string{"-k", "-w"} {
			server := exec.Command(filepath.Join(filepath.Dir(wine), "wineserver64"), how)
			server.Env = env
			server.Run()
		}
	})
	cmd := exec.Command("timeout", "120", wine, "crash.exe")
	cmd.Dir, cmd.Env = dir, env
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("wine: %v\n%s", err, out)
	}
	text := filepath.Join(dir, "crash.txt")
	if err := os.WriteFile(text, out, 0o644); err != nil {
		t.Fatal(err)
	}
	traces := readWindowsTraces(t, text)
	r := inspectReport(t, filepath.Join(dir, "crash.dmp"), "-sysroot", filepath.Join(prefix, "dosdevices"))
	all, printed := checkCrash(t, r, traces)
	if len(r.Warnings) > 0 {
		t.Errorf("%q", r.Warnings)
	}
	for name, w := range traces {
		if name == "crash" {
			w.pcs = printed
		}
		got := all[w.tid]
		if n := len(got) - len(w.pcs); n < 0 || !slices.Equal(pcs(got[n:]), w.pcs) {
			t.Errorf("%s: stack %#x does not end with %#x", name, pcs(got), w.pcs)
		}
		for _, f := range got {
			if !f.sure {
				t.Errorf("%s: guessed: %+v", name, f)
			}
		}
	}
	if c := chain(all[traces["handler"].tid]); !strings.Contains(c, "<KiUserExceptionDispatcher<divide<faults<") {
		t.Errorf("the stack of the thread in a handler is %s", c)
	}
}
