package main

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// logFor is how long a logger logs in one turn, in milliseconds. A burst is read
// more completely than what goes on and on: it must not decide.
const logFor = 1500

var (
	//go:embed victim/logger.py
	loggerPython []byte
	//go:embed victim/Logs.java
	loggerJava []byte
)

// logger is a program that does nothing but log, in the way that programs of
// its kind do.
type logger struct {
	tools []string // without which it cannot be measured
	piped bool     // another process reads what it logs
	warm  int      // for how long it logs before, in milliseconds: code may be compiled meanwhile
	// build makes it in a folder, and returns how to start it.
	build func(b *bench, dir string) (argv []string, err error)
}

var (
	// Formats the time and the message, and flushes each line.
	logC      = logger{warm: 100, build: func(b *bench, _ string) ([]string, error) { return []string{b.actor}, nil }}
	logCPiped = logger{warm: 100, piped: true, build: logC.build}
	logPython = logger{warm: 100, tools: []string{"python3"}, build: buildPython}
	logJava   = logger{warm: 4000, tools: []string{"java", "javac"}, build: buildJava}
)

func buildPython(_ *bench, dir string) ([]string, error) {
	script := filepath.Join(dir, "logger.py")
	if err := os.WriteFile(script, loggerPython, 0o600); err != nil {
		return nil, fmt.Errorf("write logger: %w", err)
	}
	return []string{"python3", script}, nil
}

func buildJava(_ *bench, dir string) ([]string, error) {
	source := filepath.Join(dir, "Logs.java")
	if err := os.WriteFile(source, loggerJava, 0o600); err != nil {
		return nil, fmt.Errorf("write logger: %w", err)
	}
	if out, err := exec.Command("javac", "-d", dir, source).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build logger: %w\n%s", err, out)
	}
	return []string{"java", "-cp", dir, "Logs"}, nil
}

// missing tells which tool is not there.
func (l logger) missing() error {
	for _, t := range l.tools {
		if _, err := exec.LookPath(t); err != nil {
			return err
		}
	}
	return nil
}

// slowLog has a logger log as fast as it can, with and without somebody who
// watches, each time a new one.
func slowLog(l logger) func(b *bench) (*watch, error) {
	return func(b *bench) (*watch, error) {
		dir, err := os.MkdirTemp(b.places[placeDisk], "logger")
		if err != nil {
			return nil, fmt.Errorf("make folder: %w", err)
		}
		w := &watch{stop: func() { os.RemoveAll(dir) }}
		var argv []string
		if l.missing() == nil {
			if argv, err = l.build(b, dir); err != nil {
				w.stop()
				return nil, err
			}
		}
		for i, x := range []watcher{nobody, output, outputFiltered} {
			rows := []*watchRow{{who: x.who, figure: "line logged"}, {who: x.who, figure: figureCPU}}
			if i > 0 {
				rows[0].base, rows[1].base = w.turns[0].rows[0], w.turns[0].rows[1]
			}
			w.turns = append(w.turns, turn{rows: rows, missing: l.missing, run: func() ([]reading, error) { return b.log(l, argv, x, logFor) }})
		}
		return w, nil
	}
}

// log is one turn of slowLog, of so many milliseconds.
func (b *bench) log(l logger, argv []string, x watcher, ms int64) ([]reading, error) {
	dir, err := os.MkdirTemp(b.places[placeDisk], "run")
	if err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	defer os.RemoveAll(dir)
	to := filepath.Join(dir, "log")
	if l.piped {
		end, err := readFIFO(to)
		if err != nil {
			return nil, err
		}
		defer end()
	}
	v, _, err := startAsked(append([]string{"sh", "-c", `to=$1; shift; exec "$@" 2>"$to"`, "sh", to}, argv...)...)
	if err != nil {
		return nil, err
	}
	defer v.stop()
	if _, err := v.ask("log", strconv.Itoa(l.warm)); err != nil {
		return nil, err
	}
	a, err := x.attach(b, v.pid, dir)
	if err != nil {
		return nil, err
	}
	defer a.end()
	return v.measure(a, "log", ms)
}

// readFIFO makes a FIFO and a process that reads it.
func readFIFO(path string) (end func(), err error) {
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		return nil, fmt.Errorf("make FIFO: %w", err)
	}
	cmd := exec.Command("cat", path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("read FIFO: %w", err)
	}
	return func() {
		cmd.Process.Kill()
		cmd.Wait()
	}, nil
}
