package cgroup

import (
	"errors"
	"maps"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestCPULimit(t *testing.T) {
	status := func(list string) string { return "Name:\tx\nCpus_allowed_list:\t" + list + "\n" }
	for _, c := range []struct {
		name  string
		files map[string]string
		cores float64
		why   string
	}{
		{"no limit", v2(), 8, "online CPUs 0-7"},
		{"max", v2("sys/fs/cgroup/a/b/cpu.max", "max 100000\n"), 8, "online CPUs 0-7"},
		{"half a core", v2("sys/fs/cgroup/a/b/cpu.max", "50000 100000\n"), 0.5, "cpu.max of cgroup /a/b"},
		{"above", v2("sys/fs/cgroup/a/b/cpu.max", "400000 100000\n", "sys/fs/cgroup/a/cpu.max", "300000 200000\n"), 1.5, "cpu.max of cgroup /a"},
		{"more than there is", v2("sys/fs/cgroup/a/b/cpu.max", "1600000 100000\n"), 8, "online CPUs 0-7"},
		{"of no use", v2("sys/fs/cgroup/a/b/cpu.max", "x\n", "sys/fs/cgroup/a/cpu.max", "0 0\n"), 8, "online CPUs 0-7"},
		{"affinity", v2("proc/100/status", status("2,4-5")), 3, "CPUs allowed to the process: 2,4-5"},
		{"affinity to some offline", v2("proc/100/status", status("6-127")), 2, "CPUs allowed to the process: 6-127"},
		{"affinity to all possible", v2("proc/100/status", status("0-127")), 8, "online CPUs 0-7"},
		{"quota within affinity", v2("proc/100/status", status("0-1"), "sys/fs/cgroup/a/b/cpu.max", "150000 100000"), 1.5, "cpu.max of cgroup /a/b"},
		{"affinity within quota", v2("proc/100/status", status("3"), "sys/fs/cgroup/a/b/cpu.max", "150000 100000"), 1, "CPUs allowed to the process: 3"},
		{"affinity of the first thread only", v2("proc/100/status", status("0"), "proc/100/task/100/status", status("0"),
			"proc/100/task/101/status", status("0-7")), 8, "online CPUs 0-7"},
		{"threads bound to a CPU each", v2("proc/100/status", status("0"), "proc/100/task/100/status", status("0"),
			"proc/100/task/101/status", status("1"), "proc/100/task/102/status", status("5")), 3, "CPUs allowed to the process: 0-1,5"},
		{"some offline", v2("sys/devices/system/cpu/online", "0,2\n"), 2, "online CPUs 0,2"},
		{"no sysfs", v2("sys/devices/system/cpu/online", "", "proc/stat", "cpu  1 2\ncpu0 1\ncpu1 2\ncpu3 3\nintr 5\n"), 3, "online CPUs (3)"},
		{"version 1 beside 2", hybrid, 1.5, "cpu.cfs_quota_us of cgroup /a/b"},
		{"version 1, no limit", map[string]string{"proc/self/mountinfo": v1Mount, "proc/100/cgroup": v1Groups,
			"sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us": "100000\n"}, 8, "online CPUs 0-7"},
		{"no cgroups", map[string]string{}, 8, "online CPUs 0-7"},
		{"cgroups that are not mounted", map[string]string{"proc/self/mountinfo": "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n", "proc/100/cgroup": "0::/a\n1:cpu:/a\n"}, 8, "online CPUs 0-7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cores, why := machine(t, c.files).CPULimit(pid)
			if cores != c.cores || why != c.why {
				t.Errorf("%v cores, %s; want %v, %s", cores, why, c.cores, c.why)
			}
		})
	}
	empty := Root(t.TempDir())
	if cores, _ := empty.CPULimit(pid); cores != float64(runtime.NumCPU()) {
		t.Errorf("an empty machine has %v cores", cores)
	}
}

func TestMemoryLimit(t *testing.T) {
	const ram = 16 << 30
	v1 := func(more ...string) map[string]string {
		files := map[string]string{"proc/self/mountinfo": v1Mount, "proc/100/cgroup": v1Groups, "sys/fs/cgroup/memory/a/b/": "",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}
		for i := 0; i < len(more); i += 2 {
			files[more[i]] = more[i+1]
		}
		return files
	}
	const m = "sys/fs/cgroup/memory/"
	for _, c := range []struct {
		name  string
		files map[string]string
		bytes uint64
		why   string
	}{
		{"no limit", v2(), ram, "RAM"},
		{"max", v2("sys/fs/cgroup/a/b/memory.max", "max\n"), ram, "RAM"},
		{"own", v2("sys/fs/cgroup/a/b/memory.max", "1048576\n"), 1 << 20, "memory.max of cgroup /a/b"},
		{"above", v2("sys/fs/cgroup/a/b/memory.max", "max\n", "sys/fs/cgroup/a/memory.max", "2097152\n"), 2 << 20, "memory.max of cgroup /a"},
		{"smallest is below", v2("sys/fs/cgroup/a/b/memory.max", "4096\n", "sys/fs/cgroup/a/memory.max", "2097152\n"), 4096, "memory.max of cgroup /a/b"},
		{"more than RAM", v2("sys/fs/cgroup/a/b/memory.max", "1099511627776\n"), ram, "RAM"},
		{"version 1 beside 2", hybrid, 1 << 20, "memory.limit_in_bytes of cgroup /a"},
		{"version 1, no limit", v1(m+"a/b/memory.limit_in_bytes", "9223372036854771712\n"), ram, "RAM"},
		{"version 1, own", v1(m+"a/b/memory.limit_in_bytes", "1048576\n"), 1 << 20, "memory.limit_in_bytes of cgroup /a/b"},
		{"version 1, flat", v1(m+"a/memory.limit_in_bytes", "1048576\n", m+"a/memory.use_hierarchy", "0\n"), ram, "RAM"},
		{"version 1, hierarchical", v1(m+"a/memory.limit_in_bytes", "1048576\n", m+"a/memory.use_hierarchy", "1\n"), 1 << 20, "memory.limit_in_bytes of cgroup /a"},
		{"version 1, above what can be seen", v1(m+"a/b/memory.stat", "cache 1\nhierarchical_memory_limit 8192\n"), 8192,
			"hierarchical_memory_limit of cgroup /a/b, from above what can be seen"},
		{"no cgroups", map[string]string{}, ram, "RAM"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bytes, why := machine(t, c.files).MemoryLimit(pid)
			if bytes != c.bytes || why != c.why {
				t.Errorf("%d bytes, %s; want %d, %s", bytes, why, c.bytes, c.why)
			}
		})
	}
	if bytes, why := Root(t.TempDir()).MemoryLimit(pid); bytes != 0 || why != "" {
		t.Errorf("an empty machine has %d bytes, %s", bytes, why)
	}
}

// TestPlaces finds the folder of a cgroup through all kinds of mounts. Each
// fixture has a file with the number 7 where it is, and with others elsewhere.
func TestPlaces(t *testing.T) {
	id := strings.Repeat("ab", 32)
	mounts := func(lines ...string) string { return strings.Join(lines, "\n") + "\n" }
	const file = "/pids.current"
	for _, c := range []struct {
		name  string
		files map[string]string
		why   string // what CPULimit names, from a cpu.max of half a core
	}{
		{"host", map[string]string{
			"proc/self/mountinfo": v2Mount, "proc/100/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b" + file: "7",
			"sys/fs/cgroup/a/cpu.max": "50000 100000"}, "cpu.max of cgroup /a"},
		{"root cgroup", map[string]string{
			"proc/self/mountinfo": v2Mount, "proc/100/cgroup": "0::/\n", "sys/fs/cgroup" + file: "7",
			"sys/fs/cgroup/cpu.max": "50000 100000"}, "cpu.max of cgroup /"},
		{"removed cgroup of the same name", map[string]string{
			"proc/self/mountinfo": v2Mount, "proc/100/cgroup": "0::/a (deleted)\n", "sys/fs/cgroup/a" + file: "7",
			"sys/fs/cgroup/a/cpu.max": "50000 100000"}, "cpu.max of cgroup /a"},
		{"within a container, without a namespace", map[string]string{
			"proc/self/mountinfo": mounts("33 30 0:29 /docker/" + id + " /sys/fs/cgroup ro - cgroup2 cgroup rw"),
			"proc/100/cgroup":     "0::/docker/" + id + "/child\n", "sys/fs/cgroup/child" + file: "7",
			"sys/fs/cgroup/cpu.max": "50000 100000"}, "cpu.max of cgroup /docker/" + id},
		{"within a container, in its namespace", map[string]string{
			"proc/self/mountinfo": v2Mount, "proc/100/cgroup": "0::/\n", "sys/fs/cgroup" + file: "7",
			"sys/fs/cgroup/cpu.max": "50000 100000"}, "cpu.max of cgroup /"},
		{"another container, seen by its own mounts", map[string]string{
			"proc/self/mountinfo": v2Mount, "proc/100/cgroup": "0::/../" + id + "/x\n", "sys/fs/cgroup/x" + file: "1",
			"sys/fs/cgroup/" + id + "/x" + file:     "2",
			"proc/100/mountinfo":                    mounts("50 49 0:26 /../" + id + " /sys/fs/cgroup ro - cgroup2 cgroup rw"),
			"proc/100/root/sys/fs/cgroup/x" + file:  "7",
			"proc/100/root/sys/fs/cgroup/x/cpu.max": "50000 100000"}, "cpu.max of cgroup /../" + id + "/x"},
		{"a mount from outside the namespace", map[string]string{
			"proc/self/mountinfo":                mounts("30 23 0:26 /../.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw"),
			"proc/100/cgroup":                    "0::/svc\n",
			"sys/fs/cgroup/a/b/svc/cgroup.procs": "1\n2\n", "sys/fs/cgroup/a/b/svc" + file: "1",
			"sys/fs/cgroup/a/c/svc/cgroup.procs": "99\n100\n", "sys/fs/cgroup/a/c/svc" + file: "7",
			"sys/fs/cgroup/svc/cgroup.procs": "100\n", "sys/fs/cgroup/svc" + file: "1",
			"sys/fs/cgroup/a/cpu.max": "50000 100000", "sys/fs/cgroup/a/b/cpu.max": "1000 100000"}, "cpu.max of cgroup /.."},
		{"the mount that shows most", map[string]string{
			"proc/self/mountinfo": mounts("1 2 0:26 /a/b /near rw - cgroup2 c rw", "3 4 0:26 / /far rw - cgroup2 c rw", "5 6 0:26 /other /other rw - cgroup2 c rw"),
			"proc/100/cgroup":     "0::/a/b\n", "far/a/b" + file: "7", "near" + file: "1", "other/a/b" + file: "1",
			"far/a/cpu.max": "50000 100000"}, "cpu.max of cgroup /a"},
		{"a mount point with blanks", map[string]string{
			"proc/self/mountinfo": mounts(`1 2 0:26 / /my\040groups\134 rw master:1 propagate_from:2 - cgroup2 c rw`),
			"proc/100/cgroup":     "0::/a:b\n", `my groups\/a:b` + file: "7",
			`my groups\/a:b/cpu.max`: "50000 100000"}, "cpu.max of cgroup /a:b"},
		{"a controller of version 1 beside version 2", map[string]string{
			"proc/self/mountinfo": v2Mount + "32 30 0:28 / /v1/pids rw - cgroup cgroup rw,pids\n32 30 0:28 / /v1/cpu rw - cgroup cgroup rw,cpuacct,cpu\n",
			"proc/100/cgroup":     "5:cpu,cpuacct:/q\n4:pids:/p\n0::/u\n", "v1/pids/p" + file: "7", "sys/fs/cgroup/u" + file: "1",
			"v1/cpu/q/cpu.cfs_quota_us": "50000", "v1/cpu/q/cpu.cfs_period_us": "100000"}, "cpu.cfs_quota_us of cgroup /q"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if runtime.GOOS == "windows" && strings.Contains(c.name, "blanks") {
				t.Skip("no such file name")
			}
			r := machine(t, c.files)
			if v, err := r.Value(pid, "pids.current"); v != 7 {
				t.Errorf("value %v, %v", v, err)
			}
			if cores, why := r.CPULimit(pid); cores != 0.5 || why != c.why {
				t.Errorf("%v cores, %s; want 0.5, %s", cores, why, c.why)
			}
		})
	}
}

func TestValue(t *testing.T) {
	two := v2("sys/fs/cgroup/a/b/memory.current", "12345\n", "sys/fs/cgroup/a/b/memory.max", "max\n",
		"sys/fs/cgroup/a/b/memory.stat", "anon 100\nfile 200\n", "sys/fs/cgroup/a/b/cgroup.events", "populated 1\nfrozen 0\n",
		"sys/fs/cgroup/a/b/io.stat", "8:0 rbytes=1 wbytes=2\n8:16 rbytes=3 wbytes=4\n",
		"sys/fs/cgroup/a/b/memory.pressure", "some avg10=12.50 avg60=0.00 avg300=0.00 total=5\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=6\n",
		"sys/fs/cgroup/a/b/cpu.max", "max 100000\n", "sys/fs/cgroup/a/b/cgroup.procs", "1\n2\n3\n", "sys/fs/cgroup/a/b/cpu.weight", "text\n")
	inf := math.Inf(1)
	for _, c := range []struct {
		machine string
		files   map[string]string
		name    string
		want    float64
		err     string // part of the message
	}{
		{"v2", two, "memory.current", 12345, ""},
		{"v2", two, "memory.max", inf, ""},
		{"v2", two, "memory.stat:anon", 100, ""},
		{"v2", two, "cgroup.events:populated", 1, ""},
		{"v2", two, "io.stat:8:16.rbytes", 3, ""},
		{"v2", two, "memory.pressure:some.avg10", 12.5, ""},
		{"v2", two, "memory.pressure:full.total", 6, ""},
		{"v2", two, "memory.stat", 0, "needs a key: one of anon, file"},
		{"v2", two, "memory.stat:rss", 0, "no such key, but anon, file"},
		{"v2", two, "memory.current:x", 0, "no keys"},
		{"v2", two, "cpu.max", 0, "no number"},
		{"v2", two, "cpu.weight", 0, "no number"},
		{"v2", two, "cpu.weight:x", 0, "no keys"},
		{"v2", two, "cgroup.procs", 0, "no number"},
		{"v2", two, "memory.peak", 0, "cgroup /a/b has no such file"},
		{"v2", two, "memory", 0, "CONTROLLER.FILE"},
		{"v2", two, "", 0, "CONTROLLER.FILE"},
		{"v2", two, "../a/b/memory.current", 0, "CONTROLLER.FILE"},
		{"v2", two, "memory./../memory.current", 0, "CONTROLLER.FILE"},
		{"hybrid", hybrid, "memory.usage_in_bytes", 4096, ""},
		{"hybrid", hybrid, "memory.current", 4096, ""},
		{"hybrid", hybrid, "memory.max", inf, ""},
		{"hybrid", hybrid, "memory.stat:rss", 2, ""},
		{"hybrid", hybrid, "memory.stat:anon", 3, ""},
		{"hybrid", hybrid, "memory.stat:file", 4, ""},
		{"hybrid", hybrid, "memory.peak", 0, "cgroup /a/b has no such file"},
		{"hybrid", hybrid, "cpuacct.usage", 123456789, ""},
		{"hybrid", hybrid, "cpu.stat:nr_throttled", 3, ""},
		{"hybrid", hybrid, "pids.current", 17, ""},
		{"hybrid", hybrid, "cpu.pressure:full.avg10", 0.25, ""},
		{"hybrid", hybrid, "hugetlb.2MB.usage_in_bytes", 0, "no such file"},
		{"only v1", map[string]string{"proc/self/mountinfo": v1Mount, "proc/100/cgroup": v1Groups}, "pids.current", 0, "in no cgroup hierarchy that is mounted"},
	} {
		got, err := machine(t, c.files).Value(pid, c.name)
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) || got != c.want {
			t.Errorf("%s, %q: %v, %v; want %v, %q", c.machine, c.name, got, err, c.want, c.err)
		}
	}
}

// TestNames lists nothing that Value cannot read, and all that it can.
func TestNames(t *testing.T) {
	files := maps.Clone(hybrid)
	files["sys/fs/cgroup/unified/user/session/sub.folder/"] = ""
	files["sys/fs/cgroup/memory/a/b/cgroup.clone_children"] = "0\n"
	g, err := machine(t, files).Find(pid)
	if err != nil {
		t.Fatal(err)
	}
	names := g.Names()
	for _, name := range names {
		if _, err := g.Value(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"memory.usage_in_bytes", "memory.stat:total_rss", "cpuacct.usage", "pids.current", "cpu.pressure:some.avg10", "cpu.cfs_quota_us"} {
		if !slices.Contains(names, name) {
			t.Errorf("%s is not in %v", name, names)
		}
	}
}

func TestFindErrors(t *testing.T) {
	r := machine(t, v2())
	if _, err := r.Find(101); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no process: %v", err)
	}
	if _, err := r.Value(101, "memory.current"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no process: %v", err)
	}
	if _, err := machine(t, nil).Find(pid); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("no cgroups: %v", err)
	}
}

func TestCPULists(t *testing.T) {
	for text, want := range map[string]string{
		"0": "0", "0-3": "0-3", "0-1,3,8-9\n": "0-1,3,8-9", "": "", "x": "", "3-1": "", "-1": "", "0-99999999999": "", "0-9999999": "", "5,4,3": "3-5",
	} {
		if got := parseCPUs(text).String(); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("0::/a/b", "some avg10=1.5 total=7", "0-3,8")
	f.Add("4:cpu,cpuacct:/../x", "anon 5\nfile 6", "1")
	f.Fuzz(func(t *testing.T, line, file, list string) {
		h, ok := parseLine(line)
		if ok && !h.v2 && len(h.controllers) == 0 {
			t.Errorf("%q has no controllers", line)
		}
		up, names := split(h.path)
		if h.name(h.dir) != "/"+strings.Join(append(slices.Repeat([]string{".."}, up), names...), "/") {
			t.Errorf("%q has name %q", h.path, h.name(h.dir))
		}
		for key, v := range parseNumbers(file) {
			if math.IsNaN(v) {
				t.Errorf("%q is NaN in %q", key, file)
			}
		}
		if set := parseCPUs(list); set.count() > 0 && parseCPUs(set.String()).String() != set.String() {
			t.Errorf("%q becomes %q", list, set)
		}
	})
}

func TestMemoryLeft(t *testing.T) {
	const m, mib, limit = "sys/fs/cgroup/memory/", 1 << 20, "9223372036854771712\n"
	v1 := func(more ...string) map[string]string {
		files := map[string]string{"proc/meminfo": "MemTotal: 4096 kB\nMemAvailable: 2048 kB\n", "proc/self/mountinfo": v1Mount,
			"proc/100/cgroup": v1Groups, m + "a/b/": "", m + "memory.limit_in_bytes": limit, m + "memory.usage_in_bytes": "1\n"}
		for i := 0; i < len(more); i += 2 {
			files[more[i]] = more[i+1]
		}
		return files
	}
	two := func(more ...string) map[string]string {
		files := v2(more...)
		files["proc/meminfo"] = "MemTotal: 4096 kB\nMemAvailable: 2048 kB\n"
		return files
	}
	const swapTitles = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
	const swaps = swapTitles + "/dev/sda2                               partition\t1024\t\t256\t\t-2\n/dev/zram0 partition 4096 0 100\n" +
		`/swap\040file\040(deleted) file 512 256 -3` + "\n"
	const ab, a = "sys/fs/cgroup/a/b/", "sys/fs/cgroup/a/"
	for _, c := range []struct {
		name  string
		files map[string]string
		bytes uint64
		where string
	}{
		{"no limit", two(), 2 * mib, "RAM"},
		{"max", two(ab+"memory.max", "max\n", ab+"memory.current", "7\n"), 2 * mib, "RAM"},
		{"own", two(ab+"memory.max", "1048576\n", ab+"memory.current", "48576\n"), 1000000, "memory.max of cgroup /a/b"},
		{"high is lower", two(ab+"memory.max", "1048576\n", ab+"memory.high", "148576\n", ab+"memory.current", "48576\n"), 100000,
			"memory.high of cgroup /a/b"},
		{"caches", two(ab+"memory.max", "1048576\n", ab+"memory.current", "1048576\n", ab+"memory.stat", "anon 5\ninactive_file 4096\n"), 4096,
			"memory.max of cgroup /a/b"},
		{"above", two(a+"memory.max", "2000\n", a+"memory.current", "500\n"), 1500, "memory.max of cgroup /a"},
		{"full", two(ab+"memory.max", "100\n", ab+"memory.current", "200\n"), 0, "memory.max of cgroup /a/b"},
		{"version 1", v1(m+"a/b/memory.limit_in_bytes", "5000\n", m+"a/b/memory.usage_in_bytes", "4000\n", m+"a/b/memory.stat",
			"inactive_file 1\ntotal_inactive_file 100\n"), 1100, "memory.limit_in_bytes of cgroup /a/b"},
		{"version 1, no limit", v1(), 2 * mib, "RAM"},
		{"version 1, with swap in sum", v1(m+"a/b/memory.limit_in_bytes", "5000\n", m+"a/b/memory.usage_in_bytes", "1000\n",
			m+"a/b/memory.memsw.limit_in_bytes", "5000\n", m+"a/b/memory.memsw.usage_in_bytes", "4500\n"), 500, "memory.memsw.limit_in_bytes of cgroup /a/b"},
		{"swap", two("proc/swaps", swaps), 3 * mib, "RAM and swap"},
		{"swap in RAM", two("proc/swaps", swapTitles+"/dev/zram0 partition 4096 0 100\n"), 2 * mib, "RAM"},
		{"swap does not count for a cgroup", two("proc/swaps", swaps, ab+"memory.max", "5000\n", ab+"memory.current", "1000\n"), 4000, "memory.max of cgroup /a/b"},
		{"no swap for the cgroup", two("proc/swaps", swaps, ab+"memory.swap.max", "0\n", ab+"memory.swap.current", "0\n"), 2 * mib, "RAM"},
		{"no swap for the one above", two("proc/swaps", swaps, ab+"memory.swap.max", "max\n", ab+"memory.swap.current", "0\n",
			a+"memory.swap.max", "0\n", a+"memory.swap.current", "0\n"), 2 * mib, "RAM"},
		{"some swap", two("proc/swaps", swaps, ab+"memory.swap.max", "5000\n", ab+"memory.swap.current", "2000\n"), 2*mib + 3000, "RAM and swap"},
		{"swap is slowed", two("proc/swaps", swaps, ab+"memory.swap.max", "5000\n", ab+"memory.swap.high", "2500\n", ab+"memory.swap.current", "2000\n"),
			2*mib + 500, "RAM and swap"},
		{"swap only in zswap", two("proc/swaps", swaps, ab+"memory.zswap.writeback", "0\n"), 2 * mib, "RAM"},
		{"version 1, swap", v1("proc/swaps", swaps), 3 * mib, "RAM and swap"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if bytes, where := machine(t, c.files).MemoryLeft(pid); bytes != c.bytes || where != c.where {
				t.Errorf("%d bytes, %s; want %d, %s", bytes, where, c.bytes, c.where)
			}
		})
	}
	if bytes, where := Root(t.TempDir()).MemoryLeft(pid); bytes != 0 || where != "" {
		t.Errorf("an empty machine has %d bytes, %s", bytes, where)
	}
}
