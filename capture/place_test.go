package capture

import (
	"path/filepath"
	"strings"
	"testing"

	"procdump/snapshot"
)

func TestPlace(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	for _, c := range []struct{ cgroup, container, want string }{
		{"", "", "host_root.core"},
		{"0::/\n", "", "host_root.core"},
		{"0::/system.slice/nginx.service\n", "", "host_nginx.service.core"},
		{"0::/system.slice/docker-" + id + ".scope\n", id, "0123456789ab_docker-" + id + ".scope.core"},
		{"9:name=systemd:/\n4:memory:/jobs/a b\n1:cpu:/jobs\n0::/\n", "", "host_a_b.core"},
		{"9:name=systemd:/user.slice/x.scope\n4:cpu,memory:/jobs\n0::/\n", "", "host_x.scope.core"},
		{"1:cpu,cpuacct:/jobs (deleted)\n0::/\n", "short", "short_jobs.core"},
		{"0::/../../etc\n", "../x", "___x_etc.core"},
		{"0::/..\n", "", "host_root.core"},
		{"nonsense\n", "", "host_root.core"},
	} {
		v := testVars()
		v.Place(&snapshot.Process{Texts: map[string][]byte{"cgroup": []byte(c.cgroup)}, Info: snapshot.Info{Container: c.container}})
		m, err := ParseMask(filepath.Join(t.TempDir(), "CONTAINERID_CGROUP.core"), MaskOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Name(v); got != c.want {
			t.Errorf("%q, %q: name %q, want %q", c.cgroup, c.container, got, c.want)
		}
		v.Place(&snapshot.Process{})
		if got := m.Name(v); got != "unknown_unknown.core" {
			t.Errorf("nothing known: name %q", got)
		}
	}
}

func TestHasWords(t *testing.T) {
	for name, want := range map[string]bool{"dumps": false, "core": false, "x.core": false, "rapid": false, "": false,
		"PROCESSNAME": true, "pid": true, "x_pid.dmp": true, "CONTAINERID": true, "aCGROUPb": true} {
		if got := HasWords(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}
