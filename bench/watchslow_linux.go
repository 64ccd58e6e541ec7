package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// actFor is how long the actor acts in one turn, in milliseconds.
const actFor = 300

// watcher is somebody who may slow a process down.
type watcher struct {
	who     string
	missing func() error
	// attach begins to watch a process and returns when it is watched.
	attach func(b *bench, pid int, dir string) (*attached, error)
}

// attached is a watcher at work.
type attached struct {
	end  func()
	seen func(n int) int // nil: it does not look at what the process does
}

var (
	nobody = watcher{who: nameNobody, attach: func(*bench, int, string) (*attached, error) { return &attached{end: func() {}}, nil }}
	traced = watcher{who: nameTrace, attach: func(b *bench, pid int, dir string) (*attached, error) {
		f, err := b.follow(1, "-e", strconv.Itoa(pid), dir)
		if err != nil {
			return nil, err
		}
		if err := waitTraced(pid); err != nil {
			f.end()
			return nil, err
		}
		return &attached{end: f.end}, nil
	}}
	// Programs that are not waited for.
	waiting = watcher{who: nameNewcomers, attach: func(b *bench, _ int, dir string) (*attached, error) {
		f, err := b.follow(0, "-w", "-all", "-e", "none-has-this-name", dir)
		if err != nil {
			return nil, err
		}
		return &attached{end: f.end}, nil
	}}
	// With an empty filter everything is shown and nothing dumped.
	output = watcher{who: nameOutput, attach: func(b *bench, pid int, dir string) (*attached, error) {
		f, err := b.follow(1, "-l", "-f", "", strconv.Itoa(pid), dir)
		if err != nil {
			return nil, err
		}
		return &attached{end: f.end, seen: f.seen}, nil
	}}
	// Every line is compared, none fits.
	outputFiltered = watcher{who: nameOutput + " -f", attach: func(b *bench, pid int, dir string) (*attached, error) {
		f, err := b.follow(1, "-l", "-f", "*OutOfMemory*shop*", strconv.Itoa(pid), dir)
		if err != nil {
			return nil, err
		}
		return &attached{end: f.end, seen: f.seen}, nil
	}}
	debugged = watcher{who: nameGDB, attach: attachGDB, missing: func() error {
		_, err := exec.LookPath(nameGDB)
		return err
	}}
)

// attachGDB lets gdb pass signals on as fast as it can.
func attachGDB(_ *bench, pid int, _ string) (*attached, error) {
	cmd := exec.Command(nameGDB, "-q", "-nx", "-batch", "-p", strconv.Itoa(pid),
		"-ex", "handle SIGSEGV nostop noprint pass", "-ex", "continue")
	cmd.Env = append(os.Environ(), "DEBUGINFOD_URLS=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start gdb: %w", err)
	}
	// The process has stood still and runs again: nothing else is to come.
	end := func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	if err := waitTraced(pid); err != nil {
		end()
		return nil, err
	}
	return &attached{end: end}, nil
}

// waitTraced waits until a process has a tracer and has run, or slept, for a
// quarter of a second.
func waitTraced(pid int) error {
	for calm, deadline := 0, time.Now().Add(followLimit); calm < 10; time.Sleep(25 * time.Millisecond) {
		tracer, err := statusField(pid, "TracerPid:")
		if err != nil {
			return err
		}
		if calm++; tracer == 0 || stopped(pid) {
			calm = 0
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d is not traced, or stands still", pid)
		}
	}
	return nil
}

func stopped(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	var comm string
	var state byte
	if err == nil {
		_, err = fmt.Sscanf(string(b), "%d %s %c", new(int), &comm, &state)
	}
	return err != nil || state == 't' || state == 'T'
}

// slowDown has a process do one thing as fast as it can, with and without
// somebody who watches. Each turn has a process of its own, and nobody watches
// but the one whose turn it is: a tracepoint slows all processes down.
func slowDown(word, unit string, watchers ...watcher) func(b *bench) (*watch, error) {
	return func(b *bench) (*watch, error) {
		w := new(watch)
		for i, x := range watchers {
			rows := []*watchRow{{who: x.who, figure: unit}, {who: x.who, figure: figureCPU}}
			if i > 0 {
				rows[0].base, rows[1].base = w.turns[0].rows[0], w.turns[0].rows[1]
			}
			w.turns = append(w.turns, turn{rows: rows, missing: x.missing, run: func() ([]reading, error) { return b.act(word, unit, x) }})
		}
		return w, nil
	}
}

// act is one turn of slowDown. What a thing takes on the clock has in it that
// the watcher wants a CPU, too; CPU time has not.
func (b *bench) act(word, unit string, x watcher) ([]reading, error) {
	dir, err := os.MkdirTemp(b.places[placeTmpfs], "run")
	if err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	defer os.RemoveAll(dir)
	v, _, err := startAsked(b.actor)
	if err != nil {
		return nil, err
	}
	defer v.stop()
	if word == "lines" || word == "requests" {
		file := os.DevNull
		if unit != "line to /dev/null" {
			file = filepath.Join(dir, "lines")
		}
		if a, err := v.ask("errors", file); err != nil || a["ok"] != 1 {
			return nil, fmt.Errorf("redirect the actor's errors: %v", err)
		}
	}
	a, err := x.attach(b, v.pid, dir)
	if err != nil {
		return nil, err
	}
	defer a.end()
	return v.measure(a, word, actFor)
}

// measure asks a process to do one thing for a while: a reading of what each
// took on the clock, and one of its CPU time.
func (v *victim) measure(a *attached, word string, ms int64) ([]reading, error) {
	done, err := v.ask(word, strconv.FormatInt(ms, 10))
	if err != nil {
		return nil, err
	}
	if done["n"] <= 0 || done["us"] < ms*1000 {
		return nil, fmt.Errorf("the actor did %d things in %d µs", done["n"], done["us"])
	}
	took := cost(float64(done["us"]) / float64(done["n"]))
	if a.seen != nil {
		took.of = int(done["n"])
		took.caught = a.seen(took.of)
	}
	return []reading{took, cost(float64(done["cpu"]) / float64(done["n"]))}, nil
}
