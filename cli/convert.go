package cli

import (
	"context"
	"io"
	"os"
	"slices"
	"strings"

	"procdump/capture"
	"procdump/kdump/diskdump"
	kernelcapture "procdump/kernel/capture"
)

// convertVerb makes a dump of another kind or format of a dump.
const convertVerb = "convert"

// kindUnchanged is what the console says of a dump that is to hold what its
// source does.
const kindUnchanged = "unchanged"

// convertOptions is a command line of the verb convert.
type convertOptions struct {
	kernelOptions
	In   string
	AsIs bool // no kind was given

	process  Options // the kinds of dumps of processes
	minidump bool    // -format minidump
	line     verbLine
}

// convertMain runs procdump convert with the arguments after the verb.
func convertMain(args []string, out, errOut *os.File) int {
	o, err := parseConvert(args)
	if err != nil {
		return verbUsage(convertVerb, err, errOut)
	}
	if o.Help {
		return printText(out, convertHelp())
	}
	run := verbRun{verb: convertVerb, args: args, json: o.JSON, title: "converts dumps", dumps: 1, out: o.lines(out, errOut), errOut: errOut, exit: exitCode}
	return run.run(func(ctx context.Context, c *Console) error { return convertDump(ctx, o, c, out) })
}

// convertDump converts a dump of a process or of a kernel, whatever it is.
func convertDump(ctx context.Context, o *convertOptions, console *Console, stdout *os.File) error {
	src, err := openDump(o.In)
	if err != nil {
		return err
	}
	if src != nil {
		defer src.Close()
		return convertProcess(ctx, o, console, src)
	}
	if err := o.ofKernel(); err != nil {
		return err
	}
	return convertKernel(ctx, o, console, stdout)
}

// parseConvert reads a command line without the program's name and the verb.
// Its error is a *UsageError. What must hold for one sort of dumps only is
// checked by ofKernel and ofProcess.
func parseConvert(args []string) (*convertOptions, error) {
	o := &convertOptions{kernelOptions: kernelOptions{Compression: diskdump.Zstd}}
	line, err := parseVerb(convertVerb, convertSwitches, args, o)
	if err != nil {
		return nil, err
	}
	if line.help() {
		o.Help = true
		return o, nil
	}
	o.line, o.AsIs = line, !line.given["type"]
	const form = "type procdump convert IN OUT"
	paths := line.words
	switch {
	case len(paths) < 2:
		return nil, usagef("", form, "give the dump to convert, and where the other one goes")
	case len(paths) > 2:
		return nil, usagef("", form+"; quote a name that has spaces", "%q is one word too many", paths[2])
	case paths[0] == "-":
		return nil, usagef("", "put it into a file first", "a dump cannot be read from standard input: its parts are needed in no order")
	case paths[0] == "" || paths[1] == "":
		return nil, usagef("", form, "a path is empty")
	case len(o.process.Kinds) > 1:
		return nil, usagef("", "convert twice", "two kinds for one dump")
	case len(o.process.Kinds) > 0 && !o.AsIs:
		return nil, usagef("-type", "leave one out", "it is for dumps of kernels, and a kind for dumps of processes is given, too")
	}
	o.In, o.Path = paths[0], paths[1]
	return o, nil
}

// ofKernel checks what must hold where the dump is a kernel's.
func (o *convertOptions) ofKernel() error {
	switch {
	case len(o.process.Kinds) > 0:
		return usagef("", "-type chooses what a kernel's dump holds", "%s is no dump of a process, which kinds such as -mm are for", o.In)
	case o.process.DontDump:
		return usagef("-dontdump", "leave it out", "it is for processes, and %s is none's dump", o.In)
	case o.minidump:
		return usagef("-format", "take kdump or elf", "a minidump holds a process, and %s is none's dump", o.In)
	}
	return o.takeOutput(o.line)
}

// ofProcess checks what must hold where the dump is a process's, and returns the
// format and the compression of the new one.
func (o *convertOptions) ofProcess() (format capture.Format, compress bool, err error) {
	given := o.line.given
	switch {
	case given["type"]:
		return 0, false, usagef("-type", "take -mm, -mt, -mp, -ma or -mc", "%s is the dump of a process; kinds of -type are for dumps of kernels", o.In)
	case o.Path == "-":
		return 0, false, usagef("", "name a file", "a dump of a process cannot go to standard output: it is not written from beginning to end")
	case given["z"] && o.Compression != diskdump.Zstd && o.Compression != diskdump.Stored:
		return 0, false, usagef("-z", "take zstd or none", "a dump of a process is not compressed in this way")
	case given["z"] && o.Compression == diskdump.Stored && strings.HasSuffix(strings.ToLower(o.Path), ".zst"):
		return 0, false, usagef("-z", "leave it out, or name a file without .zst", "a file of such a name is compressed")
	case o.minidump:
		format = capture.FormatMinidump
	case given["format"] && o.Format != kernelcapture.ELF:
		return 0, false, usagef("-format", "take elf or minidump", "%s is the dump of a process", o.In)
	case given["format"]:
		format = capture.FormatELF
	}
	return format, given["z"] && o.Compression == diskdump.Zstd, nil
}

// notItself refuses to replace a dump by what is made of it.
func notItself(in *os.File, name string, paths ...string) error {
	a, err := in.Stat()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(paths, func(path string) bool {
		b, err := os.Stat(path)
		return err == nil && os.SameFile(a, b)
	}) {
		return usagef("", "name another file", "%s is to be converted into itself", name)
	}
	return nil
}

// openDump opens the dump of a process; nil: it is of something else.
func openDump(path string) (*processDump, error) {
	f, err := openDumpFile(path)
	if err != nil {
		return nil, err
	}
	size, err := f.Seek(0, io.SeekEnd) // of a block device, too
	if err != nil {
		f.Close()
		return nil, readError(path, err)
	}
	d, err := readDump(f, size)
	if d == nil || err != nil {
		f.Close()
		if err != nil {
			err = readError(path, err)
		}
		return nil, err
	}
	d.file, d.path = f, path
	return d, nil
}
