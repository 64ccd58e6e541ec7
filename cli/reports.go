package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"procdump/capture"
)

// reportLimit is how long the report on a dump may take.
const reportLimit = 5 * time.Minute

// reports writes reports beside dumps, for -inspect. Each is made by a process
// of its own, procdump inspect, one after the other: whatever happens there, and
// however much memory it takes, the dump is good and the watch goes on.
type reports struct {
	ctx  context.Context // its end ends the report that is under way, and those to come
	turn chan struct{}
	all  sync.WaitGroup
}

func newReports(ctx context.Context) *reports {
	return &reports{ctx: ctx, turn: make(chan struct{}, 1)}
}

// add begins to write the report on a finished dump and returns at once: the
// dumped process may be held until its dump is done with.
func (r *reports) add(c *DumpConsole, dump string, overwrite bool) {
	r.all.Go(func() {
		select {
		case r.turn <- struct{}{}:
			defer func() { <-r.turn }()
		case <-r.ctx.Done():
			return
		}
		rep, err := makeReport(r.ctx, dump, overwrite)
		if err != nil {
			c.Warning(fmt.Sprintf("-inspect: %v; the dump is good, procdump inspect makes a report of it", err))
			return
		}
		c.Reported(rep)
	})
}

// wait returns when all reports are written.
func (r *reports) wait() { r.all.Wait() }

// Report is what -inspect has written beside a dump.
type Report struct {
	Dump       string // path
	Reason     string // the sentence
	Text, HTML string // paths
}

// makeReport writes the report on a dump, as text and as HTML.
func makeReport(ctx context.Context, dump string, overwrite bool) (Report, error) {
	rep := Report{Dump: dump, Text: capture.Beside(dump, ".report.txt"), HTML: capture.Beside(dump, ".report.html")}
	if isHTML(dump) {
		return rep, errors.New("a dump whose name ends in .html cannot have a report beside it")
	}
	// Not by its path: there may be a newer procdump by now.
	self := "/proc/self/exe"
	if _, err := os.Stat(self); err != nil {
		if self, err = os.Executable(); err != nil {
			return rep, fmt.Errorf("find procdump's own file: %w", err)
		}
	}
	args := []string{inspectVerb}
	if overwrite {
		args = append(args, "-o")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, reportLimit, fmt.Errorf("it took more than %v", reportLimit))
	defer cancel()
	cmd := exec.CommandContext(ctx, self, append(args, "--", dump, rep.Text, rep.HTML)...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return rep, fmt.Errorf("no report is written: %w", context.Cause(ctx))
	}
	if err != nil {
		why := strings.TrimPrefix(strings.TrimSpace(string(firstLine(out))), "procdump: ")
		return rep, fmt.Errorf("no report is written: %w: %s", err, why)
	}
	text, err := os.ReadFile(rep.Text)
	if err != nil {
		return rep, fmt.Errorf("read report: %w", err)
	}
	// The sentence ends with an empty line.
	head, _, _ := bytes.Cut(text, []byte("\n\n"))
	rep.Reason = strings.Join(strings.Fields(string(head)), " ")
	return rep, nil
}

func firstLine(b []byte) []byte {
	line, _, _ := bytes.Cut(bytes.TrimSpace(b), []byte("\n"))
	return line
}
