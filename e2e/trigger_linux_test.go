package e2e

import (
	"fmt"
	"maps"
	"runtime"
	"strings"
	"testing"
	"time"

	"procdump/victims"
)

// triggerTest is one trigger: how it is asked for, what must not fire it, what
// must, and what the dump shows then.
type triggerTest struct {
	name   string
	args   []string
	before []string // orders that must not make a dump
	fire   string   // the order that must; "": nothing has to happen
	reason string   // that the trigger's reason has in it
	state  string   // that the dump's memory shows
	dumps  int      // how many; 0: one
	ends   bool     // the victim ends by it
	shown  string   // an "observed" event that must come before, without a dump
}

// TestTriggers runs each trigger against a victim that gets into that trouble,
// and looks into the dump whether it was taken at the moment that it names.
func TestTriggers(t *testing.T) {
	for _, c := range []triggerTest{
		{name: "cpu", args: []string{"-c", "30", "-u", "-s", "1"}, before: []string{"burn 300"}, fire: "burn 4000", reason: "CPU: ", state: "burn 4000"},
		{name: "cpu of all cores", args: []string{"-c", "30", "-s", "1"}, fire: "burn 5000 64", reason: "cores", state: "burn 5000 64"},
		{name: "cpu low", args: []string{"-cl", "10", "-u", "-s", "1"}, reason: "CPU: ", state: "idle"},
		{name: "commit", args: []string{"-m", "150", "-s", "0"}, before: []string{"alloc 20"}, fire: "alloc 200", reason: "Commit: ", state: "idle"},
		{name: "commit list", args: []string{"-m", "50,100,150", "-s", "0"}, before: []string{"alloc 20"}, fire: "alloc 200", reason: "Commit: ", state: "idle", dumps: 3},
		{name: "commit low", args: []string{"-ml", "1000", "-s", "0"}, reason: "Commit: ", state: "idle"},
		{name: "commit percent", args: []string{"-ml", "90%", "-s", "0"}, reason: "90% of ", state: "idle"},
		{name: "threads", args: []string{"-tc", "20", "-s", "0"}, before: []string{"threads 5"}, fire: "threads 30", reason: "Threads: ", state: "idle"},
		{name: "files", args: []string{"-fc", "100", "-s", "0"}, before: []string{"files 20"}, fire: "files 200", reason: "Files: ", state: "idle"},
		{name: "counter", args: []string{"-p", `\Process(trouble)\Thread Count`, "20", "-s", "0"}, before: []string{"threads 5"}, fire: "threads 30", reason: "Thread Count", state: "idle"},
		{name: "counter low", args: []string{"-pl", `\Memory\Available MBytes`, "100000000", "-s", "0"}, reason: "Available", state: "idle"},
		{name: "cpu counter", args: []string{"-p", `\Process(trouble)\% Processor Time`, "30", "-s", "0"}, before: []string{"burn 20"}, fire: "burn 4000", reason: `% Processor Time: `, state: "burn 4000"},
		{name: "cpu queue", args: []string{"-p", `\System\Processor Queue Length`, "40", "-s", "0"}, before: []string{"threads 100"}, fire: fmt.Sprintf("burn 3000 %d", runtime.NumCPU()+70), reason: "Processor Queue Length: ", state: ""},
		{name: "machine counter", args: []string{"-pl", `\Processor(_Total)\% Processor Time`, "101", "-s", "0"}, reason: " < 101", state: "idle"},
		{name: "handles", args: []string{"-p", `\Process(trouble)\Handle Count`, "100", "-s", "0"}, before: []string{"files 20"}, fire: "files 200", reason: "Handle Count: 20", state: "idle"},
		{name: "private bytes", args: []string{"-p", `\Process(trouble)\Private Bytes`, "150000000", "-s", "0"}, before: []string{"alloc 20"}, fire: "alloc 200", reason: "Private Bytes: ", state: "idle"},
		{name: "working set", args: []string{"-p", `\process(TROUBLE)\working set`, "150000000", "-s", "0"}, before: []string{"alloc 20"}, fire: "alloc 200", reason: "working set: ", state: "idle"},
		{name: "page faults", args: []string{"-p", `\Process(trouble)\Page Faults/sec`, "20000", "-s", "0"}, before: []string{"alloc 5"}, fire: "alloc 400", reason: "Page Faults/sec: ", state: "idle"},
		{name: "reading", args: []string{"-p", `\Process(trouble)\IO Read Bytes/sec`, "200000000", "-s", "0"}, before: []string{"read 20"}, fire: "read 2000", reason: "IO Read Bytes/sec: ", state: "idle"},
		{name: "status line", args: []string{"-p", "proc:status:Threads", "20", "-s", "0"}, before: []string{"threads 5"}, fire: "threads 30", reason: "proc:status:Threads: ", state: "idle"},
		{name: "two counters", args: []string{"-p", "proc:status:Threads", "20", "-p", `\Process(trouble)\Handle Count`, "100", "-s", "0", "-n", "2"}, before: []string{"threads 5", "files 20"}, fire: "files 200", reason: "Handle Count: 20", state: "idle", dumps: 2},
		{name: "cpu held", args: []string{"-c", "30", "-u", "-s", "3"}, before: []string{"burn 2000", "sleep 1500", "burn 2000"}, fire: "burn 3600", reason: "for 3s", state: "burn 3600"},

		{name: "null", args: []string{"-e"}, fire: "crash null", reason: "Unhandled: SIGSEGV.SEGV_MAPERR at 0x10", state: "crash null", ends: true},
		{name: "first chance", args: []string{"-e", "1"}, before: []string{"handle 10", "raise 10", "handle 8"}, fire: "raise 8", reason: "Exception: SIGFPE", state: "raise 8"},
		{name: "handled", args: []string{"-e"}, before: []string{"handle 11", "raise 11", "ignore 1", "raise 1"}, fire: "raise 6", reason: "Unhandled: SIGABRT", state: "raise 6", ends: true},
		{name: "filter", args: []string{"-e", "1", "-f", "sigfpe,*BUS*", "-fx", "ABRT"}, before: []string{"handle 11", "raise 11", "handle 7"}, fire: "raise 7", reason: "SIGBUS", state: "raise 7", shown: "SIGSEGV"},
		{name: "breakpoint", args: []string{"-e", "-b"}, before: []string{"handle 5", "handle 8", "raise 8"}, fire: "raise 5", reason: "SIGTRAP", state: "raise 5"},
		{name: "signal", args: []string{"-sig", "SIGUSR1,44"}, before: []string{"handle 12", "raise 12", "handle 44"}, fire: "raise 44", reason: "Signal: SIGRTMIN+10", state: "raise 44"},
		{name: "exit", args: []string{"-t"}, before: []string{"burn 100"}, fire: "exit 7", reason: "exit code 7", state: "exit 7", ends: true},
		{name: "terminated", args: []string{"-t"}, fire: "raise 15", reason: "SIGTERM", state: "raise 15", ends: true},
		{name: "thread created", args: []string{"-e", "-ct"}, fire: "threads 1", reason: "Thread created", state: ""},
		{name: "thread exited", args: []string{"-e", "-et"}, before: []string{"threads 2"}, fire: "join", reason: "Thread exited", state: ""},
		{name: "output", args: []string{"-l", "-f", "disaster"}, before: []string{"warn all is well", "files 10"}, fire: "warn a DISASTER happened", reason: "DISASTER", state: "", shown: "all is well"},
		{name: "image", args: []string{"-e", "-ld", "-f", "libutil"}, before: []string{"dlopen libanl.so.1"}, fire: "dlopen libutil.so.1", reason: "libutil", state: "", shown: "libanl"},
		{name: "image unmapped", args: []string{"-e", "-ud", "-f", "libutil"}, before: []string{"dlopen libutil.so.1"}, fire: "dlclose", reason: "Image unmapped: ", state: ""},
		{name: "hang", args: []string{"-h"}, before: []string{"vforkthread 1500"}, fire: "vforkthread 12000", reason: "Hung: thread", state: ""},
		{name: "hang of all", args: []string{"-h"}, fire: "vfork 15000", reason: "Hung: thread", state: "vfork 15000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !strings.HasPrefix(c.name, "cpu") { // those need a core
				t.Parallel()
			}
			c.run(t)
		})
	}
}

// TestDueTogether crosses several thresholds for good: each makes its dump.
func TestDueTogether(t *testing.T) {
	t.Parallel()
	v := victims.Start(t, "trouble")
	w := watch(t, "-ml", "1000", "-tc", "1", "-pl", "proc:status:Threads", "1000", "-s", "0", "-n", "6", pidArg(v), "FOLDER")
	reasons := map[string]int{}
	for i := range 6 {
		what, _, _ := strings.Cut(w.await("trigger", i+1).Reason, ": ")
		reasons[what]++
	}
	if want := map[string]int{"Commit": 2, "Threads": 2, "proc:status:Threads": 2}; !maps.Equal(reasons, want) {
		t.Errorf("dumps by reason %v, want %v", reasons, want)
	}
	if code := w.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	wantAlive(t, v)
}

func (c *triggerTest) run(t *testing.T) {
	v := victims.Start(t, "trouble")
	if c.dumps == 0 {
		c.dumps = 1
	}
	w := watch(t, append(append([]string{}, c.args...), pidArg(v), "FOLDER")...)
	w.await("watching", 1)
	for _, order := range c.before {
		if ms, ok := strings.CutPrefix(order, "sleep "); ok {
			d, _ := time.ParseDuration(ms + "ms")
			time.Sleep(d)
			continue
		}
		v.Ask(t, order)
	}
	if c.fire != "" {
		if len(c.before) > 0 && c.shown == "" {
			time.Sleep(600 * time.Millisecond) // two samples
		}
		if c.shown != "" {
			if e := w.await("observed", 1); !strings.Contains(e.Text, c.shown) {
				t.Errorf("observed %q, want %q in it", e.Text, c.shown)
			}
		}
		if n := len(w.events("initiated")); n > 0 {
			t.Errorf("%d dumps before there was a reason", n)
		}
		tell(t, v, c.fire)
	}
	for i := range c.dumps {
		if e := w.await("trigger", i+1); !strings.Contains(e.Reason, c.reason) {
			t.Errorf("reason %q, want %q in it", e.Reason, c.reason)
		}
		w.await("complete", i+1)
	}
	if code := w.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	files := dumpsIn(t, w)
	if len(files) != c.dumps {
		t.Fatalf("dumps %v, want %d", files, c.dumps)
	}
	if got := stateIn(t, v, files[0]); c.state != "" && got != c.state && !(c.state == "idle" && strings.HasPrefix(c.fire, got)) {
		t.Errorf("the dump shows state %q, want %q", got, c.state)
	}
	if c.ends {
		<-v.Exited()
		return
	}
	if c.fire != "" {
		v.Next(t) // it got through
	}
	wantAlive(t, v)
}
