package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"procdump/victims"
	"procdump/victims/guest"
	"procdump/victims/need"
)

// vmlinux is the kernel's image with debug information, "" if it is not
// there: victims/guest/fetch-kernel --debug gets it.
func vmlinux(release string) string {
	fetched, _ := filepath.Glob(filepath.Join(victims.CacheDir("guest"), "*", "debug"))
	for _, folder := range append(fetched, os.Getenv("PROCDUMP_VMLINUX"), "/usr/lib/debug/boot") {
		file := filepath.Join(folder, "vmlinux-"+release)
		if _, err := os.Stat(file); folder != "" && err == nil {
			return file
		}
	}
	return ""
}

// crashTool runs commands of crash(8) on a dump. An error says that it could
// not start.
func crashTool(t testing.TB, image, file, commands string) (string, error) {
	t.Helper()
	input := filepath.Join(t.TempDir(), "commands")
	if err := os.WriteFile(input, []byte(commands+"\nquit\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(need.Tool(t, "crash"), "-s", "-i", input, image, file).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("crash %s: %w\n%s", file, err, cut(string(out)))
	}
	return string(out), err
}

// kernelStack is a script of drgn: the stack of kthreadd, which sleeps.
const kernelStack = `
from drgn.helpers.linux.pid import find_task
print(prog.stack_trace(find_task(prog, 2)))
`

// judgeBySymbols has crash(8) list tasks and modules of a dump, and drgn unwind
// a stack, where the image with debug information is there. It tells whether
// crash could start: it does not if a list that it follows was changed while it
// was copied.
func judgeBySymbols(t testing.TB, file, release string) bool {
	t.Helper()
	image := vmlinux(release)
	if image == "" {
		if release == guest.FindKernel(t, "default").Release {
			need.Missing(t, "vmlinux", "no debug information of the guest's kernel (victims/guest/fetch-kernel --debug default gets it)")
		}
		t.Logf("not judged with symbols: no vmlinux-%s in /usr/lib/debug/boot or $PROCDUMP_VMLINUX", release)
		return true
	}
	// Crash 8.0.2 finds tasks by number only where struct pid is an older one.
	out, err := crashTool(t, image, file, "sys\nmod\nlist task_struct.tasks -s task_struct.comm -h init_task")
	if err != nil {
		t.Log(err)
		return false
	}
	script := filepath.Join(t.TempDir(), "stack.py")
	if err := os.WriteFile(script, []byte(kernelStack), 0o600); err != nil {
		t.Fatal(err)
	}
	out += command(t, "drgn", "-q", "-c", file, "-s", image, script)
	for _, want := range []string{"RELEASE: " + release, "ext4", landmark, `comm = "kthreadd`, `comm = "pages`, " schedule (", " kthreadd ("} {
		if !strings.Contains(out, want) {
			t.Errorf("crash and drgn say nothing of %q:\n%s", want, cut(out))
		}
	}
	return true
}
