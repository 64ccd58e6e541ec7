package cgroup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// pid is the process of a fixture.
const pid = 100

// machine makes a fixture of files. In a text, "~" stands for the lines of
// mountinfo or cgroup that are the same everywhere. Names that end in "/" are
// folders.
func machine(t *testing.T, files map[string]string) Root {
	t.Helper()
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(root, filepath.FromSlash(name))
		dir := filepath.Dir(path)
		if strings.HasSuffix(name, "/") {
			dir = path
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			return
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("proc/meminfo", "MemTotal:       16777216 kB\nMemFree: 1 kB\n")
	write("proc/100/status", "Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t0-7\n")
	write("sys/devices/system/cpu/online", "0-7\n")
	for name, text := range files {
		write(name, text)
	}
	return Root(root)
}

// Mounts of the usual places.
const (
	v2Mount = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
	v1Mount = `22 1 8:1 / / rw - ext4 /dev/sda1 rw
31 30 0:27 / /sys/fs/cgroup/systemd rw shared:10 - cgroup cgroup rw,xattr,name=systemd
32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:11 - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
34 30 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
`
	v1Groups = "9:name=systemd:/user\n4:memory:/a/b\n3:cpuset:/\n2:cpu,cpuacct:/a/b\n"
)

// hybrid has all controllers in version 1 but pids.
var hybrid = map[string]string{
	"proc/self/mountinfo": v1Mount + "40 30 0:40 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
	"proc/100/cgroup":     v1Groups + "0::/user/session\n",

	"sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us":  "150000\n",
	"sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us": "100000\n",
	"sys/fs/cgroup/cpu,cpuacct/a/b/cpu.stat":          "nr_periods 12\nnr_throttled 3\nthrottled_time 99\n",
	"sys/fs/cgroup/cpu,cpuacct/a/b/cpuacct.usage":     "123456789\n",
	"sys/fs/cgroup/memory/a/b/memory.limit_in_bytes":  "9223372036854771712\n",
	"sys/fs/cgroup/memory/a/memory.limit_in_bytes":    "1048576\n",
	"sys/fs/cgroup/memory/a/b/memory.usage_in_bytes":  "4096\n",
	"sys/fs/cgroup/memory/a/b/memory.stat":            "cache 1\nrss 2\nhierarchical_memory_limit 1048576\ntotal_rss 3\ntotal_cache 4\n",
	"sys/fs/cgroup/unified/user/session/pids.current": "17\n",
	"sys/fs/cgroup/unified/user/session/cpu.pressure": "some avg10=1.50 avg60=0.00 avg300=0.00 total=77\nfull avg10=0.25 avg60=0.00 avg300=0.00 total=0\n",
	"sys/fs/cgroup/unified/user/session/cgroup.procs": "100\n",
}

// v2 is a process in a cgroup of version 2.
func v2(more ...string) map[string]string {
	files := map[string]string{
		"proc/self/mountinfo":   v2Mount,
		"proc/100/cgroup":       "0::/a/b\n",
		"sys/fs/cgroup/a/b/":    "",
		"proc/100/mountinfo":    v2Mount,
		"proc/100/task/100/":    "",
		"proc/self/root/":       "",
		"sys/fs/cgroup/a/c/d/":  "",
		"sys/fs/cgroup/other/":  "",
		"sys/fs/cgroup/cpu.max": "", // the root has none; here it is no limit
	}
	for i := 0; i < len(more); i += 2 {
		files[more[i]] = more[i+1]
	}
	return files
}
