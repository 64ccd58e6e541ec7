package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
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
	Redact    bool
	Overwrite bool
	In        string
	Out       string   // of text or JSON; "": standard output, if HTML is "" or JSON is asked for
	HTML      string   // file of the report as HTML; "" if there is to be none
	SysRoot   string   // folder of another machine's root; "": this machine
	SymPath   []string // folders of Breakpad's symbol files
}

// inspectHeap is the size of the Go heap, in bytes, that inspect may use before
// it collects garbage: symbols and types of a kernel take some 25 MiB.
const inspectHeap = 64 << 20

var inspectSynopsis = "procdump inspect [SWITCHES] DUMP|PID [OUT] [OUT.html]"

var inspectSwitches = []verbSwitch[inspectOptions]{
	{name: "json", help: "write one JSON object instead of text", set: func(o *inspectOptions, _ string) error { o.JSON = true; return nil }},
	{name: "redact", help: "hide the values of the environment and of arguments", set: func(o *inspectOptions, _ string) error { o.Redact = true; return nil }},
	{name: "o", help: "overwrite OUT if it is there", set: func(o *inspectOptions, _ string) error { o.Overwrite = true; return nil }},
	{name: "sysroot", value: "DIR", help: "read programs from DIR, a copy of another machine's root",
		set: func(o *inspectOptions, dir string) (err error) { o.SysRoot, err = folder(dir); return err }},
	{name: "sympath", value: "DIR", help: "look for Breakpad's symbol files in DIR, or in DIR:DIR", set: (*inspectOptions).setSymPath},
	verbHelp[inspectOptions](),
}

func (o *inspectOptions) setSymPath(list string) error {
	for _, dir := range filepath.SplitList(list) {
		dir, err := folder(dir)
		if err != nil {
			return err
		}
		o.SymPath = append(o.SymPath, dir)
	}
	return nil
}

// folder is the whole path of a folder that is there.
func folder(dir string) (string, error) {
	st, err := os.Stat(dir)
	if err != nil {
		return "", fmt.Errorf("%w: name a folder", err)
	}
	if !st.IsDir() {
		return "", fmt.Errorf("%s is no folder: name one", dir)
	}
	return filepath.Abs(dir)
}

var inspectParagraphs = []string{
	"procdump inspect says what a dump tells: what happened, in a sentence, and the evidence. It needs neither a debugger nor debug " +
		"symbols, and takes what there are. OUT is a file; without it the report goes to standard output.",
	"OUT.html is the report on a process as one HTML file, for a browser: the stacks as a list to search and as a flame graph, a map of " +
		"memory, how watched values went up to the dump. It loads nothing from elsewhere. Beside it there may be text or JSON, too.",
	"DUMP is of a process: an ELF core of procdump, the kernel, gdb's gcore or systemd, or a minidump; compressed by zstd (procdump -z) or " +
		"not. The report has the stacks of all threads, those with equal stacks together and the one that crashed first, with functions, " +
		"lines and inlined functions of C, C++, Rust and Go as far as symbols and debug information are found, and with those of scripts " +
		"between them: Python, Node.js, Java, PHP, Ruby, Perl (amd64, dumps with the heap); what memory is used for, " +
		"what malloc has of it, and which block a program wrote beyond; images and open files. Stacks are those of amd64, i386 and arm64.",
	"PID is a process that runs: it is stopped for the milliseconds that its stacks take. A file of such a name is ./1234.",
	"What a dump does not hold of programs and libraries is read from their files, if these are the ones that were mapped (by build id), and " +
		"from debug information in /usr/lib/debug, beside the file (.gnu_debuglink) or in it (.gnu_debugdata). For a dump of another machine, " +
		"-sysroot names a copy of its root folder, whose files are read in place of this machine's. What is still missing is fetched by build " +
		"id from the debuginfod servers in DEBUGINFOD_URLS, if that is set, never while a process stands still. -sympath names folders of " +
		"Breakpad's symbol files, as NAME/ID/NAME.sym or NAME.sym.",
	"DUMP is of a kernel: of Linux (kdump-compressed, ELF, flattened, LiME, AVML; /proc/vmcore) or of Windows (MEMORY.DMP and small " +
		"dumps). The report says why the machine crashed and has the stacks of processors and tasks, modules, what memory was used for, and " +
		"the end of the log. -redact, -sysroot and -sympath are for processes only.",
	"Functions of a stack that are marked with ? are guesses: they are addresses on the stack that may be left from earlier calls.",
}

var inspectExamples = []term{
	{"procdump inspect app.core", "what happened to a process"},
	{"procdump inspect 1234", "what a process is doing"},
	{"procdump inspect vmcore.kdump", "what happened to a machine"},
	{"procdump inspect app.core -o report.html", "the same for a browser"},
	{"procdump inspect -sysroot /mnt/app-image app.core", "a dump of another machine or container"},
	{"procdump inspect -json MEMORY.DMP | jq -r .reason", "the sentence alone"},
}

// inspectHelp returns the text of procdump inspect -?.
func inspectHelp() string {
	var b strings.Builder
	fmt.Fprintf(&b, "procdump %s - says what a dump or a process tells\n\nUsage: %s\n\nSwitches\n", Version, inspectSynopsis)
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
	var files []string
	for _, word := range line.words {
		switch {
		case word == "":
			return nil, usagef("", "name the file", "a path is empty")
		case !isHTML(word):
			files = append(files, word)
		case o.HTML != "":
			return nil, usagef("", "name one file that ends in .html", "%q is one word too many", word)
		default:
			o.HTML = word
		}
	}
	switch len(files) {
	case 0:
		return nil, usagef("", "name a file or a PID", "no dump is given")
	case 1, 2:
		o.In = files[0]
		if len(files) == 2 {
			o.Out = files[1]
		}
	default:
		return nil, usagef("", "name one dump and, perhaps, a file for the report", "%q is one word too many", files[2])
	}
	if o.In == "-" {
		return nil, usagef("", "put it into a file first", "a dump cannot be read from standard input: its parts are needed in no order")
	}
	return o, nil
}

// isHTML tells whether a file is to hold a report as HTML.
func isHTML(file string) bool {
	ext := strings.ToLower(filepath.Ext(file))
	return ext == ".html" || ext == ".htm"
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
		return exitCode(err)
	}
	return ExitOK
}

func inspectFile(o *inspectOptions, stdout *os.File) error {
	r, err := processReport(o)
	if err != nil {
		return fmt.Errorf("inspect %s: %w", o.In, err)
	}
	if r != nil {
		return putProcess(o, stdout, r)
	}
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
	case errors.Is(err, kdump.ErrFormat):
		head := make([]byte, 16)
		n, _ := f.ReadAt(head, 0)
		if problem := compressedWhole(head[:n]); problem != "" {
			return fmt.Errorf("inspect %s: %s", o.In, problem)
		}
		return fmt.Errorf("inspect %s: %w", o.In, unknownDump(head[:n], err, kernelFormats+"; of Windows: MEMORY.DMP or a small dump"))
	case err != nil:
		return fmt.Errorf("inspect %s: %w", o.In, err)
	}
	if err := o.ofKernel(); err != nil {
		return err
	}
	write := render.Text
	if o.JSON {
		write = render.JSON
	}
	return putReport(o, stdout, func(w io.Writer) error { return write(w, report) })
}

// ofKernel refuses what does nothing for the dump of a kernel.
func (o *inspectOptions) ofKernel() error {
	for _, s := range []struct {
		name  string
		given bool
	}{{"-redact", o.Redact}, {"-sysroot", o.SysRoot != ""}, {"-sympath", len(o.SymPath) > 0}} {
		if s.given {
			return usagef(s.name, "leave it out", "it is for processes, and %s is the dump of a kernel", o.In)
		}
	}
	if o.HTML != "" {
		return fmt.Errorf("inspect %s: it is the dump of a kernel, whose report is text or JSON: name an OUT that does not end in .html", o.In)
	}
	return nil
}

// putReport writes the report to where the command line wants it.
func putReport(o *inspectOptions, stdout *os.File, write func(io.Writer) error) error {
	if o.Out != "" && o.Out != "-" {
		return writeReport(o, o.Out, write)
	}
	w := bufio.NewWriter(stdout)
	if err := write(w); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return w.Flush()
}

// replaceable refuses to put the report in the place of the dump, or of what is
// no file: a device, for instance.
func replaceable(in, file string) error {
	out, err := os.Stat(file)
	if err != nil {
		return nil // there is none, or what is to be written to it says why
	}
	if !out.Mode().IsRegular() {
		return fmt.Errorf("write report: %s is no regular file: name another, or redirect standard output to it", file)
	}
	if dump, err := os.Stat(in); err == nil && os.SameFile(dump, out) {
		return usagef("", "name another file for the report", "%s is the dump itself", file)
	}
	return nil
}

// writeReport writes a file that is there whole or not at all, and readable by
// its owner only: a kernel's log and names of processes are in it.
func writeReport(o *inspectOptions, file string, write func(io.Writer) error) error {
	if err := replaceable(o.In, file); err != nil {
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
	err := fsys.WriteFile(file, b.Bytes(), 0o600, flags)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("write report: %s is there already: give another name, or -o to overwrite it", file)
	}
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
