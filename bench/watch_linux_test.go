package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"procdump/victims/need"
)

func TestParseBriefs(t *testing.T) {
	list, err := parseBriefs(strings.NewReader("7 100 2100 9000\n8 200 300 400\n"), 2)
	if err != nil || len(list) != 2 || list[0] != (brief{7, 100, 2100, 9000}) {
		t.Errorf("%v, %v", list, err)
	}
	for _, s := range []string{"", "7 100 2100 9000\n", "7 100\n8 1 2 3\n"} {
		if _, err := parseBriefs(strings.NewReader(s), 2); err == nil {
			t.Errorf("%q is two lives", s)
		}
	}
}

// TestToWatched: a process noticed after its end, or never, is not caught.
func TestToWatched(t *testing.T) {
	list := []brief{{1, 1000, 2000, 5000}, {2, 1000, 2000, 5000}, {3, 1000, 2000, 5000}}
	r := toWatched(list, []event{{PID: 1, Time: time.Unix(0, 3000)}, {PID: 2, Time: time.Unix(0, 6000)}})
	if r.caught != 1 || r.of != 3 || len(r.micros) != 2 || r.micros[0] != 2 {
		t.Errorf("%+v", r)
	}
}

// TestStopOf: the stop is the gap that the dump explains, not the longest one.
func TestStopOf(t *testing.T) {
	gaps := map[string]int64{"at0": 1_000_000, "us0": 20_000, "at1": 49_900_000, "us1": 3_000, "at2": 54_000_000, "us2": 500}
	if at, ok := stopOf(gaps, 50_000_000, 55_000_000); !ok || at != 49_900_000 {
		t.Errorf("%d, %v", at, ok)
	}
	if _, ok := stopOf(gaps, 60_000_000, 70_000_000); ok {
		t.Error("a stop where there was none")
	}
}

func TestActor(t *testing.T) {
	need.Tool(t, "gcc")
	program, err := buildActor(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	v, _, err := startAsked(program)
	if err != nil {
		t.Fatal(err)
	}
	defer v.stop()
	file := filepath.Join(t.TempDir(), "lines")
	if a, err := v.ask("errors", file); err != nil || a["ok"] != 1 {
		t.Fatalf("%v, %v", a, err)
	}
	for _, word := range []string{"syscalls", "signals", "threads", "lines"} {
		if a, err := v.ask(word, "20"); err != nil || a["n"] <= 0 || a["us"] < 20_000 || a["cpu"] <= 0 {
			t.Errorf("%s: %v, %v", word, a, err)
		} else if b, _ := os.ReadFile(file); word == "lines" && strings.Count(string(b), "\n") != int(a["n"]) {
			t.Errorf("%d lines in the file, not %d", strings.Count(string(b), "\n"), a["n"])
		}
	}
	before := time.Now().UnixNano()
	if a, err := v.ask("cross", "8"); err != nil || a["at"] < before || a["at"] > time.Now().UnixNano() {
		t.Errorf("cross: %v, %v", a, err)
	}
	if at, end, err := v.die(); err != nil || at < before || end < at {
		t.Errorf("die: %d, %d, %v", at, end, err)
	}
}

func TestCrowd(t *testing.T) {
	need.Tool(t, "gcc")
	c, err := buildCrowd(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	list, err := c.runBriefs(3)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range list {
		if x.execed > x.main || x.end-x.main < 5_000_000 {
			t.Errorf("a life of %+v", x)
		}
	}
	pids, stop, err := c.startSleepers(20)
	if err != nil {
		t.Fatal(err)
	}
	comm := func(pid int) string {
		b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
		return strings.TrimSpace(string(b))
	}
	for _, pid := range pids {
		if comm(pid) != filepath.Base(c.sleepers) {
			t.Errorf("process %d is %q", pid, comm(pid))
		}
	}
	stop()
	for _, pid := range pids {
		if comm(pid) == filepath.Base(c.sleepers) {
			t.Errorf("sleeper %d lives on", pid)
		}
	}
}

// TestCPUTime: a process that works uses CPU time, and knows its peak.
func TestCPUTime(t *testing.T) {
	before, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); time.Since(start) < 30*time.Second; {
		if now, err := cpuTime(os.Getpid()); err != nil || now > before+5*time.Millisecond {
			if err != nil {
				t.Error(err)
			}
			if rss, err := peakRSS(os.Getpid()); err != nil || rss < 1<<20 {
				t.Errorf("peak RSS %d, %v", rss, err)
			}
			return
		}
	}
	t.Error("no CPU time passes")
}
