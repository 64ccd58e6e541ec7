package counter

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"procdump/probe/cgroup"
)

// waitFor waits for a condition, with a limit that no busy machine reaches.
func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited 30 s for %s", what)
		}
	}
}

func open(t *testing.T, name string, pid int) Reader {
	t.Helper()
	c, err := Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Open(Env{}, pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func now(t *testing.T, name string, pid int) float64 {
	t.Helper()
	v, ok, err := open(t, name, pid).Read(time.Now())
	if err != nil || !ok {
		t.Fatalf("%s: %v %v", name, ok, err)
	}
	return v
}

func TestOwnProcess(t *testing.T) {
	pid := os.Getpid()
	before := now(t, `\Process\Handle Count`, pid)
	for range 7 {
		f, err := os.Open("/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	if after := now(t, `\Process\Handle Count`, pid); after < before+7 {
		t.Errorf("%v open files, and 7 more: %v", before, after)
	}
	if v := now(t, `\Process\ID Process`, pid); v != float64(pid) {
		t.Errorf("PID %v, want %d", v, pid)
	}
	if v := now(t, `\Process\Thread Count`, pid); v < 2 || v > 1000 {
		t.Errorf("%v threads", v)
	}
	if age := now(t, `\Process\Elapsed Time`, pid); age < 0 || age > 3600 {
		t.Errorf("%v s old", age)
	}
	private, all := now(t, `\Process\Private Bytes`, pid), now(t, `\Process\Virtual Bytes`, pid)
	if private < 1<<20 || private > all {
		t.Errorf("private %v of %v", private, all)
	}
}

// TestBusy: a process that does nothing else is measured at about what the
// kernel gave it, and at nothing once it sleeps.
func TestBusy(t *testing.T) {
	cmd := exec.Command("sh", "-c", "while :; do :; done")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	r := open(t, `\Process(sh)\% Processor Time`, cmd.Process.Pid)
	all := open(t, `\Processor(_Total)\% Processor Time`, 0)
	if _, ok, err := r.Read(time.Now()); ok || err != nil {
		t.Fatalf("first reading: %v %v", ok, err)
	}
	all.Read(time.Now())
	waitFor(t, "a share of a processor", func() bool {
		v, ok, err := r.Read(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if v > 100*float64(runtime.NumCPU()) {
			t.Logf("%v %% of one processor", v)
		}
		machine, _, err := all.Read(time.Now())
		if err != nil || machine < 0 || machine > 100 {
			t.Fatalf("machine at %v %%, %v", machine, err)
		}
		return ok && v > 5 && machine > 5
	})
}

func TestProcessEnds(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var readers []Reader
	for _, name := range []string{`\Process\Thread Count`, `\Process\Private Bytes`, `\Process\Handle Count`, `\Process\Elapsed Time`, `\Process\ID Process`, "proc:status:VmHWM", "proc:oom_score"} {
		readers = append(readers, open(t, name, cmd.Process.Pid))
	}
	for _, r := range readers {
		if _, ok, err := r.Read(time.Now()); !ok || err != nil {
			t.Errorf("alive: %v %v", ok, err)
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	for i, r := range readers {
		if v, _, err := r.Read(time.Now()); !errors.Is(err, ErrGone) {
			t.Errorf("counter %d after the end: %v, %v, want ErrGone", i, v, err)
		}
	}
}

// TestList: everything that is listed works by its name, too.
func TestList(t *testing.T) {
	works, missing := List(Env{}, os.Getpid(), 50*time.Millisecond)
	seen := map[string]bool{}
	for _, v := range works {
		name := v.Counter.String()
		if seen[name] || v.Err != nil || v.About == "" || v.Value < 0 {
			t.Errorf("%s: %+v", name, v)
		}
		seen[name] = true
		c, err := Parse(name)
		if err != nil {
			t.Error(err)
			continue
		}
		r, err := c.Open(Env{}, os.Getpid())
		if err != nil {
			t.Error(err)
			continue
		}
		r.Close()
	}
	for _, name := range []string{`\Process\Thread Count`, `\Processor(_Total)\% Processor Time`, `\Memory\Available MBytes`,
		`\System\Context Switches/sec`, "proc:status:VmHWM", `\Network Interface(_Total)\Bytes Total/sec`} {
		if !seen[name] {
			t.Errorf("%s is not listed", name)
		}
	}
	for _, v := range missing {
		if v.Err == nil {
			t.Errorf("%s is missing without a reason", v.Counter)
		}
		if strings.HasPrefix(v.Counter.String(), `\Process\`) {
			t.Errorf("%s: %v", v.Counter, v.Err)
		}
	}
	t.Logf("%d work, %d are missing", len(works), len(missing))
	machine, _ := List(Env{}, 0, time.Millisecond)
	for _, v := range machine {
		if v.Counter.PerProcess() {
			t.Errorf("%s is listed without a process", v.Counter)
		}
	}
}

// TestOwnCgroup reads this machine's control groups, whatever their version.
func TestOwnCgroup(t *testing.T) {
	env := Env{Cgroup: cgroup.Root("").Value}
	works, missing := List(env, os.Getpid(), 10*time.Millisecond)
	n := 0
	for _, v := range works {
		if strings.HasPrefix(v.Counter.String(), "cgroup:") || strings.HasPrefix(v.Counter.String(), "psi:cgroup.") {
			n++
			t.Logf("%s = %g %s", v.Counter, v.Value, v.Unit)
		}
	}
	if n == 0 {
		for _, v := range missing {
			t.Logf("%s: %v", v.Counter, v.Err)
		}
		if b, err := os.ReadFile("/proc/self/cgroup"); err == nil && strings.Contains(string(b), "memory") {
			t.Errorf("nothing works, and this process is in %s", b)
		}
	}
}

// TestForeignIO: who may not trace a process is told so when the counter is
// opened.
func TestForeignIO(t *testing.T) {
	if os.Geteuid() == 0 {
		// Root may read all; the refusal is made by hand.
		if err := rights("io", os.ErrPermission); !strings.Contains(err.Error(), "right to trace") {
			t.Error(err)
		}
		return
	}
	c, _ := Parse(`\Process\IO Read Bytes/sec`)
	if _, err := c.Open(Env{}, 1); err == nil || !strings.Contains(err.Error(), "right to trace") {
		t.Errorf("process 1: %v", err)
	}
}

func TestPrometheus(t *testing.T) {
	var value atomic.Int64
	var slow atomic.Bool
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if slow.Load() {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
		fmt.Fprintf(w, "jobs{state=\"queued\"} %d\njobs{state=\"done\"} 5\nnothing NaN\n", value.Load())
	}))
	defer s.Close()
	defer close(release)
	name := "prom:" + s.URL + `/metrics#jobs{state="queued"}`
	value.Store(3)
	r := open(t, name, 0)
	clock := time.Now()
	read := func(after time.Duration) float64 {
		t.Helper()
		clock = clock.Add(after)
		var v float64
		waitFor(t, "a page", func() bool {
			var ok bool
			var err error
			if v, ok, err = r.Read(clock); err != nil {
				t.Fatal(err)
			}
			p := r.(*meter).from.(*fetcher).page
			p.mu.Lock()
			defer p.mu.Unlock()
			return ok && !p.busy
		})
		v, _, _ = r.Read(clock) // the fetch may have ended just after the reading
		return v
	}
	if v := read(0); v != 3 {
		t.Errorf("queued %v, want 3", v)
	}
	value.Store(9)
	if v := read(promPeriod / 2); v != 3 {
		t.Errorf("queued %v half a period later, want 3 still", v)
	}
	if v := read(promPeriod); v != 9 {
		t.Errorf("queued %v, want 9", v)
	}
	// A page that does not come holds nothing up: the last value stays until
	// the fetch has timed out.
	slow.Store(true)
	clock = clock.Add(promPeriod)
	if v, ok, err := r.Read(clock); v != 9 || !ok || err != nil {
		t.Errorf("slow page: %v %v %v, want 9", v, ok, err)
	}
	waitFor(t, "the timeout", func() bool {
		_, _, err := r.Read(clock)
		return err != nil && !errors.Is(err, context.Canceled)
	})
	if _, _, err := r.Read(clock); err == nil || !strings.Contains(err.Error(), "its last value, 9, is") {
		t.Errorf("no answer: %v, want the last value and its age", err)
	}
	slow.Store(false)
	if _, ok, err := open(t, "prom:"+s.URL+"#nothing", 0).Read(time.Now()); ok || err != nil {
		t.Errorf("NaN: %v %v", ok, err)
	}
	for text, want := range map[string]string{
		"prom:" + s.URL + "#jobs":              "several series",
		"prom:" + s.URL + "#absent":            "no series",
		"prom:http://127.0.0.1:1/metrics#jobs": "refused",
	} {
		c, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Open(Env{}, 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
