package cli

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"procdump/monitor"
	"procdump/target"
)

func TestLiveLines(t *testing.T) {
	row := monitor.Row{Process: target.Process{PID: 4711, Name: "nginx"}, Dumps: 2, Gauges: []monitor.Reading{
		{Name: "CPU", Text: "95%", Limit: ">= 90%", Held: 3 * time.Second, Hold: 10 * time.Second, Value: 90,
			History: []float64{math.NaN(), 0, 45, 90, 180}},
		{Name: "Commit", Text: "", Limit: "< 100 MB", Value: 1e8, Below: true},
	}}
	lines := liveLines([]monitor.Row{row}, 200)
	if len(lines) != 2 {
		t.Fatalf("%d lines: %q", len(lines), lines)
	}
	for _, want := range []string{"nginx (4711)", "2 dumps", "CPU", " ▁▃▅█", "95%", ">= 90%", "3 of 10 s"} {
		if !strings.Contains(lines[0], want) {
			t.Errorf("first line %q lacks %q", lines[0], want)
		}
	}
	if strings.Contains(lines[1], "nginx") || !strings.Contains(lines[1], "< 100 MB") {
		t.Errorf("second line %q", lines[1])
	}
	// A crowd takes a bounded part of the terminal, whatever its width.
	crowd := make([]monitor.Row, 500)
	for i := range crowd {
		crowd[i] = row
		crowd[i].Process.Name = fmt.Sprintf("a-very-long-name\x1b[31m-%d", i)
	}
	for _, width := range []int{0, 1, 30, 79, 300} {
		lines := liveLines(crowd, width)
		if len(lines) > liveRows {
			t.Errorf("width %d: %d lines", width, len(lines))
		}
		for _, l := range lines {
			if utf8.RuneCountInString(l) > width || strings.Contains(l, "\x1b") {
				t.Errorf("width %d: line %q", width, l)
			}
		}
	}
	if lines := liveLines(nil, 80); len(lines) != 1 || lines[0] != "no process yet" {
		t.Errorf("no process: %q", lines)
	}
}

// TestLiveView: the view is under what is printed, and is drawn over itself.
func TestLiveView(t *testing.T) {
	s := newScreen(t, false, 100)
	s.Live([]monitor.Row{{Process: target.Process{PID: 1, Name: "a"}}, {Process: target.Process{PID: 2, Name: "b"}}})
	s.Flush()
	s.Note("a line")
	s.Flush()
	if got := s.err.String(); !strings.HasSuffix(got, "\r\x1b[2F\x1b[J") || strings.Count(got, "\n") != 2 {
		t.Errorf("the view is not taken off before a line: %q", got)
	}
	quiet := newScreen(t, false, 0)
	quiet.Live([]monitor.Row{{}})
	quiet.Flush()
	if quiet.err.Len() > 0 {
		t.Errorf("drawn without a terminal: %q", &quiet.err)
	}
}
