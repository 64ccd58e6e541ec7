package e2e

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"procdump/victims/need"
)

// guardScript puts the kernel's settings back when its standard input ends, for
// whatever reason, and removes those of the files that it is given (paths
// without blanks) that were not there: a process of its own, for this one may be
// killed. Programs that change core_pattern for a while take turns by a lock on
// it.
const guardScript = `
trap '' INT TERM HUP
cd /proc/sys/kernel
exec 9<core_pattern
flock 9
for file; do [ -e "$file" ] || made="$made $file"; done
pattern=$(cat core_pattern) limit=$(cat core_pipe_limit)
echo ready
cat >/dev/null
printf '%s\n' "$pattern" >core_pattern
printf '%s\n' "$limit" >core_pipe_limit
[ -z "$made" ] || rm -rf $made
`

// kernelSettings is what the kernel's files hold.
func kernelSettings(t testing.TB) string {
	t.Helper()
	var all []string
	for _, name := range []string{"core_pattern", "core_pipe_limit", "core_uses_pid"} {
		b, err := os.ReadFile("/proc/sys/kernel/" + name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(b))
	}
	return strings.Join(all, "|")
}

// guardKernel has the kernel's settings put back, and files removed that are not
// there now, at release, which may be called again, or when this process ends.
// No other test changes the settings before that.
func guardKernel(t *testing.T, files ...string) (release func()) {
	t.Helper()
	bash, _ := need.Tool(t, "bash"), need.Tool(t, "flock")
	guard := exec.Command(bash, append([]string{"-c", guardScript, "guard"}, files...)...)
	guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := guard.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := guard.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := guard.Start(); err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() {
		in.Close()
		guard.Wait()
	})
	t.Cleanup(release) // whatever fails from here on
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		t.Fatalf("guard core_pattern: %v", err)
	}
	return release
}
