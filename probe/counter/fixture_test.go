package counter

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// fixture is a machine made of files.
type fixture struct {
	t    *testing.T
	root string
	Env
}

func newFixture(t *testing.T) *fixture {
	root := t.TempDir()
	f := &fixture{t, root, Env{Proc: filepath.Join(root, "proc"), Sys: filepath.Join(root, "sys")}}
	f.write("proc/uptime", "1000.50 1900.00\n")
	f.write("proc/loadavg", "0.50 0.40 0.30 3/456 7890\n")
	f.cpus(100, 100)
	f.write("proc/meminfo", "MemTotal:       1000 kB\nMemAvailable:    512 kB\nBuffers:              8 kB\nCached:          92 kB\n"+
		"SwapCached:            0 kB\nCommitLimit:     1000 kB\nCommitted_AS:    1500 kB\n")
	f.vm(10)
	f.disk(100)
	f.net(1000)
	return f
}

func (f *fixture) write(path, text string) {
	f.t.Helper()
	path = filepath.Join(f.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	// In place: readers keep the file open.
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// cpus sets what two processors have done so far: the first user time, the
// second idle time only.
func (f *fixture) cpus(user, idle int) {
	f.write("proc/stat", fmt.Sprintf("cpu  %d 0 30 %d 0 5 5 0 0 0\ncpu0 %d 0 30 0 0 5 5 0 0 0\ncpu1 0 0 0 %d 0 0 0 0 0 0\n"+
		"intr %d 5 6 7\nctxt %d\nbtime 1700000000\nprocesses 5\nprocs_running 6\nprocs_blocked 0\n", user, idle, user, idle, 1000+user, 2000+2*user))
}

func (f *fixture) vm(n int) {
	f.write("proc/vmstat", fmt.Sprintf("nr_free_pages 1\npswpin %d\npswpout %d\npgfault %d\npgmajfault %d\n", n, 2*n, 100*n, 3*n))
}

func (f *fixture) disk(n int) {
	f.write("proc/diskstats", fmt.Sprintf("   8       0 sda %d 0 %d %d %d 0 %d %d 2 %d %d 0 0 0 0 0 0\n   8       1 sda1 %d 0 8 9 0 0 0 0 0 9 9\n"+
		" 253       0 dm-0 5 0 8 9 0 0 0 0 0 9 9\n   8      16 sdb %d 0 8 10 0 0 0 0 1 5 5\n", n, 10*n, 4*n, 2*n, 20*n, 6*n, 5*n, 7*n, n, n))
	for _, d := range []string{"sda", "sdb"} {
		f.write("sys/block/"+d+"/device/model", "x\n")
	}
	f.write("sys/block/dm-0/size", "5\n")
}

func (f *fixture) net(n int) {
	f.write("proc/net/dev", fmt.Sprintf("Inter-|   Receive  |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes packets\n"+
		"    lo:   77     7    0    0    0     0          0         0    77     7    0    0    0     0       0          0\n"+
		"  eth0:%d     %d    3    4    0     0          0         0    %d   %d    5    6    0     0       0          0\n"+
		"  br0: %d     %d    0    0    0     0          0         0    %d   %d    0    0    0     0       0          0\n", n, n/10, 2*n, n/5, n, n/10, 2*n, n/5))
}

// process makes one that has used n ticks in user and 2n in kernel mode.
func (f *fixture) process(pid int, name string, n int) {
	dir := fmt.Sprintf("proc/%d/", pid)
	f.write(dir+"comm", name+"\n")
	f.write(dir+"cmdline", "/usr/bin/"+name+"\x00-x\x00")
	f.write(dir+"stat", fmt.Sprintf("%d (a) b (%s) S 1 70 70 0 -1 4194304 %d 2 %d 4 %d %d 0 0 20 0 3 0 %d 4096000 10 18446744073709551615 0 0\n",
		pid, name, 10*n, n, n, 2*n, 50000+pid))
	f.write(dir+"status", "Name:\t"+name+"\nState:\tS (sleeping)\nVmPeak:\t    2000 kB\nVmSize:\t    1000 kB\nVmHWM:\t     600 kB\nVmRSS:\t     500 kB\nRssAnon:\t     300 kB\nRssFile:\t     200 kB\nVmSwap:\t      50 kB\nSigBlk:\t000000000000abcd\nvoluntary_ctxt_switches:\t7\n")
	f.write(dir+"io", fmt.Sprintf("rchar: %d\nwchar: %d\nsyscr: %d\nsyscw: %d\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 0\n", 1000*n, 3000*n, n, 2*n))
	f.write(dir+"oom_score", "666\n")
	f.write(dir+"statm", "250 125 50 1 0 99 0\n")
	for i := range 4 {
		f.write(fmt.Sprintf("%sfd/%d", dir, i), "")
	}
}

// value opens a counter and returns its value; between two readings, two
// seconds apart, change runs.
func (f *fixture) value(name string, pid int, change func()) (float64, error) {
	f.t.Helper()
	c, err := Parse(name)
	if err != nil {
		return 0, err
	}
	r, err := c.Open(f.Env, pid)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	now := time.Unix(1e9, 0)
	v, ok, err := r.Read(now)
	if !ok && err == nil {
		change()
		if v, ok, err = r.Read(now.Add(2 * time.Second)); !ok && err == nil {
			return 0, errors.New("no value after two readings")
		}
	}
	return v, err
}

func (f *fixture) expect(name string, pid int, change func(), want float64) {
	f.t.Helper()
	got, err := f.value(name, pid, change)
	if err != nil || math.Abs(got-want) > 1e-9*math.Abs(want) {
		f.t.Errorf("%s = %v, %v, want %v", name, got, err, want)
	}
}

func TestProcessCounters(t *testing.T) {
	f := newFixture(t)
	f.process(100, "nginx", 50)
	for name, want := range map[string]float64{
		"% Processor Time": 150, "% User Time": 50, "% Privileged Time": 100,
		"Private Bytes": 350 << 10, "Working Set": 500 << 10, "Working Set Peak": 600 << 10, "Working Set - Private": 300 << 10,
		"Virtual Bytes": 1000 << 10, "Virtual Bytes Peak": 2000 << 10, "Page File Bytes": 50 << 10, "Page Faults/sec": 550,
		"Handle Count": 4, "Thread Count": 3, "ID Process": 100, "Creating Process ID": 1, "Elapsed Time": 1000.5 - 501,
		"IO Read Bytes/sec": 50000, "IO Write Bytes/sec": 150000, "IO Data Bytes/sec": 200000,
		"IO Read Operations/sec": 50, "IO Write Operations/sec": 100, "IO Data Operations/sec": 150,
	} {
		f.process(100, "nginx", 50)
		// 100 ticks more of everything, in two seconds.
		f.expect(`\Process(nginx)\`+name, 100, func() { f.process(100, "nginx", 150) }, want)
	}
	for name, want := range map[string]float64{
		"proc:status:VmHWM": 600 << 10, "proc:io:read_bytes": 4096, "proc:stat:20": 3, "proc:statm:2": 125, "proc:oom_score": 666,
		"proc:status:voluntary_ctxt_switches": 7, "proc:status:voluntary_ctxt_switches/sec": 0,
	} {
		f.expect(name, 100, func() {}, want)
	}
	for name, want := range map[string]string{"proc:status:SigBlk": "no number", "proc:status:Nothing": "no line Nothing", "proc:sched:x": "no such file"} {
		if _, err := f.value(name, 100, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}

func TestMachineCounters(t *testing.T) {
	f := newFixture(t)
	f.process(1, "init", 1)
	f.process(2, "two", 1)
	for name, want := range map[string]float64{
		`\Processor(_Total)\% Processor Time`: 25, `\Processor(_Total)\% Idle Time`: 75, `\Processor(_Total)\% User Time`: 25,
		`\Processor(_Total)\% Privileged Time`: 0, `\Processor(0)\% Processor Time`: 100, `\Processor(1)\% User Time`: 0,
		`\Memory\Available MBytes`: 0.5, `\Memory\Available KBytes`: 512, `\Memory\Available Bytes`: 512 << 10,
		`\Memory\Committed Bytes`: 1500 << 10, `\Memory\% Committed Bytes In Use`: 150, `\Memory\Cache Bytes`: 100 << 10,
		`\Memory\Page Faults/sec`: 500, `\Memory\Page Reads/sec`: 15, `\Memory\Pages/sec`: 15, `\Memory\Pages Input/sec`: 5,
		`\System\Processor Queue Length`: 4, `\System\Processes`: 2, `\System\Threads`: 456, `\System\Context Switches/sec`: 100,
		`\System\Interrupts/sec`: 50, `\System\System Up Time`: 1000.5,
		`\PhysicalDisk(sda)\Disk Read Bytes/sec`: 500 * 512, `\PhysicalDisk(sda)\Disk Write Bytes/sec`: 1000 * 512,
		`\PhysicalDisk(sda)\Disk Reads/sec`: 50, `\PhysicalDisk(_Total)\Disk Reads/sec`: 100, `\PhysicalDisk(sda)\Disk Transfers/sec`: 150,
		`\PhysicalDisk(sda1)\Disk Reads/sec`: 50, `\PhysicalDisk(_Total)\Current Disk Queue Length`: 3,
		`\PhysicalDisk(sda)\% Disk Time`: 25, `\PhysicalDisk(sda)\Avg. Disk Queue Length`: 0.35,
		`\PhysicalDisk(sda)\Avg. Disk sec/Read`: 0.004, `\PhysicalDisk(sda)\Avg. Disk sec/Write`: 0.003, `\PhysicalDisk(sdb)\Avg. Disk sec/Write`: 0,
		`\Network Interface(eth0)\Bytes Total/sec`: 1500, `\Network Interface(eth0)\Bytes Sent/sec`: 1000, `\Network Interface(lo)\Bytes Sent/sec`: 0,
		`\Network Interface(eth0)\Packets/sec`: 150, `\Network Interface(eth0)\Packets Received Errors`: 3,
		`\Network Interface(eth0)\Packets Outbound Discarded`: 6, `\Network Interface(_Total)\Bytes Received/sec`: 1000,
	} {
		f.cpus(100, 100)
		f.vm(10)
		f.disk(100)
		f.net(1000)
		f.expect(name, 0, func() { f.cpus(200, 400); f.vm(20); f.disk(200); f.net(2000) }, want)
	}
	f.write("sys/class/net/eth0/device/vendor", "x\n")
	f.net(2000)
	f.expect(`\Network Interface(_Total)\Bytes Received/sec`, 0, func() { f.net(4000) }, 1000)
	for name, want := range map[string]string{
		`\Processor(7)\% User Time`: "off line", `\Processor(x)\% User Time`: "numbers",
		`\PhysicalDisk(sdz)\Disk Reads/sec`: "sda, sda1, dm-0, sdb", `\Network Interface(eth9)\Bytes Sent/sec`: "lo, eth0, br0",
	} {
		if _, err := f.value(name, 0, nil); !errors.Is(err, ErrInstance) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want ErrInstance with %q", name, err, want)
		}
	}
}

func TestInstances(t *testing.T) {
	f := newFixture(t)
	f.process(100, "nginx", 1)
	f.process(101, "nginx", 1)
	f.process(102, "redis-server", 1)
	f.process(103, "worker", 1)
	f.process(104, "worker", 1)
	f.process(105, "odd_7", 1)
	for _, c := range []struct {
		instance string
		target   int
		want     float64
		err      string
	}{
		{"", 100, 100, ""}, {"*", 101, 101, ""}, {"nginx", 100, 100, ""}, {"nginx", 101, 101, ""}, {"NGINX.exe", 101, 101, ""},
		{"nginx#1", 100, 100, ""}, {"nginx_101", 101, 101, ""}, {"nginx_101", 100, 101, ""}, {"nginx:100", 101, 100, ""}, {"102", 100, 102, ""},
		{"redis-server", 100, 102, ""}, {"worker#0", 100, 103, ""}, {"worker#1", 100, 104, ""}, {"odd_7", 100, 105, ""}, {"odd_7", 105, 105, ""},
		{"nginx", 0, 0, "PID 100, 101"}, {"worker", 100, 0, "(worker_103)"}, {"worker#2", 100, 0, "2 processes"},
		{"nothing", 100, 0, "no process has this name"}, {"nginx_102", 100, 0, "process 102 is redis-server"}, {"nginx_999", 100, 0, "no process has this name"},
		{"", 0, 0, "no target"},
	} {
		got, err := f.value(`\Process(`+c.instance+`)\ID Process`, c.target, nil)
		switch {
		case c.err == "" && (err != nil || got != c.want):
			t.Errorf("(%s) for %d: %v, %v, want %v", c.instance, c.target, got, err, c.want)
		case c.err != "" && (!errors.Is(err, ErrInstance) || !strings.Contains(err.Error(), c.err)):
			t.Errorf("(%s) for %d: %v, %v, want %q", c.instance, c.target, got, err, c.err)
		}
	}
}

func TestMissing(t *testing.T) {
	f := newFixture(t)
	f.process(100, "nginx", 1)
	for name, want := range map[string]string{
		"psi:memory.some.avg10":        "psi=1",
		"psi:cgroup.memory.some.avg10": "control groups",
		"cgroup:memory.current":        "control groups",
	} {
		if _, err := f.value(name, 100, nil); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	if _, err := f.value(`\Process\Thread Count`, 99, nil); !errors.Is(err, ErrGone) {
		t.Errorf("no process: %v, want ErrGone", err)
	}
	if _, err := f.value(`\Process\Handle Count`, 99, nil); !errors.Is(err, ErrGone) {
		t.Errorf("no process: %v, want ErrGone", err)
	}
	// A kernel without RssAnon (before 4.5), and a process that has ended.
	f.write("proc/100/status", "VmSize:\t 10 kB\nVmSwap:\t 1 kB\n")
	if _, err := f.value(`\Process\Private Bytes`, 100, nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("without RssAnon: %v", err)
	}
	f.write("proc/100/status", "State:\tZ (zombie)\n")
	f.expect(`\Process\Private Bytes`, 100, nil, 0)
}

func TestCgroupAndPressure(t *testing.T) {
	f := newFixture(t)
	f.process(100, "nginx", 1)
	f.write("proc/pressure/memory", "some avg10=1.50 avg60=0.00 avg300=0.00 total=500\n")
	usage := 100.0
	f.Cgroup = func(pid int, file string) (float64, error) {
		switch {
		case pid != 100:
		case file == "memory.stat:anon", file == "cpu.stat:usage_usec":
			return usage, nil
		case file == "io.pressure:full.avg10":
			return 0.25, nil
		}
		return 0, fmt.Errorf("asked for %s of %d: %w", file, pid, os.ErrNotExist)
	}
	f.expect("psi:memory.some.avg10", 0, nil, 1.5)
	f.expect("psi:memory.some.total", 0, nil, 500)
	f.expect("psi:cgroup.io.full.avg10", 100, nil, 0.25)
	f.expect("cgroup:memory.stat:anon", 100, nil, 100)
	f.expect("cgroup:cpu.stat:usage_usec/sec", 100, func() { usage = 300 }, 100)
	if _, err := f.value("psi:memory.full.avg10", 0, nil); err == nil || !strings.Contains(err.Error(), `no "full" line`) {
		t.Errorf("no full line: %v", err)
	}
	if _, err := f.value("psi:cgroup.cpu.some.avg60", 100, nil); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "psi=1") {
		t.Errorf("no pressure of the group: %v", err)
	}
	for _, name := range []string{"psi:cgroup.cpu.some.avg60", "cgroup:memory.current"} {
		if _, err := f.value(name, 99, nil); !errors.Is(err, ErrGone) {
			t.Errorf("%s of no process: %v, want ErrGone", name, err)
		}
	}
	if _, err := f.value("cgroup:memory.peak", 100, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

// TestReadAllocates: a sample of a process is one read into a kept buffer.
func TestReadAllocates(t *testing.T) {
	f := newFixture(t)
	f.process(100, "nginx", 1)
	for _, name := range []string{`\Process\Thread Count`, `\Process\Private Bytes`, `\Process\% Processor Time`, `\Process\IO Data Bytes/sec`,
		`\Processor(_Total)\% Processor Time`, `\Memory\Available MBytes`, `\System\Processor Queue Length`, `\PhysicalDisk(_Total)\Disk Bytes/sec`} {
		c, err := Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.Open(f.Env, 100)
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() { r.Read(time.Now()) }); n > 0 {
			t.Errorf("%s: %v allocations a reading", name, n)
		}
		r.Close()
	}
}

// TestLongFile reads a file that is longer than the first buffer.
func TestLongFile(t *testing.T) {
	f := newFixture(t)
	f.write("proc/vmstat", strings.Repeat("nr_something_else 12345\n", 10000)+"pgmajfault 5\npswpin 7\n")
	f.expect(`\Memory\Pages Input/sec`, 0, func() {}, 0)
	if runtime.GOOS != "linux" {
		return
	}
	f.write("proc/vmstat", strings.Repeat("nr_something_else 12345\n", 1<<20)+"pswpin 7\n")
	if _, err := f.value(`\Memory\Pages Input/sec`, 0, nil); err == nil || !strings.Contains(err.Error(), "16 MiB") {
		t.Errorf("file of 24 MiB: %v", err)
	}
}
