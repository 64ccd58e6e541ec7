package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"procdump/victims"
)

// bars are what a sparkline is drawn with.
const bars = "▁▂▃▄▅▆▇█"

// TestLiveView reads the live view from a terminal, and ends it by Ctrl-C.
func TestLiveView(t *testing.T) {
	t.Parallel()
	v := victims.Start(t, "trouble")
	folder := t.TempDir()
	x := onTerminal(t, 120, "-live", "-m", "150,5000", "-tc", "40", "-s", "2", pidArg(v), folder)
	row := func(dumps int, value, limit string) string {
		return fmt.Sprintf(`^trouble \(%d\) +%d dumps? +Commit +[%s]+ +%s MB >= %s MB`, v.PID, dumps, bars, value, limit)
	}
	x.shows(row(0, `\d`, "150") + `\n +Commit +[` + bars + `]+ +\d MB >= 5000 MB\n +Threads +[` + bars + `]+ +1 >= 40\n`)
	v.Ask(t, "threads 20")
	x.shows(`Threads +[` + bars + `]+[▃▄▅] +21 >= 40`)
	if files, _ := filepath.Glob(folder + "/*"); len(files) > 0 {
		t.Errorf("dumps %q before there was a reason", files)
	}
	v.Ask(t, "alloc 200")
	x.shows(`Commit: 20\d MB >= 150 MB for 2s`)
	x.shows(`Dump 1 complete: `)
	x.shows(row(1, `20\d`, "150"))
	if _, err := x.master.WriteString("\x03"); err != nil {
		t.Fatal(err)
	}
	code, text := x.end()
	if code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	// The view is gone, the lines stay.
	if strings.ContainsAny(text, bars) || regexp.MustCompile(`\d dumps? `).MatchString(text) || !strings.HasSuffix(text, "Dump count not reached.\n") ||
		strings.Count(text, "Dump 1 complete: ") != 1 || strings.Count(text, "Watching trouble") != 1 {
		t.Errorf("in the end the terminal shows\n%s", text)
	}
	files, _ := filepath.Glob(folder + "/*")
	if len(files) != 1 {
		t.Fatalf("dumps %q, want one", files)
	}
	if s := readAnyCore(t, files[0]).Info.Samples; len(s) != 3 || s[0].Name != "Commit" || len(s[0].Points) < 8 {
		t.Errorf("flight recorder %+v", s)
	}
	wantAlive(t, v)
}

// TestLiveViewNarrow: no line is wider than the terminal, which would break it
// in two.
func TestLiveViewNarrow(t *testing.T) {
	t.Parallel()
	v := victims.Start(t, "trouble")
	x := onTerminal(t, 50, "-live", "-tc", "40", pidArg(v), "/tmp")
	x.shows(`^trouble \(\d+\) +0 dumps +Threads `)
	x.master.WriteString("\x03")
	if code, _ := x.end(); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	for _, line := range regexp.MustCompile(`[\r\n]+`).Split(x.raw.String(), -1) {
		if i := strings.Index(line, "trouble ("); i >= 0 && strings.Contains(line, "Threads") && len([]rune(line[i:])) >= 50 {
			t.Errorf("line of %d columns: %q", len([]rune(line[i:])), line)
		}
	}
}

// TestLiveViewElsewhere: what is no terminal gets lines, as without -live.
func TestLiveViewElsewhere(t *testing.T) {
	t.Parallel()
	v := victims.Start(t, "trouble")
	timer := time.AfterFunc(2500*time.Millisecond, func() { v.Send("threads 30") })
	defer timer.Stop()
	r := finish(t, exec.Command(binary(t), "-live", "-tc", "20", "-s", "0", pidArg(v), t.TempDir()))
	if r.code != 0 || strings.ContainsAny(r.stdout+r.stderr, bars+"\x1b\r") || r.stderr != "" ||
		strings.Count(r.stdout, "Threads: 31 >= 20") != 1 || strings.Count(r.stdout, "Dump 1 complete") != 1 {
		t.Errorf("%v", r)
	}
}
