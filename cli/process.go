package cli

import (
	"fmt"
	"strings"
	"time"

	"procdump/capture"
	"procdump/dumpkind"
)

// Process is a process as the console speaks of it.
type Process struct {
	PID  int
	Name string
	Exe  string // path of its image, "" if unknown or deleted
}

// String is "name (pid)".
func (p Process) String() string { return fmt.Sprintf("%s (%d)", oneLine(p.Name), p.PID) }

// ProcessConsole prints what happens to one process.
type ProcessConsole struct {
	console *Console
	process Process
	prefix  string
}

// Process returns the console of a process. Where there are several at a time
// each of their lines names its own.
func (c *Console) Process(p Process, several bool) *ProcessConsole {
	pc := &ProcessConsole{console: c, process: p}
	if several {
		pc.prefix = p.String() + ": "
	}
	return pc
}

// Launched prints that the process was started.
func (p *ProcessConsole) Launched(arguments []string) {
	c := p.console
	if c.config.JSON {
		c.event(&launchedEvent{c.head("launched"), p.ids(), nonNil(arguments)})
		return
	}
	words := make([]string, len(arguments))
	for i, a := range arguments {
		words[i] = shellQuote(a)
	}
	p.line("Launched " + p.process.String() + ": " + strings.Join(words, " "))
}

// Watching prints that the process is watched from now on.
func (p *ProcessConsole) Watching() {
	c := p.console
	if c.config.JSON {
		c.event(&watchingEvent{c.head("watching"), p.ids()})
		return
	}
	p.console.print(c.config.Out, c.stamp()+"Watching "+p.process.String()+".\n")
}

// maxBacklog is how many lines may wait for their reader before Observed leaves
// some out.
const maxBacklog = 10_000

// Observed prints something that happened to the process, or that it wrote,
// whether or not a dump follows.
//
// What comes faster than its reader takes it is left out, and said to be.
func (p *ProcessConsole) Observed(text string) {
	c := p.console
	if c.spool.length() >= maxBacklog {
		c.leftOut.Add(1)
		return
	}
	if n := c.leftOut.Swap(0); n > 0 {
		c.Warning(fmt.Sprintf("%d lines are left out: they came faster than they were read", n))
	}
	if c.config.JSON {
		c.event(&observedEvent{c.head("observed"), p.ids(), text})
		return
	}
	p.line(oneLine(text))
}

// Trigger prints what made a dump necessary, as "Timed:".
func (p *ProcessConsole) Trigger(reason string) {
	c := p.console
	if c.config.JSON {
		c.event(&triggerEvent{c.head("trigger"), p.ids(), reason})
		return
	}
	p.line(oneLine(reason))
}

// Exited prints that the process is gone; status, if known, is how.
func (p *ProcessConsole) Exited(status string) {
	c := p.console
	switch {
	case c.config.JSON:
		c.event(&exitedEvent{c.head("exited"), p.ids(), status})
	case status == "":
		p.line("The process has exited.")
	default:
		p.line("The process has exited: " + oneLine(status) + ".")
	}
}

// Error prints an error about the process.
func (p *ProcessConsole) Error(err error) { p.console.message("error", p.process, err.Error()) }

// Warning prints a warning about the process.
func (p *ProcessConsole) Warning(text string) { p.console.message("warning", p.process, text) }

func (p *ProcessConsole) ids() eventProcess { return eventProcess{p.process.PID, p.process.Name} }

func (p *ProcessConsole) line(text string) {
	p.console.print(p.console.config.Out, p.console.stamp()+p.prefix+text+"\n")
}

// DumpConsole prints the course of one dump file.
type DumpConsole struct {
	*ProcessConsole
	number int
	job    job // of the progress bar

	// what Initiated was told
	path       string
	kind       dumpkind.Kind
	format     capture.Format
	compressed bool
}

// Dump returns the console of a dump of the process. Number counts from 1;
// several kinds that one trigger writes have the same number.
func (p *ProcessConsole) Dump(number int) *DumpConsole {
	return &DumpConsole{ProcessConsole: p, number: number}
}

// Space prints the free space of the folder that the dump goes to.
func (d *DumpConsole) Space(folder string, available int64) {
	c := d.console
	if c.config.JSON {
		c.event(&spaceEvent{c.head("space"), d.ids(), d.number, folder, available})
		return
	}
	d.dumpLine("info: Available space: %d", available)
}

// Initiated prints that the dump is about to be taken. From now on its time counts.
func (d *DumpConsole) Initiated(path string, kind dumpkind.Kind, format capture.Format, compressed bool) {
	d.path, d.kind, d.format, d.compressed = path, kind, format, compressed
	c := d.console
	c.startJob(&d.job)
	if c.config.JSON {
		c.event(&initiatedEvent{c.head("initiated"), d.ids(), d.number, path, kind.String(), format.String(), compressed})
		return
	}
	d.dumpLine("initiated: %s", oneLine(path))
}

// Estimate prints how large the dump will be about.
func (d *DumpConsole) Estimate(bytes int64) {
	c := d.console
	if c.config.JSON {
		c.event(&estimateEvent{c.head("estimate"), d.ids(), d.number, d.path, bytes})
		return
	}
	d.dumpLine("writing: Estimated dump file size is %d MB.", megabytes(bytes))
}

// Progress tells how much is done. It may be called as often as one likes:
// it prints nothing within the first second of a dump, and then ten times a
// second at most (JSON: once).
func (d *DumpConsole) Progress(done, total int64) {
	d.console.progress(d, done, total)
}

// Result is what there is to say of a complete dump.
type Result struct {
	Path      string // as it was finally named
	Size      int64  // apparent size, bytes
	DiskBytes int64  // occupied, -1 if unknown
	Elapsed   time.Duration
	Pause     time.Duration // of the target, -1 if unknown
	Method    string        // "stop-and-copy"
	Rounds    int           // how often memory was copied before the stop
	Source    string        // path of the dump that it was made of, "" if of a process

	KernelPath string // file with the kernel stacks, "" if there is none
	// KernelDumpPath is the small kernel dump of the process, "" if there is none.
	KernelDumpPath string
	Warnings       []string // what the dump lacks
}

// Complete prints the dump's end: its size, its time, how long the target
// stood still, and how to open it.
func (d *DumpConsole) Complete(r Result) {
	c := d.console
	c.endJob(&d.job)
	open := openCommands(r.Path, d.process.Exe, d.format, d.compressed)
	if c.config.JSON {
		c.event(&completeEvent{c.head("complete"), d.ids(), d.number, r.Path, d.kind.String(), d.format.String(), d.compressed,
			r.Size, r.DiskBytes, r.Elapsed.Microseconds(), pauseMicros(r.Pause), r.Method, r.Rounds, r.KernelPath, r.KernelDumpPath, open})
	} else {
		c.print(c.config.Out, d.head()+fmt.Sprintf("complete: %d MB written in %.1f seconds\n", megabytes(r.Size), r.Elapsed.Seconds())+
			summary(r, open[0]))
	}
	for _, w := range r.Warnings {
		d.Warning(w)
	}
}

// Reported prints what -inspect found, and where it is.
func (d *DumpConsole) Reported(r Report) {
	c := d.console
	if c.config.JSON {
		c.event(&reportEvent{c.head("report"), d.ids(), d.number, r.Dump, r.Reason, r.Text, r.HTML})
		return
	}
	var b closing
	b.row("report", oneLine(r.Text), oneLine(r.HTML))
	c.print(c.config.Out, d.head()+"report: "+oneLine(r.Reason)+"\n"+b.String())
}

// Failed prints that the dump failed. That no file of it is left, and that
// the process goes on, is for err to say.
func (d *DumpConsole) Failed(err error) {
	c := d.console
	c.endJob(&d.job)
	if c.config.JSON {
		c.event(&failedEvent{c.head("failed"), d.ids(), d.number, d.path, err.Error()})
		return
	}
	c.print(c.config.Err, d.head()+"error: "+printable(err.Error())+"\n")
}

func (d *DumpConsole) head() string {
	return fmt.Sprintf("%s%sDump %d ", d.console.stamp(), d.prefix, d.number)
}

func (d *DumpConsole) dumpLine(format string, args ...any) {
	d.console.print(d.console.config.Out, d.head()+fmt.Sprintf(format, args...)+"\n")
}

func pauseMicros(d time.Duration) int64 {
	if d < 0 {
		return -1
	}
	return d.Microseconds()
}

// closing are the lines that end the course of a dump.
type closing struct{ strings.Builder }

// row adds a value and its name, or several, which stand below each other.
func (c *closing) row(name string, values ...string) {
	for _, v := range values {
		fmt.Fprintf(c, "  %-8s %s\n", name, v)
		name = ""
	}
}

// summary is the closing lines of a dump.
func summary(r Result, open string) string {
	var b closing
	b.row("file", oneLine(r.Path))
	if r.KernelPath != "" {
		b.row("kernel", oneLine(r.KernelPath))
		if r.KernelDumpPath != "" {
			b.row("", oneLine(r.KernelDumpPath))
		}
	}
	size := sizeText(r.Size)
	if r.DiskBytes >= 0 {
		size += ", " + sizeText(r.DiskBytes) + " on disk"
	}
	b.row("size", size)
	b.row("time", fmt.Sprintf("%.2f s", r.Elapsed.Seconds()))
	paused := pauseText(r.Pause)
	switch {
	case r.Rounds > 0:
		paused += fmt.Sprintf(" (pre-copied, %d rounds)", r.Rounds)
	case r.Method != "":
		paused += " (" + oneLine(r.Method) + ")"
	}
	if r.Source == "" {
		b.row("paused", paused)
	} else {
		b.row("from", oneLine(r.Source))
	}
	b.row("open", open)
	return b.String()
}

// openCommands are the shell commands that open a dump, the best one first.
func openCommands(path, exe string, format capture.Format, compressed bool) []string {
	unpack := ""
	if plain, ok := strings.CutSuffix(path, ".zst"); ok && compressed {
		unpack = "zstd -d " + shellQuote(path) + " && "
		path = plain
	}
	dump := shellQuote(path)
	if format == capture.FormatMinidump {
		return []string{unpack + "lldb -c " + dump, unpack + "minidump_stackwalk " + dump}
	}
	if exe == "" {
		return []string{unpack + "gdb -c " + dump, unpack + "lldb -c " + dump}
	}
	return []string{unpack + "gdb " + shellQuote(exe) + " " + dump, unpack + "lldb " + shellQuote(exe) + " -c " + dump}
}
