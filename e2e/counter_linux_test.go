package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"procdump/victims"
	"procdump/victims/need"
)

// counterList is what -counters prints with -json.
type counterList struct {
	PID      int `json:"pid"`
	Counters []struct {
		Name, Unit, Error string
		Value             *float64
	} `json:"counters"`
}

// listCounters runs -counters and returns the values by name; those that cannot
// be read here must have an error.
func listCounters(t *testing.T, args ...string) map[string]float64 {
	t.Helper()
	r := procdump(t, append([]string{"-json", "-counters"}, args...)...)
	values := map[string]float64{}
	for line := range strings.Lines(r.stdout) {
		var list counterList
		if err := json.Unmarshal([]byte(line), &list); err != nil {
			t.Fatalf("%v\n%v", err, r)
		}
		for _, c := range list.Counters {
			switch {
			case c.Value != nil && c.Error == "":
				values[c.Name] = *c.Value
			case c.Value != nil || c.Error == "":
				t.Errorf("counter %s: value %v, error %q", c.Name, c.Value, c.Error)
			}
		}
	}
	if r.code != 0 || len(values) < 20 {
		t.Fatalf("%d counters; %v", len(values), r)
	}
	return values
}

// TestCounters compares what -counters prints with /proc.
func TestCounters(t *testing.T) {
	t.Parallel()
	v := victims.Start(t, "trouble")
	v.Ask(t, "alloc 8")
	v.Ask(t, "threads 7")
	v.Ask(t, "files 40")
	values := listCounters(t, pidArg(v))
	kB := func(field string) float64 {
		n, _, _ := strings.Cut(statusField(t, v.PID, field), " ")
		kB, err := strconv.ParseFloat(n, 64)
		if err != nil {
			t.Fatal(err)
		}
		return kB * 1024
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", v.PID))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{
		"Thread Count": 8, "Handle Count": float64(len(files)), "ID Process": float64(v.PID), "Creating Process ID": float64(os.Getpid()),
		"Private Bytes": kB("RssAnon") + kB("VmSwap"), "Working Set": kB("VmRSS"), "Virtual Bytes": kB("VmSize"), "Working Set Peak": kB("VmHWM"),
	} {
		// The kernel counts memory per processor and adds that up later.
		if got := values[`\Process\`+name]; got < want*0.92 || got > want*1.08 {
			t.Errorf("%s: %v, /proc says %v", name, got, want)
		}
	}
	if got := values[`\Process\Private Bytes`]; got < 8<<20 {
		t.Errorf("private bytes %v of a process with 8 MiB", got)
	}
	if got := values[`proc:oom_score`]; got < 0 || got > 2000 {
		t.Errorf("oom_score %v", got)
	}
	wantAlive(t, v)
}

// TestCountersOfMachine lists what needs no process, for people and programs.
func TestCountersOfMachine(t *testing.T) {
	t.Parallel()
	values := listCounters(t)
	for name, limits := range map[string][2]float64{
		`\Processor(_Total)\% Processor Time`: {0, 100}, `\Processor(_Total)\% Idle Time`: {0, 100}, `\Memory\Available MBytes`: {1, 1 << 30},
		`\System\Processes`: {2, 1 << 22}, `\System\Threads`: {2, 1 << 22}, `\System\System Up Time`: {1, 1e10},
	} {
		if v, ok := values[name]; !ok || v < limits[0] || v > limits[1] {
			t.Errorf("%s: %v, %v", name, v, ok)
		}
	}
	for name := range values {
		if strings.HasPrefix(name, `\Process\`) || strings.HasPrefix(name, "proc:") {
			t.Errorf("%s without a process", name)
		}
	}
	text := procdump(t, "-counters")
	for _, want := range []string{`\Memory\Available MBytes  `, " MB  ", "memory that can be had without swapping"} {
		if !strings.Contains(text.stdout, want) {
			t.Errorf("no %q in\n%s", want, cut(text.stdout))
		}
	}
	if r := procdump(t, "-counters", "no-such-process-here"); r.code != 3 {
		t.Errorf("a process that is not there: %v", r)
	}
}

// fire watches a victim for a counter, gives it orders after which nothing is
// due and one after which a dump is, and returns the dump's trigger.
func fire(t *testing.T, v *victims.Victim, args []string, before, order func()) event {
	t.Helper()
	w := watch(t, append(args, "-s", "0", pidArg(v), "FOLDER")...)
	w.await("watching", 1)
	before()
	time.Sleep(1200 * time.Millisecond) // some looks, and a new page of prom:
	if early := w.events("trigger"); len(early) > 0 {
		t.Errorf("%v: dumped too early, for %q", args, early[0].Reason)
	}
	order()
	e := w.await("trigger", 1)
	w.await("complete", 1)
	if code := w.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if files := dumpsIn(t, w); len(files) != 1 || readAnyCore(t, files[0]).Info.Reason != e.Reason {
		t.Errorf("dumps %v, want one with the reason %q", files, e.Reason)
	}
	wantAlive(t, v)
	return e
}

// reasonValue is the value in "NAME: VALUE >= LIMIT".
func reasonValue(t *testing.T, reason, name string) float64 {
	t.Helper()
	rest, ok := strings.CutPrefix(reason, name+": ")
	text, _, found := strings.Cut(rest, " ")
	v, err := strconv.ParseFloat(text, 64)
	if !ok || !found || err != nil {
		t.Errorf("reason %q, want %s: VALUE …", reason, name)
	}
	return v
}

// TestCounterPrometheus watches a series of a page that changes.
func TestCounterPrometheus(t *testing.T) {
	t.Parallel()
	var depth atomic.Int64
	depth.Store(5)
	mux := http.NewServeMux()
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "# TYPE depth gauge\ndepth{queue=\"out\"} 1000\ndepth{queue=\"in\",host=\"a\\\"b\"} %d\ndepth_total 1e9\n", depth.Load())
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	v := victims.Start(t, "trouble")
	page := "prom:http://" + l.Addr().String() + "/metrics#"
	name := page + `depth{queue="in"}`
	e := fire(t, v, []string{"-p", name, "10"}, func() { depth.Store(9) }, func() { depth.Store(12) })
	if got := reasonValue(t, e.Reason, name); got != 12 {
		t.Errorf("value %v, want 12", got)
	}
	e = fire(t, v, []string{"-pl", name, "10"}, func() { depth.Store(10) }, func() { depth.Store(7) })
	if got := reasonValue(t, e.Reason, name); got != 7 {
		t.Errorf("value %v, want 7", got)
	}
	// What cannot be read is told at the start.
	for _, c := range []struct{ name, want string }{
		{page + "no_such_metric", "no_such_metric"},
		{"prom:http://" + l.Addr().String() + "/elsewhere#depth", "404"},
		{page + `depth{queue=}`, "queue"},
	} {
		if r := procdump(t, "-p", c.name, "1", pidArg(v), t.TempDir()); r.code == 0 || !strings.Contains(r.stderr, c.want) {
			t.Errorf("%s: %v", c.name, r)
		}
	}
	server.Close()
	if r := procdump(t, "-p", name, "1", pidArg(v), t.TempDir()); r.code != 1 || !strings.Contains(r.stderr, "connection refused") {
		t.Errorf("no server: %v", r)
	}
}

// TestCounterCgroup watches the memory of a control group of its own.
func TestCounterCgroup(t *testing.T) {
	t.Parallel()
	need.Root(t)
	v := victims.Start(t, "trouble")
	file := ownCgroup(t, v)
	name := "cgroup:" + file
	e := fire(t, v, []string{"-p", name, "150000000"}, func() { v.Ask(t, "alloc 30") }, func() { v.Ask(t, "alloc 200") })
	if got := reasonValue(t, e.Reason, name); got < 150e6 || got > 400e6 {
		t.Errorf("value %v", got)
	}
	if r := procdump(t, "-p", "cgroup:no.such.file", "1", pidArg(v), t.TempDir()); r.code != 1 || !strings.Contains(r.stderr, "no.such.file") {
		t.Errorf("a file that is not there: %v", r)
	}
	if got := listCounters(t, pidArg(v))[name]; got < 200<<20 {
		t.Errorf("-counters says %v for %s", got, name)
	}
}

// ownCgroup puts a victim into a control group of its own and returns the file
// that tells how much memory that uses.
func ownCgroup(t *testing.T, v *victims.Victim) (file string) {
	t.Helper()
	for _, c := range []struct{ root, file string }{
		{"/sys/fs/cgroup/memory", "memory.usage_in_bytes"}, {"/sys/fs/cgroup", "memory.current"},
	} {
		dir := filepath.Join(c.root, fmt.Sprintf("procdump-e2e-%d", v.PID))
		if _, err := os.Stat(filepath.Join(c.root, "cgroup.procs")); err != nil || os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() {
			v.Kill()
			os.Remove(dir)
		})
		err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(pidArg(v)), 0)
		if _, statErr := os.Stat(filepath.Join(dir, c.file)); err == nil && statErr == nil {
			return c.file
		}
	}
	need.Missing(t, "kernel", "no control group for memory can be made here")
	return ""
}

// stalled is how long, in all, some task has waited for a processor, in µs.
func stalled(t *testing.T) (us float64, ok bool) {
	t.Helper()
	b, err := os.ReadFile("/proc/pressure/cpu")
	if err != nil {
		return 0, false
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	_, total, _ := bytes.Cut(line, []byte("total="))
	us, err = strconv.ParseFloat(string(total), 64)
	if err != nil {
		t.Fatalf("%q: %v", b, err)
	}
	return us, true
}

// TestCounterPressure watches the machine's pressure, where the kernel counts it.
func TestCounterPressure(t *testing.T) {
	t.Parallel()
	v := victims.Start(t, "trouble")
	begin, ok := stalled(t)
	if !ok {
		wantNoPressure(t, procdump(t, "-p", "psi:cpu.some.total", "1", pidArg(v), t.TempDir()))
		return
	}
	need.Root(t)
	// A kernel without CONFIG_PSI has no such files.
	hidden := exec.Command(need.Tool(t, "unshare"), "-m", "sh", "-c", `mount -t tmpfs none /proc/pressure && exec "$@"`, "sh",
		binary(t), "-p", "psi:cpu.some.total", "1", pidArg(v), t.TempDir())
	wantNoPressure(t, finish(t, hidden))
	// It grows by a second in each second at most, and does so only while there
	// are more threads that want to run than processors.
	limit := begin + 5e6
	const name = "psi:cpu.some.total"
	burn := fmt.Sprintf("burn 7000 %d", 2*runtime.NumCPU())
	e := fire(t, v, []string{"-p", name, strconv.FormatFloat(limit, 'f', -1, 64)}, func() {}, func() { v.Ask(t, burn) })
	if got := reasonValue(t, e.Reason, name); got < limit {
		t.Errorf("value %v below the limit of %v", got, limit)
	}
	if now, _ := stalled(t); now < limit {
		t.Errorf("the kernel says %v, below the limit of %v", now, limit)
	}
}

// wantNoPressure wants the cause and the remedy at the start.
func wantNoPressure(t *testing.T, r result) {
	t.Helper()
	if r.code != 1 || !strings.Contains(r.stderr, "watch counter psi:cpu.some.total: ") || !strings.Contains(r.stderr, "boot with psi=1") {
		t.Errorf("a kernel that counts no pressure: %v", r)
	}
}
