package inject

import (
	"bufio"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestEndOfAnother: a process that has the PID of a copy that is gone is not
// killed in its place.
func TestEndOfAnother(t *testing.T) {
	cmd := exec.Command("sh", "-c", "sleep 600 & echo $!; wait $!") // no child of ours
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	End(pid)
	_ = syscall.Kill(pid, syscall.SIGTERM) // ESRCH: the shell tells why it ended
	_ = cmd.Wait()                         // by its exit code
	if code, want := cmd.ProcessState.ExitCode(), 128+int(syscall.SIGTERM); code != want {
		t.Errorf("the other process ended with %d, want %d", code, want)
	}
}
