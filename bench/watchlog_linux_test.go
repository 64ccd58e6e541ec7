package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"procdump/victims/need"
)

// TestLoggers: each logs one line for each that it counts.
func TestLoggers(t *testing.T) {
	need.Tool(t, "gcc")
	actor, err := buildActor(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{actor: actor, places: map[string]string{placeDisk: t.TempDir()}}
	for name, l := range map[string]logger{"C": logC, "C to a pipe": logCPiped, "Python": logPython, "Java": logJava} {
		t.Run(name, func(t *testing.T) {
			for _, tool := range l.tools {
				need.Tool(t, tool)
			}
			argv, err := l.build(b, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			l.warm = 20
			file := ""
			look := watcher{attach: func(_ *bench, pid int, dir string) (*attached, error) {
				file = filepath.Join(dir, "log")
				before := lines(t, file, l.piped)
				return &attached{end: func() {}, seen: func(int) int { return lines(t, file, l.piped) - before }}, nil
			}}
			readings, err := b.log(l, argv, look, 50)
			if err != nil {
				t.Fatal(err)
			}
			if r := readings[0]; len(readings) != 2 || !l.piped && r.caught != r.of {
				t.Errorf("%d lines in the file, not %d", r.caught, r.of)
			}
		})
	}
}

// lines counts those of a file; of a FIFO there are none.
func lines(t *testing.T, file string, fifo bool) int {
	t.Helper()
	if fifo {
		return 0
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(b, []byte("\n"))
}
