package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"procdump/capture"
	"procdump/dumpkind"
	"procdump/probe/counter"
)

// screen is a console with a clock that the test moves and buffers for what
// it writes.
type screen struct {
	*Console
	out, err bytes.Buffer
	now      time.Time
}

func newScreen(t *testing.T, json bool, width int) *screen {
	s := &screen{now: time.Date(2026, 8, 2, 8, 45, 20, 0, time.UTC)}
	s.Console = NewConsole(ConsoleConfig{
		Out: &s.out, Err: &s.err, JSON: json,
		Now:   func() time.Time { return s.now },
		Width: func() int { return width },
	})
	t.Cleanup(s.Close)
	return s
}

// play shows a run that has every kind of line and event.
func play(s *screen) {
	s.Start([]string{"procdump", "-ma", "-mm", "4321", "/var/tmp"})
	s.Settings([]Setting{{"Process", "server (4321)"}, {"Dump filename/mask", "PROCESSNAME"}})
	s.Candidates("server", []Candidate{{PID: 7, Process: "server", Started: s.now, CPUMicros: 1500000,
		MemoryBytes: 4096, User: "www", Arguments: []string{"server", "-v"}}, {PID: 8, Process: "server"}}, "PID\n  7\n  8\n")
	s.Note("Waiting for process named %s...", "server")
	p := s.Process(Process{4321, "server", "/opt/my server"}, false)
	p.Launched([]string{"/opt/my server", "-v", "it's"})
	p.Watching()
	p.Observed("Output (stdout): hello")
	p.Trigger("Timed:")
	p.Warning("thread 17 could not be stopped")

	d := p.Dump(1)
	d.Space("/var/tmp", 77670146048)
	d.Initiated("/var/tmp/server.core.zst", dumpkind.Full, capture.FormatELF, true)
	d.Estimate(573 << 20)
	s.now = s.now.Add(2500 * time.Millisecond)
	s.Flush()
	d.Progress(200<<20, 573<<20)
	d.Complete(Result{Path: "/var/tmp/server-1.core.zst", Size: 600_000_000, DiskBytes: 1 << 20, Elapsed: 2500 * time.Millisecond,
		Pause: 38 * time.Millisecond, Method: "stop-and-copy", KernelPath: "/var/tmp/server-1.kernel.txt",
		Warnings: []string{"12 KB could not be read"}})
	d.Reported(Report{"/var/tmp/server-1.core.zst", "Aborted (SIGABRT): of \x1b its own", "/var/tmp/server-1.report.txt", "/var/tmp/server-1.report.html"})

	q := s.Process(Process{55, "other", ""}, true)
	d = q.Dump(2)
	d.Initiated("/var/tmp/o.dmp", dumpkind.Mini, capture.FormatMinidump, false)
	d.Complete(Result{Path: "/var/tmp/o.dmp", Size: 123456, DiskBytes: -1, Elapsed: 20 * time.Millisecond, Pause: -1})
	d = q.Dump(3)
	d.Initiated("/var/tmp/o-1.core", dumpkind.Mini, capture.FormatELF, false)
	d.Failed(errors.New("write dump: no space left on device; no file is left and the process runs on"))
	q.Error(errors.New("second error"))
	q.Exited("signal 9")
	p.Exited("")
	threads, err := counter.Parse(`\Process(*)\Thread Count`)
	if err != nil {
		panic(err)
	}
	s.Counters(55, []counter.Value{{Counter: threads, Value: 3, About: "threads"}, {Counter: threads, Err: errors.New("no rights")}}, "a table\n")
	s.Warning("about nothing")
	s.Error(errors.New("about everything"))
	s.End(true, 2, ExitOK)
	s.End(false, 2, ExitNotReached)
	s.Flush()
}

func TestConsoleLines(t *testing.T) {
	s := newScreen(t, false, 0)
	play(s)
	golden(t, "testdata/console.golden", "--- stdout\n"+s.out.String()+"--- stderr\n"+s.err.String())
}

func TestConsoleJSON(t *testing.T) {
	s := newScreen(t, true, 80)
	play(s)
	if s.err.Len() > 0 {
		t.Errorf("stderr is not empty: %s", &s.err)
	}
	golden(t, "testdata/events.golden", s.out.String())
	seen := map[string]bool{}
	for line := range strings.Lines(s.out.String()) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		seen[e["event"].(string)] = true
	}
	// Every type of event is played, so that the documentation test sees it.
	for name := range eventTypes {
		if !seen[name] {
			t.Errorf("event %s is not played", name)
		}
	}
}

// eventTypes are the events that the documentation has to have.
var eventTypes = map[string]any{
	"start": startEvent{}, "launched": launchedEvent{}, "trigger": triggerEvent{}, "exited": exitedEvent{},
	"space": spaceEvent{}, "initiated": initiatedEvent{}, "estimate": estimateEvent{}, "progress": progressEvent{},
	"complete": completeEvent{}, "report": reportEvent{}, "failed": failedEvent{}, "error": messageEvent{}, "warning": messageEvent{},
	"watching": watchingEvent{}, "observed": observedEvent{}, "counters": countersEvent{},
	"note": noteEvent{}, "candidates": candidatesEvent{}, "end": endEvent{},
}

// jsonFields lists the JSON names of a struct, those of embedded ones included.
func jsonFields(typ reflect.Type) []string {
	var names []string
	for i := range typ.NumField() {
		f := typ.Field(i)
		if f.Anonymous {
			names = append(names, jsonFields(f.Type)...)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

// TestJSONDocument compares docs/json-events.md with the events: "## name"
// headings, then "| `field` | …" rows. Fields of all events are in the rows
// before the first event.
func TestJSONDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/json-events.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := strings.Split(string(text), "\n## ")
	row := regexp.MustCompile("(?m)^\\| `([a-zA-Z]+)` \\|")
	fields := func(s string) (list []string) {
		for _, m := range row.FindAllStringSubmatch(s, -1) {
			list = append(list, m[1])
		}
		return list
	}
	common := fields(sections[0])
	documented := map[string]bool{}
	for _, s := range sections[1:] {
		heading, body, _ := strings.Cut(s, "\n")
		for name := range strings.SplitSeq(heading, ", ") {
			documented[name] = true
			e, ok := eventTypes[name]
			if !ok {
				t.Errorf("documented event %q does not exist", name)
				continue
			}
			want := jsonFields(reflect.TypeOf(e))
			if name == "candidates" {
				want = append(want, jsonFields(reflect.TypeFor[Candidate]())...)
			}
			if name == "counters" {
				want = append(want, jsonFields(reflect.TypeFor[counterValue]())...)
			}
			if got := slices.Concat(common, fields(body)); !slices.Equal(got, want) {
				t.Errorf("event %s: documented fields %q, has %q", name, got, want)
			}
		}
	}
	for name := range eventTypes {
		if !documented[name] {
			t.Errorf("event %q is not documented", name)
		}
	}
}

// visible returns what a terminal shows after text was written to it.
func visible(text string) string {
	var lines []string
	line, col := []byte{}, 0
	for i := range len(text) {
		switch c := text[i]; c {
		case '\r':
			col = 0
		case '\b':
			col--
		case '\n':
			lines = append(lines, strings.TrimRight(string(line), " "))
			line, col = nil, 0
		default:
			if col == len(line) {
				line = append(line, c)
			} else {
				line[col] = c
			}
			col++
		}
	}
	return strings.Join(append(lines, strings.TrimRight(string(line), " ")), "\n")
}

func TestProgressBar(t *testing.T) {
	s := newScreen(t, false, 80)
	terminal := &s.err // of both, as on a terminal
	d := s.Process(Process{PID: 1, Name: "x"}, false).Dump(1)
	d.Initiated("x.core", dumpkind.Full, capture.FormatELF, false)
	step := func(after time.Duration, done int64) string {
		s.now = s.now.Add(after)
		s.Flush()
		before := terminal.Len()
		d.Progress(done, 1000<<20)
		s.Flush()
		if terminal.Len() == before {
			return ""
		}
		return visible(terminal.String())
	}
	if got := step(999*time.Millisecond, 1<<20); got != "" {
		t.Errorf("drawn within the first second: %q", got)
	}
	want := "Dump 1 [#####................]  25%  250.0 MB of 1000.0 MB  250.0 MB/s  ETA 3 s"
	if got := step(time.Millisecond, 250<<20); got != want {
		t.Errorf("bar %q, want %q", got, want)
	}
	if got := step(50*time.Millisecond, 300<<20); got != "" {
		t.Errorf("drawn again after 50 ms: %q", got)
	}
	if got := step(950*time.Millisecond, 999<<20); !strings.Contains(got, " 100%") && !strings.Contains(got, " 99%") || !strings.Contains(got, "ETA 1 s") {
		t.Errorf("bar %q at the end", got)
	}
	if got := step(time.Second, 2000<<20); !strings.Contains(got, "100%") {
		t.Errorf("bar %q beyond the estimate", got)
	}
	// A line takes the bar's place.
	s.Error(errors.New("hello"))
	s.Flush()
	if got := visible(terminal.String()); got != "procdump: hello\n" {
		t.Errorf("after a line the terminal shows %q", got)
	}
	before := terminal.Len()
	s.Error(errors.New("again"))
	s.Flush()
	if got := terminal.String()[before:]; got != "procdump: again\n" {
		t.Errorf("with no bar there a line is written as %q", got)
	}
	step(time.Second, 2000<<20)
	d.Complete(Result{Path: "x.core"})
	s.Flush()
	if got := visible(terminal.String()); got != "procdump: hello\nprocdump: again\n" {
		t.Errorf("after the end the terminal shows %q", got)
	}
	if got := step(time.Second, 2000<<20); got != "" {
		t.Errorf("drawn after the end: %q", got)
	}
}

func TestProgressBarText(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	one := bar{jobs: []*job{{start: start, done: 250 << 20, total: 1000 << 20}}}
	two := bar{jobs: append(slices.Clone(one.jobs), &job{start: start, done: 0, total: 1 << 62})}
	for _, tt := range []struct {
		b     bar
		after time.Duration
		width int
		want  string
	}{
		{one, 2 * time.Second, 79, "Dump 1 [#####................]  25%  250.0 MB of 1000.0 MB  125.0 MB/s  ETA 6 s"},
		{one, 2 * time.Second, 120, "Dump 1 [##########..............................]  25%  250.0 MB of 1000.0 MB  125.0 MB/s  ETA 6 s"},
		{one, 2 * time.Second, 40, "Dump 1  25%  250.0 MB of 1000.0 MB"},
		{one, 2 * time.Second, 5, "Dump "},
		{one, 0, 79, "Dump 1 [##########..............................]  25%  250.0 MB of 1000.0 MB"},
		{two, 2 * time.Second, 79, "2 dumps [..........................]   0%  250.0 MB of 4194304.0 TB  125.0 MB/s"},
	} {
		got := tt.b.text(1, start.Add(tt.after), tt.width)
		if !strings.HasPrefix(got, tt.want) || len(got) > tt.width {
			t.Errorf("%d columns: %q, want %q", tt.width, got, tt.want)
		}
	}
}

func TestProgressEvents(t *testing.T) {
	s := newScreen(t, true, 0)
	d := s.Process(Process{PID: 1}, false).Dump(1)
	d.Initiated("x", dumpkind.Full, capture.FormatELF, false)
	for i := range int64(50) { // 5 seconds
		s.Flush()
		d.Progress(i<<20, 50<<20)
		s.now = s.now.Add(100 * time.Millisecond)
	}
	s.Flush()
	if n := strings.Count(s.out.String(), `"event":"progress"`); n != 4 {
		t.Errorf("%d progress events in 5 seconds, want 4", n)
	}
}

// blocked is a writer whose reader does not read until it is released.
type blocked struct {
	release chan struct{}
	buf     bytes.Buffer
}

func (b *blocked) Write(p []byte) (int, error) {
	<-b.release
	return b.buf.Write(p)
}

// TestConsoleNeverBlocks prints while nobody reads: a target may be stopped.
func TestConsoleNeverBlocks(t *testing.T) {
	w := &blocked{release: make(chan struct{})}
	now := time.Unix(0, 0)
	c := NewConsole(ConsoleConfig{Out: w, Err: w, Now: func() time.Time { return now }, Width: func() int { return 80 }})
	d := c.Process(Process{PID: 1, Name: "x"}, false).Dump(1)
	d.Initiated("x.core", dumpkind.Full, capture.FormatELF, false)
	for i := range int64(1000) {
		now = now.Add(time.Second)
		d.Progress(i, 1000)
	}
	d.Complete(Result{Path: "x.core"})
	c.End(true, 1, 0)
	close(w.release)
	c.Close()
	got := w.buf.String()
	if !strings.Contains(got, "initiated") || !strings.HasSuffix(got, "Dump count reached.\n") {
		t.Errorf("lines are lost: %q", got)
	}
	if strings.Contains(got, "%") {
		t.Errorf("progress piled up: %q", got)
	}
	c.End(true, 1, 0) // after Close: dropped, no panic
}

// TestConsoleParallel has whole lines from several targets at a time.
func TestConsoleParallel(t *testing.T) {
	var out, errs bytes.Buffer
	c := NewConsole(ConsoleConfig{Out: &out, Err: &errs, Width: func() int { return 60 }})
	var wg sync.WaitGroup
	for pid := range 16 {
		wg.Go(func() {
			d := c.Process(Process{PID: pid + 1, Name: "x"}, true).Dump(1)
			d.Initiated("x.core", dumpkind.Full, capture.FormatELF, false)
			for i := range int64(100) {
				d.Progress(i, 100)
			}
			d.Complete(Result{Path: "x.core", DiskBytes: -1})
		})
	}
	wg.Wait()
	c.Close()
	for pid := range 16 {
		for _, what := range []string{"initiated: x.core\n", "complete: 1 MB"} {
			line := fmt.Sprintf("] x (%d): Dump 1 %s", pid+1, what)
			if n := strings.Count(out.String(), line); n != 1 {
				t.Errorf("%q is there %d times", line, n)
			}
		}
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain größe\nline": "plain größe\nline",
		"a\x1b[2Jb\r":       `a\x1b[2Jb\r`,
		"\xff\u202e":        `\xff\u202e`,
		"tab\t":             `tab\t`,
	} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) = %q, want %q", in, got, want)
		}
	}
	s := newScreen(t, false, 0)
	p := s.Process(Process{PID: 1, Name: "evil\x1b]0;x\a\nname"}, true)
	p.Trigger("a\nb")
	p.Dump(1).Initiated("/x\n/y\x1b", dumpkind.Mini, capture.FormatELF, false)
	p.Error(errors.New("\x1b[31m"))
	s.Flush()
	if all := s.out.String() + s.err.String(); strings.Contains(all, "\x1b") || strings.Count(all, "\n") != 3 {
		t.Errorf("the target writes to the terminal: %q", all)
	}
}

func TestOpenCommands(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("shells differ")
	}
	for _, tt := range []struct {
		path, exe  string
		format     capture.Format
		compressed bool
		want       string
	}{
		{"/d/x.core", "/bin/x", capture.FormatELF, false, "gdb /bin/x /d/x.core"},
		{"/d/x.core", "", capture.FormatELF, false, "gdb -c /d/x.core"},
		{"/d/x y.core", "/bin/it's", capture.FormatELF, false, `gdb '/bin/it'\''s' '/d/x y.core'`},
		{"/d/x.core.zst", "/bin/x", capture.FormatELF, true, "zstd -d /d/x.core.zst && gdb /bin/x /d/x.core"},
		{"/d/x.dmp", "/bin/x", capture.FormatMinidump, false, "lldb -c /d/x.dmp"},
		{"/d/\x1b.core", "/bin/x", capture.FormatELF, false, `gdb /bin/x $'/d/\x1b.core'`},
	} {
		if got := openCommands(tt.path, tt.exe, tt.format, tt.compressed)[0]; got != tt.want {
			t.Errorf("%s: %s, want %s", tt.path, got, tt.want)
		}
	}
}

func TestTexts(t *testing.T) {
	for n, want := range map[int64]string{0: "0 bytes", 1023: "1023 bytes", 1024: "1.0 KB", 1<<20 - 1: "1.0 MB", 1 << 20: "1.0 MB", 5 << 30: "5.0 GB"} {
		if got := sizeText(n); got != want {
			t.Errorf("sizeText(%d) = %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int64]int64{0: 1, 1: 1, 1 << 20: 1, 1<<20 + 1: 2} {
		if got := megabytes(n); got != want {
			t.Errorf("megabytes(%d) = %d, want %d", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{-1: "unknown", 1234 * time.Microsecond: "1.23 ms", 38 * time.Millisecond: "38 ms", 2 * time.Second: "2.00 s"} {
		if got := pauseText(d); got != want {
			t.Errorf("pauseText(%v) = %q, want %q", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "0 s", time.Millisecond: "1 s", 61 * time.Second: "1:01 min", 2 * time.Hour: "2:00 h"} {
		if got := spanText(d); got != want {
			t.Errorf("spanText(%v) = %q, want %q", d, got, want)
		}
	}
}

// heldTerminal is a terminal that is held (Ctrl-S) until it is let go.
type heldTerminal struct{ free chan struct{} }

func (b heldTerminal) Write(p []byte) (int, error) {
	<-b.free
	return len(p), nil
}

// TestObservedBacklog: a flood of lines that nobody reads takes bounded memory.
func TestObservedBacklog(t *testing.T) {
	b := heldTerminal{make(chan struct{})}
	c := NewConsole(ConsoleConfig{Out: b, Err: b})
	p := c.Process(Process{1, "a", ""}, false)
	for range 3 * maxBacklog {
		p.Observed("line")
	}
	if n := c.spool.length(); n > maxBacklog+1 {
		t.Errorf("%d lines wait", n)
	}
	if n := c.leftOut.Load(); n < maxBacklog {
		t.Errorf("%d lines are left out", n)
	}
	close(b.free)
	c.Close()
}

// TestPreCopiedSummary: what was copied while the process ran is said with the pause.
func TestPreCopiedSummary(t *testing.T) {
	got := summary(Result{Path: "x.core", Pause: 2900 * time.Microsecond, Method: "pre-copy", Rounds: 3}, "gdb")
	if want := "(pre-copied, 3 rounds)\n"; !strings.Contains(got, want) {
		t.Errorf("%q lacks %q", got, want)
	}
}
