package e2e

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"procdump/internal/signals"
	"procdump/victims"
	"procdump/victims/need"
)

// TestTracedCrashes crashes in every way under -e: the dump has the crashed
// thread first, with its signal and address, gdb finds its stack, and the
// process dies of what would have killed it.
func TestTracedCrashes(t *testing.T) {
	need.Root(t)
	need.Tool(t, "gdb")
	for _, c := range crashes() {
		t.Run(c.name, func(t *testing.T) {
			argv := c.command(t)
			exe, err := filepath.EvalSymlinks(argv[0])
			if err != nil {
				t.Fatal(err)
			}
			for _, env := range c.env {
				name, value, _ := strings.Cut(env, "=")
				t.Setenv(name, value)
			}
			// The second dump never comes: procdump sees the process's end.
			w := watch(t, append([]string{"-n", "2", "-e", "-mm", "-x", "FOLDER"}, argv...)...)
			e := w.await("trigger", 1)
			if want := strings.Replace(c.reason, "Unhandled exception", "Unhandled", 1); !strings.HasPrefix(e.Reason, want) {
				t.Errorf("reason %q, want %q", e.Reason, want)
			}
			dump := w.await("complete", 1).Path
			if status := w.await("exited", 1).Status; status != "killed by "+signals.Name(int(c.signal)) {
				t.Errorf("it ended: %s", status)
			}
			if code := w.end(); code != 5 {
				t.Errorf("exit code %d", code)
			}
			p := readCore(t, dump)
			if p.Exception.Signal != int(c.signal) || p.Exception.TID != p.Threads[0].TID {
				t.Errorf("exception %+v, first thread %d", p.Exception, p.Threads[0].TID)
			}
			if c.threads > 0 && len(p.Threads) != c.threads {
				t.Errorf("%d threads, want %d", len(p.Threads), c.threads)
			}
			if c.thread != "" && p.Threads[0].Name != c.thread {
				t.Errorf("thread %q crashed, want %q", p.Threads[0].Name, c.thread)
			}
			if crashed := chain(gdbCore(t, exe, dump)[p.Threads[0].TID]); !strings.Contains(crashed, c.chain) {
				t.Errorf("crashed thread's stack is %q, want %q in it", crashed, c.chain)
			}
		})
	}
}

// TestFlightRecorder: a dump holds the values that led to it.
func TestFlightRecorder(t *testing.T) {
	v := victims.Start(t, "trouble")
	w := watch(t, "-tc", "20", "-ml", "0", "-s", "0", pidArg(v), "FOLDER")
	w.await("watching", 1)
	time.Sleep(time.Second)
	v.Ask(t, "threads 30")
	p := readAnyCore(t, w.await("complete", 1).Path)
	if len(p.Info.Samples) != 2 {
		t.Fatalf("%d recorded values, want 2: %+v", len(p.Info.Samples), p.Info.Samples)
	}
	for _, s := range p.Info.Samples {
		if s.Name != "Threads" {
			continue
		}
		if n := len(s.Points); n < 3 || s.Limit != 20 || s.Points[0].Value != 1 || s.Points[n-1].Value != 31 {
			t.Errorf("recorded %+v", s)
		}
		for i := range s.Points[1:] {
			if !s.Points[i+1].Time.After(s.Points[i].Time) {
				t.Errorf("points %d and %d are not in the order of time", i, i+1)
			}
		}
	}
}

// TestFaultStorm: a process that handles its faults itself, as a JVM does, is
// dumped when one of them kills it, and not before.
func TestFaultStorm(t *testing.T) {
	v := victims.Start(t, "trouble")
	w := watch(t, "-e", pidArg(v), "FOLDER")
	w.await("watching", 1)
	if answer := v.Ask(t, "storm 20000"); answer["handled"] != "20000" {
		t.Errorf("the victim says %v", answer)
	}
	if all := w.events("observed"); len(all) > 0 {
		t.Errorf("%d events of faults that are handled", len(all))
	}
	tell(t, v, "crash null")
	<-v.Exited()
	if code := w.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if files := dumpsIn(t, w); len(files) != 1 || stateIn(t, v, files[0]) != "crash null" {
		t.Errorf("dumps %v", files)
	}
}

// TestTwoDumps has two procdumps with the same trigger on one process: one
// waits until the other has its dump. It does not wait for one that traces the
// process for good.
func TestTwoDumps(t *testing.T) {
	need.Root(t)
	rounds := 3
	if need.Long() {
		rounds = 10
	}
	for range rounds {
		v := victims.Start(t, "trouble")
		v.Ask(t, "alloc 100")
		args := []string{"-tc", "20", "-s", "0", "-ma", pidArg(v), "FOLDER"}
		all := []*watcher{watch(t, append([]string(nil), args...)...), watch(t, append([]string(nil), args...)...)}
		for _, w := range all {
			w.await("watching", 1)
		}
		v.Ask(t, "threads 30")
		for _, w := range all {
			if code := w.end(); code != 0 || len(w.events("complete")) != 1 {
				t.Fatalf("exit code %d; %s%s", code, w.transcript(), &w.errs)
			}
		}
		v.Kill()
	}
	v := victims.Start(t, "trouble")
	first := watch(t, "-tc", "20", "-s", "0", pidArg(v), "FOLDER")
	first.await("watching", 1)
	watch(t, "-e", pidArg(v), "FOLDER").await("watching", 1)
	v.Ask(t, "threads 30")
	if e := first.await("error", 1); !strings.Contains(e.Message, "already traced by procdump") {
		t.Errorf("error %q", e.Message)
	}
}

// TestTwoDumpsOfWaiting has two procdumps dump a process whose only thread waits
// in the kernel: one is slow to stop it, and the other waits for that.
func TestTwoDumpsOfWaiting(t *testing.T) {
	need.Root(t)
	v := victims.Start(t, "trouble")
	if err := v.Send("vfork 6000"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(limit); v.State() != 'D'; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("state %c", v.State())
		}
	}
	all := []*watcher{watch(t, "-mm", pidArg(v), "FOLDER"), watch(t, "-mm", pidArg(v), "FOLDER")}
	for _, w := range all {
		if code := w.end(); code != 0 || len(w.events("complete")) != 1 {
			t.Errorf("exit code %d; %s%s", code, w.transcript(), &w.errs)
		}
	}
}
