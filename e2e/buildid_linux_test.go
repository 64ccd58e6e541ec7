package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"procdump/victims"
	"procdump/victims/need"
)

// TestModuleWithoutBuildID: Breakpad finds the symbols of a program without a
// build id by what dump_syms takes for one.
func TestModuleWithoutBuildID(t *testing.T) {
	gcc, stackwalk, dumpSyms := need.Tool(t, "gcc"), breakpadTool(t, "minidump_stackwalk"), breakpadTool(t, "dump_syms")
	dir := t.TempDir()
	source, program := filepath.Join(dir, "plain.c"), filepath.Join(dir, "plain")
	if err := os.WriteFile(source, []byte("#include <unistd.h>\nvoid inner(void) { pause(); }\nint main(void) { inner(); return 0; }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	command(t, gcc, "-g", "-O0", "-Wl,--build-id=none", "-o", program, source)
	c := exec.Command(program)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	awaitPause(t, c.Process.Pid)
	symbols := command(t, dumpSyms, program)
	f := strings.Fields(symbols)
	if len(f) < 5 || f[0] != "MODULE" {
		t.Fatalf("dump_syms: %q", cut(symbols))
	}
	id := f[3]
	file := filepath.Join(dir, "symbols", "plain", id, "plain.sym")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(symbols), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"-mm", "-ma"} {
		dump := filepath.Join(dir, kind+".dmp")
		if r := procdump(t, kind, strconv.Itoa(c.Process.Pid), dump); r.code != 0 {
			t.Fatal(r)
		}
		out := command(t, stackwalk, "-m", dump, filepath.Join(dir, "symbols"))
		module := regexp.MustCompile(`(?m)^Module\|plain\|.*$`).FindString(out)
		if !strings.Contains(module, "|"+id+"|") {
			t.Errorf("%s: %q, want the id %s of dump_syms", kind, module, id)
		}
		if !strings.Contains(out, "|plain|inner|") {
			t.Errorf("%s: no function of the program in the stack:\n%s", kind, cut(out))
		}
	}
}

// awaitPause waits until a process is in pause(2).
func awaitPause(t *testing.T, pid int) {
	t.Helper()
	need.Root(t)
	for deadline := time.Now().Add(victims.Timeout); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		// proc_pid_syscall(5); 34 is pause of amd64.
		if b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/syscall"); strings.HasPrefix(string(b), "34 ") {
			return
		}
	}
	t.Fatalf("process %d is not in pause", pid)
}
