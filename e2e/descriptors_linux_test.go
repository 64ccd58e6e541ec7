package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"procdump/victims/need"
)

// sleepers starts n processes of one name that nothing else has.
func sleepers(t *testing.T, n int) (name string) {
	t.Helper()
	name = fmt.Sprintf("sleeper%d", time.Now().UnixNano()%1e8)
	sleepersNamed(t, name, n)
	return name
}

func sleepersNamed(t *testing.T, name string, n int) {
	t.Helper()
	program := filepath.Join(t.TempDir(), name)
	text, err := os.ReadFile(need.Tool(t, "sleep"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, text, 0o755); err != nil {
		t.Fatal(err)
	}
	for range n {
		c := exec.Command(program, "1000")
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	}
}

// limited runs procdump under a limit of open files, "-n 64" say.
func limited(t *testing.T, limit string, args ...string) result {
	t.Helper()
	script := `ulimit ` + limit + ` && exec "$0" "$@"`
	return finish(t, exec.Command("sh", append([]string{"-c", script, binary(t), "-json"}, args...)...))
}

// TestFewDescriptors: many processes are watched and dumped with few open files.
func TestFewDescriptors(t *testing.T) {
	const n = 70
	name := sleepers(t, n)
	for what, trigger := range map[string][]string{
		"no trigger": nil,
		"threshold":  {"-ml", "100000", "-s", "0"},
		"tracing":    {"-e", "-ml", "100000", "-s", "0"},
	} {
		t.Run(what, func(t *testing.T) {
			r := limited(t, "-n 64", append(trigger, "-all", name, t.TempDir()+"/")...)
			if got := len(r.completed()); r.code != 0 || got != n {
				t.Errorf("%d dumps of %d processes; %v", got, n, r)
			}
		})
	}
}

// TestTooFewDescriptors: what cannot be watched is told with its cause and the
// remedy, and the others are watched.
func TestTooFewDescriptors(t *testing.T) {
	const n = 70
	name := sleepers(t, n)
	trigger := []string{"-p", `\Process\Thread Count`, "1", "-s", "0", "-all", name}
	r := limited(t, "-n 64", append(trigger, t.TempDir()+"/")...)
	refused := 0
	for _, e := range r.events {
		if e.Event != "error" {
			continue
		}
		refused++
		for _, want := range []string{"too many open files", "procdump may have 64 files open", "ulimit -n"} {
			if !strings.Contains(e.Message, want) {
				t.Errorf("%q is not in %q", want, e.Message)
			}
		}
	}
	if got := len(r.completed()); r.code != 1 || got == 0 || refused == 0 || got+refused != n {
		t.Errorf("%d dumps and %d refused of %d processes; %v", got, refused, n, r)
	}
	// A soft limit is raised to the hard one at the start.
	r = limited(t, "-Sn 64", append(trigger, t.TempDir()+"/")...)
	if got := len(r.completed()); r.code != 0 || got != n {
		t.Errorf("soft limit: %d dumps of %d processes; %v", got, n, r)
	}
}
