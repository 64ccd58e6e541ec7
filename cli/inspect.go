package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"procdump/inspect/kernel"
	"procdump/internal/sys/fsys"
	"procdump/kdump"
	render "procdump/render/kernel"
)

// inspectVerb explains a dump.
const inspectVerb = "inspect"

// inspectOptions is a command line of the verb inspect.
type inspectOptions struct {
	Help      bool
	JSON      bool
	Overwrite bool
	In, Out   string // Out is "" for standard output
}

// inspectHeap is the size of the Go heap, in bytes, that inspect may use before
// it collects garbage: symbols and types of a kernel take some 25 MiB.
const inspectHeap = 64 << 20

var inspectSynopsis = "procdump inspect [-json] [-o] DUMP [OUT]"

var inspectSwitches = []verbSwitch[inspectOptions]{
	{name: "json", help: "write one JSON object instead of text", set: func(o *inspectOptions, _ string) error { o.JSON = true; return nil }},
	{name: "o", help: "overwrite OUT if it is there", set: func(o *inspectOptions, _ string) error { o.Overwrite = true; return nil }},
	verbHelp[inspectOptions](),
}

var inspectParagraphs = []string{
	"procdump inspect says what a dump of a kernel tells: why the machine crashed, in a sentence, and the evidence: the stacks of " +
		"processors and tasks, modules, what memory was used for, and the end of the log. It needs no debug symbols. DUMP is of Linux " +
		"(kdump-compressed, ELF, flattened, LiME, AVML; /proc/vmcore) or of Windows (MEMORY.DMP and small dumps). OUT is a file; " +
		"without it the report goes to standard output. Dumps of processes cannot be inspected yet.",
	"Functions of a stack that are marked with ? are guesses: they are addresses on the stack that may be left from earlier calls.",
}

var inspectExamples = []term{
	{"procdump inspect vmcore.kdump", "what happened"},
	{"procdump inspect -json MEMORY.DMP | jq -r .reason", "the sentence alone"},
}

// inspectHelp returns the text of procdump inspect -?.
func inspectHelp() string {
	var b strings.Builder
	fmt.Fprintf(&b, "procdump %s - says what a kernel dump tells\n\nUsage: %s\n\nSwitches\n", Version, inspectSynopsis)
	switchLines(&b, inspectSwitches)
	helpParagraphs(&b, inspectParagraphs)
	exampleLines(&b, inspectExamples)
	return b.String()
}

// inspect adds the section on what a dump tells.
func (m *manPage) inspect() {
	m.paragraphs("INSPECTING DUMPS", inspectParagraphs)
	manSwitches(m, inspectVerb, inspectSwitches)
	m.terms(inspectExamples)
}

// parseInspect reads a command line without the program's name and the verb.
// Its error is a *UsageError.
func parseInspect(args []string) (*inspectOptions, error) {
	o := &inspectOptions{}
	line, err := parseVerb(inspectVerb, inspectSwitches, args, o)
	if err != nil {
		return nil, err
	}
	if line.help() {
		return &inspectOptions{Help: true}, nil
	}
	files := line.words
	switch len(files) {
	case 0:
		return nil, usagef("", "name the file", "no dump is given")
	case 1, 2:
		o.In = files[0]
		if len(files) == 2 {
			o.Out = files[1]
		}
	default:
		return nil, usagef("", "name one dump and, perhaps, a file for the report", "%q is one word too many", files[2])
	}
	if slices.Contains(files, "") {
		return nil, usagef("", "name the file", "a path is empty")
	}
	if o.In == "-" {
		return nil, usagef("", "put it into a file first", "a dump cannot be read from standard input: its parts are needed in no order")
	}
	return o, nil
}

// inspectMain runs procdump inspect with the arguments after the verb.
func inspectMain(args []string, out, errOut *os.File) int {
	o, err := parseInspect(args)
	if err != nil {
		return verbUsage(inspectVerb, err, errOut)
	}
	if o.Help {
		return printText(out, inspectHelp())
	}
	debug.SetMemoryLimit(inspectHeap)
	if err := inspectFile(o, out); err != nil {
		fmt.Fprintf(errOut, "procdump: %v\n", err)
		return kernelExit(err)
	}
	return ExitOK
}

func inspectFile(o *inspectOptions, stdout *os.File) error {
	f, err := openSeekable(o.In)
	if errors.Is(err, errNoFile) {
		return fmt.Errorf("inspect %s: %w: name a dump", o.In, err)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd) // of a block device, too
	if err != nil {
		return err
	}
	report, err := kernel.Open(f, size)
	switch {
	case errors.Is(err, kernel.ErrProcess):
		return fmt.Errorf("inspect %s: %w; inspecting process dumps is not available yet: gdb, lldb or WinDbg open them", o.In, err)
	case errors.Is(err, kdump.ErrFormat):
		head := make([]byte, 16)
		n, _ := f.ReadAt(head, 0)
		if problem := compressedWhole(head[:n]); problem != "" {
			return fmt.Errorf("inspect %s: %s", o.In, problem)
		}
		return fmt.Errorf("inspect %s: it is not a dump of a kernel: %w", o.In, err)
	case err != nil:
		return fmt.Errorf("inspect %s: %w", o.In, err)
	}
	write := render.Text
	if o.JSON {
		write = render.JSON
	}
	if o.Out == "" || o.Out == "-" {
		w := bufio.NewWriter(stdout)
		if err := write(w, report); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
		return w.Flush()
	}
	return writeReport(o, func(w io.Writer) error { return write(w, report) })
}

// replaceable refuses to put the report in the place of the dump, or of what is
// no file: a device, for instance.
func replaceable(o *inspectOptions) error {
	out, err := os.Stat(o.Out)
	if err != nil {
		return nil // there is none, or what is to be written to it says why
	}
	if !out.Mode().IsRegular() {
		return fmt.Errorf("write report: %s is no regular file: name another, or redirect standard output to it", o.Out)
	}
	if in, err := os.Stat(o.In); err == nil && os.SameFile(in, out) {
		return usagef("", "name another file for the report", "%s is the dump itself", o.Out)
	}
	return nil
}

// writeReport writes a file that is there whole or not at all, and readable by
// its owner only: a kernel's log and names of processes are in it.
func writeReport(o *inspectOptions, write func(io.Writer) error) error {
	if err := replaceable(o); err != nil {
		return err
	}
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	flags := fsys.Durable
	if o.Overwrite {
		flags |= fsys.Overwrite
	}
	err := fsys.WriteFile(o.Out, b.Bytes(), 0o600, flags)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("write report: %s is there already: give another name, or -o to overwrite it", o.Out)
	}
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
