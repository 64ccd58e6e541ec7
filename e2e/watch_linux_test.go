package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"procdump/victims"
)

// watcher is a procdump that watches something.
type watcher struct {
	t      testing.TB
	cmd    *exec.Cmd
	folder string // where its dumps go
	errs   bytes.Buffer
	exited chan struct{}

	mu     sync.Mutex
	seen   []event
	change chan struct{} // closed and made anew with each event
}

// watch starts procdump with -json and the arguments; FOLDER among them is a
// new folder. It ends with the test.
func watch(t testing.TB, args ...string) *watcher {
	t.Helper()
	return watchWith(t, binary(t), args...)
}

// watchWith is watch with another copy of procdump.
func watchWith(t testing.TB, program string, args ...string) *watcher {
	t.Helper()
	w := &watcher{t: t, folder: t.TempDir(), exited: make(chan struct{}), change: make(chan struct{})}
	for i, a := range args {
		if a == "FOLDER" {
			args[i] = w.folder
		}
	}
	w.cmd = exec.Command(program, append([]string{"-json"}, args...)...)
	w.cmd.Stderr = &w.errs
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(w.exited)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var e event
			if json.Unmarshal(lines.Bytes(), &e) == nil && e.Event != "" {
				w.mu.Lock()
				w.seen = append(w.seen, e)
				close(w.change)
				w.change = make(chan struct{})
				w.mu.Unlock()
			}
		}
		w.cmd.Wait()
	}()
	t.Cleanup(func() {
		w.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-w.exited:
		case <-time.After(victims.Timeout):
			w.cmd.Process.Kill()
			t.Errorf("procdump %s did not end", strings.Join(args, " "))
		}
		if t.Failed() {
			t.Logf("procdump %s:\n%s%s", strings.Join(args, " "), w.transcript(), &w.errs)
		}
	})
	return w
}

func (w *watcher) transcript() string {
	var b strings.Builder
	for _, e := range w.events("") {
		fmt.Fprintf(&b, "%s pid=%d %s%s%s %s\n", e.Event, e.PID, e.Reason, e.Text, e.Message, e.Path)
	}
	return b.String()
}

// events returns those so far that have the name; "" is all.
func (w *watcher) events(name string) []event {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []event
	for _, e := range w.seen {
		if name == "" || e.Event == name {
			out = append(out, e)
		}
	}
	return out
}

// await waits for the nth event of the name, from 1, and returns it.
func (w *watcher) await(name string, n int) event {
	w.t.Helper()
	timeout := time.After(victims.Timeout)
	for {
		w.mu.Lock()
		change := w.change
		w.mu.Unlock()
		if all := w.events(name); len(all) >= n {
			return all[n-1]
		}
		select {
		case <-change:
		case <-w.exited:
			if all := w.events(name); len(all) >= n {
				return all[n-1]
			}
			w.t.Fatalf("procdump ended without its event %q number %d\n%s%s", name, n, w.transcript(), &w.errs)
		case <-timeout:
			w.t.Fatalf("no event %q number %d\n%s%s", name, n, w.transcript(), &w.errs)
		}
	}
}

// end waits for procdump's end and returns its exit code.
func (w *watcher) end() int {
	w.t.Helper()
	select {
	case <-w.exited:
	case <-time.After(victims.Timeout):
		w.t.Fatalf("procdump does not end\n%s%s", w.transcript(), &w.errs)
	}
	return w.cmd.ProcessState.ExitCode()
}

// stop cancels procdump and returns its exit code.
func (w *watcher) stop() int {
	w.t.Helper()
	w.cmd.Process.Signal(syscall.SIGINT)
	return w.end()
}

// pidArg is a victim's PID as an argument.
func pidArg(v *victims.Victim) string { return strconv.Itoa(v.PID) }

// tell gives a victim an order without waiting for what it answers.
func tell(t testing.TB, v *victims.Victim, order string) {
	t.Helper()
	if err := v.Send(order); err != nil {
		t.Fatalf("tell victim %d %q: %v", v.PID, order, err)
	}
}

// stateIn returns what the victim "trouble" was doing when it was dumped, as
// gdb reads it from the dump.
func stateIn(t testing.TB, v *victims.Victim, core string) string {
	t.Helper()
	out := gdb(t, []string{v.Exe, core}, "x/s &state")
	m := regexp.MustCompile(`<state>:\s*"(.*)"`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("gdb finds no state in %s:\n%s", core, out)
	}
	return m[1]
}

// dumpsIn lists the dumps that a watcher wrote.
func dumpsIn(t testing.TB, w *watcher) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(w.folder, "*.core"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}
