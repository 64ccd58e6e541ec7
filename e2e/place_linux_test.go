package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"procdump/victims"
	"procdump/victims/need"
)

// containerGroup makes a control group that is named as a container's, and
// returns the container's ID, the name, and the file that takes processes.
func containerGroup(t *testing.T) (id, name, procs string) {
	t.Helper()
	// No two tests have the same.
	id = strings.Repeat(fmt.Sprintf("%016x", os.Getpid()+len(t.Name())<<32), 4)
	name = "docker-" + id + ".scope"
	return id, name, namedGroup(t, name)
}

// namedGroup makes a control group, and returns the file that takes processes.
func namedGroup(t *testing.T, name string) (procs string) {
	t.Helper()
	for _, root := range []string{"/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		dir := filepath.Join(root, name)
		if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err == nil && os.Mkdir(dir, 0o755) == nil {
			t.Cleanup(func() { os.Remove(dir) })
			return filepath.Join(dir, "cgroup.procs")
		}
	}
	need.Missing(t, "kernel", "no control group can be made here")
	return ""
}

// TestNameOfPlace wants a dump's name to say where the process runs.
func TestNameOfPlace(t *testing.T) {
	need.Root(t)
	id, group, procs := containerGroup(t)
	v := victims.Start(t, "trouble")
	t.Cleanup(v.Kill) // before the group goes
	folder := t.TempDir()
	mask := filepath.Join(folder, "CONTAINERID_CGROUP")
	for _, want := range []string{"host_", id[:12] + "_" + group + ".core"} {
		r := procdump(t, "-json", pidArg(v), mask)
		if got := r.completed(); r.code != 0 || len(got) != 1 || !strings.HasPrefix(got[0], filepath.Join(folder, want)) {
			t.Errorf("dumps %q, want %s; %v", got, want, r)
		}
		if err := os.WriteFile(procs, []byte(pidArg(v)), 0); err != nil {
			t.Fatal(err)
		}
	}
	wantAlive(t, v)
}
