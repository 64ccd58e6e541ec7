package e2e

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"procdump/victims"
	"procdump/victims/need"
)

// TestForbiddenTrigger: that a process may not be dumped is said at the start,
// whatever the trigger, not when that fires.
func TestForbiddenTrigger(t *testing.T) {
	need.Root(t)
	v := victims.Start(t, "trouble")
	for _, trigger := range [][]string{{"-m", "1000000"}, {"-tc", "1000"}, {"-e"}} {
		cmd := exec.Command(binary(t), append(trigger, "-json", pidArg(v), t.TempDir())...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		r := finish(t, cmd)
		told := ""
		for _, e := range r.events {
			if e.Event == "error" {
				told = e.Message
			}
		}
		if r.code != 4 || !strings.Contains(told, "not permitted") || !strings.Contains(told, "run procdump as root") {
			t.Errorf("%v: %v", trigger, r)
		}
	}
	wantAlive(t, v)
}
