package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"procdump/probe/counter"
)

// Version is procdump's version.
const Version = "0.1.0"

// ConsoleConfig says where a Console writes.
type ConsoleConfig struct {
	Out, Err io.Writer        // lines or events; errors, warnings, progress
	JSON     bool             // one JSON object per event on Out, nothing on Err
	Now      func() time.Time // nil: time.Now
	// Width returns the columns of the terminal that Err is. Where it is nil
	// or returns 0 there is no terminal and no progress bar.
	Width func() int
}

// Console prints what a user sees of a run, as lines in ProcDump's manner or
// as JSON events. Its methods may be called from several goroutines and never
// wait for the reader of what they print; Close does.
type Console struct {
	config ConsoleConfig
	spool  *spool

	leftOut atomic.Int64 // lines that Observed did not print

	mu  sync.Mutex // makes the order in the spool that of the calls
	bar bar
}

// NewConsole returns a Console. Close ends it.
func NewConsole(c ConsoleConfig) *Console {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Width == nil {
		c.Width = func() int { return 0 }
	}
	return &Console{config: c, spool: newSpool()}
}

// Close removes the progress bar and waits until all is written.
func (c *Console) Close() {
	c.mu.Lock()
	c.clearBar()
	c.mu.Unlock()
	c.spool.close()
}

// Flush waits until all is written that was printed so far.
func (c *Console) Flush() { c.spool.flush() }

// Start prints the banner.
func (c *Console) Start(commandLine []string) {
	if c.config.JSON {
		c.event(&startEvent{c.head("start"), EventSchema, Version, nonNil(commandLine)})
		return
	}
	c.print(c.config.Out, "procdump "+Version+" - writes dumps of running processes\n\n")
}

// Setting is a line of the block that Settings prints.
type Setting struct{ Name, Value string }

// Settings prints the block that says what is watched, names at the left,
// values at column 23 as ProcDump has them. JSON has it in the start event's
// command line.
func (c *Console) Settings(settings []Setting) {
	if c.config.JSON {
		return
	}
	text := ""
	for _, s := range settings {
		text += fmt.Sprintf("%-23s%s\n", s.Name+":", oneLine(s.Value))
	}
	c.print(c.config.Out, text+"\nPress Ctrl-C to end monitoring without terminating the process.\n\n")
}

// Candidates reports that target, as typed, means several processes. Table is
// how a person sees them.
func (c *Console) Candidates(target string, processes []Candidate, table string) {
	if c.config.JSON {
		processes = slices.Clone(processes)
		for i := range processes {
			processes[i].Arguments = nonNil(processes[i].Arguments)
		}
		c.event(&candidatesEvent{c.head("candidates"), target, nonNil(processes)})
		return
	}
	c.print(c.config.Err, printable(table))
}

// Note prints a line of information.
func (c *Console) Note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if c.config.JSON {
		c.event(&noteEvent{c.head("note"), text})
		return
	}
	c.print(c.config.Out, c.stamp()+printable(text)+"\n")
}

// Error prints an error that is not about one process.
func (c *Console) Error(err error) { c.message("error", Process{}, err.Error()) }

// Warning prints a warning that is not about one process.
func (c *Console) Warning(text string) { c.message("warning", Process{}, text) }

// message prints an error or a warning, of p if that is one.
func (c *Console) message(event string, p Process, text string) {
	if c.config.JSON {
		c.event(&messageEvent{c.head(event), p.PID, p.Name, text})
		return
	}
	about := ""
	if p.PID != 0 {
		about = p.String() + ": "
	}
	if event == "warning" {
		about = "warning: " + about
	}
	c.print(c.config.Err, "procdump: "+about+printable(text)+"\n")
}

// End prints how the run ended: whether all dumps asked for were written, how
// many were, and the code that procdump is about to exit with.
func (c *Console) End(reached bool, dumps, exitCode int) {
	switch {
	case c.config.JSON:
		c.event(&endEvent{c.head("end"), reached, dumps, exitCode})
	case reached:
		c.print(c.config.Out, c.stamp()+"Dump count reached.\n")
	default:
		c.print(c.config.Out, c.stamp()+"Dump count not reached.\n")
	}
}

// stamp begins a line with the local time, as "[14:03:59] ".
func (c *Console) stamp() string { return c.config.Now().Local().Format("[15:04:05] ") }

func (c *Console) head(event string) eventHead { return eventHead{event, c.config.Now()} }

// print writes whole lines, with the progress bar out of their way.
func (c *Console) print(w io.Writer, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clearBar()
	c.spool.put(w, []byte(text))
}

// event writes an event, a pointer to one of the types of event.go.
func (c *Console) event(e any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(e)
}

// put is event for a caller that holds mu.
func (c *Console) put(e any) {
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false) // && in a command is to be read by people, too
	if err := enc.Encode(e); err != nil {
		panic(err) // the types of event.go cannot fail, but for a year beyond 9999
	}
	c.spool.put(c.config.Out, line.Bytes())
}

// nonNil makes JSON print [] instead of null.
func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// Counters prints the performance counters there are; table is how a person
// sees them.
func (c *Console) Counters(pid int, list []counter.Value, table string) {
	if !c.config.JSON {
		c.print(c.config.Out, printable(table))
		return
	}
	out := make([]counterValue, len(list))
	for i, v := range list {
		out[i] = counterValue{Name: v.Counter.String(), Unit: v.Unit, Meaning: v.About}
		if v.Err != nil {
			out[i].Error = v.Err.Error()
		} else {
			out[i].Value = &v.Value
		}
	}
	c.event(&countersEvent{c.head("counters"), pid, out})
}
