package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"procdump/internal/sys/fsys"
	"procdump/kdump/diskdump"
	"procdump/kernel/capture"
	"procdump/kernel/dumped"
	"procdump/kernel/live"
)

// convertVerb makes a dump of another kind or format of a dump.
const convertVerb = "convert"

// kindUnchanged is what the console says of a dump that is to hold what its
// source does.
const kindUnchanged = "unchanged"

// convertOptions is a command line of the verb convert.
type convertOptions struct {
	kernelOptions
	In    string
	AsIs  bool // no kind was given
	Small bool
}

// convertMain runs procdump convert with the arguments after the verb.
func convertMain(args []string, out, errOut *os.File) int {
	o, err := parseConvert(args)
	if err != nil {
		fmt.Fprintf(errOut, "procdump: %v\nprocdump convert -? explains all switches.\n", err)
		return ExitUsage
	}
	if o.Action == ActionHelp {
		return printText(out, convertHelp())
	}
	ctx, stop := untilSignal()
	defer stop()
	lines := out
	if o.Path == "-" {
		lines = errOut // the dump has standard output for itself
	}
	console := NewConsole(ConsoleConfig{Out: lines, Err: errOut, JSON: o.JSON, Width: func() int { return fsys.TerminalWidth(errOut) }})
	defer console.Close()
	if o.JSON {
		console.Start(append([]string{"procdump", convertVerb}, args...))
	} else {
		console.print(lines, "procdump "+Version+" - converts kernel dumps\n\n")
	}
	code, dumps := ExitOK, 1
	if err := convertKernel(ctx, o, console, out); err != nil {
		code, dumps = kernelExit(err), 0
		if !errors.Is(err, errReported) {
			console.Error(err)
		}
	}
	console.End(dumps == 1, dumps, code)
	return code
}

// convertKernel converts a dump of a kernel, to stdout if the path is "-".
func convertKernel(ctx context.Context, o *convertOptions, console *Console, stdout *os.File) error {
	job, err := o.job(stdout)
	if err != nil {
		return err
	}
	in, d, err := openKernelFile(o.In)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := notItself(in, o, job.Name, d.Time); err != nil {
		return err
	}
	if isSmall(d) && !o.AsIs && !o.Small {
		return fmt.Errorf("convert %s to kind %v: it is a small dump and has little memory; it can give no other kind", o.In, o.Kind)
	}
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(kernelHeap + int64(d.MaxPFN())/2)
	src := dumped.Open(d, dumped.Options{NoTypes: o.Kind != capture.Active})
	if o.Small {
		return convertSmall(o, job, src, console)
	}
	if job.Format == capture.ELF {
		_, _ = src.Kernel() // adds the direct map, if it can be found
	}
	c := newKernelConsole(console, &o.kernelOptions, job.Format)
	if o.AsIs {
		c.kind = kindUnchanged
	}
	job.Progress = func(done, total uint64) { c.Progress(int64(done), int64(total)) }
	j := capture.NewJob(src, job)
	defer j.Discard()
	err = j.Prepare(ctx)
	c.Source(src.Dump(), live.Guests{VMs: len(src.VMs), Pages: src.GuestPages}, src.Warnings())
	if err != nil {
		return err
	}
	start := time.Now()
	c.Initiated(j)
	res, err := j.Run(ctx)
	if err != nil {
		c.Failed(err)
		return fmt.Errorf("%w: %w", errReported, err)
	}
	c.Complete(j, res, time.Since(start))
	return nil
}

// job is what is to be written and where.
func (o *convertOptions) job(stdout *os.File) (capture.Options, error) {
	job := capture.Options{Kind: o.Kind, Format: o.Format, Compression: o.Compression, Overwrite: o.Overwrite, AsIs: o.AsIs}
	if o.Path == "-" {
		if fsys.TerminalWidth(stdout) > 0 {
			return job, usagef("", "redirect it, or name a file", "a dump is nothing to show on a terminal")
		}
		job.Stream = stdout
		return job, nil
	}
	name, err := capture.ParseName(o.Path, o.Format)
	if err != nil {
		return job, err
	}
	job.Name, job.Format = name, name.Format()
	return job, nil
}

// notItself refuses to replace a dump by what is made of it.
func notItself(in *os.File, o *convertOptions, name capture.Name, at time.Time) error {
	a, err := in.Stat()
	if err != nil || o.Path == "-" {
		return err
	}
	for _, path := range []string{name.Path(at), o.Path} {
		if b, err := os.Stat(path); err == nil && os.SameFile(a, b) {
			return usagef("", "name another file", "%s is to be converted into itself", o.In)
		}
	}
	return nil
}

// parseConvert reads a command line without the program's name and the verb.
// Its error is a *UsageError.
func parseConvert(args []string) (*convertOptions, error) {
	o := &convertOptions{AsIs: true}
	o.Compression = diskdump.Zstd
	given, paths := map[string]bool{}, []string(nil)
	for only := false; len(args) > 0; {
		arg := args[0]
		args = args[1:]
		if arg == "--" && !only {
			only = true
			continue
		}
		s, isSwitch := classifyConvert(arg)
		if only || !isSwitch {
			paths = append(paths, arg)
			continue
		}
		if s == nil {
			return nil, usagef(arg, "procdump convert -? lists the switches", "unknown switch")
		}
		name, value := "-"+s.name, ""
		switch {
		case s.value != "" && given[s.name]:
			return nil, usagef(name, "give it once", "given twice")
		case s.value != "" && len(args) == 0:
			return nil, usagef(name, "type "+name+" "+s.value, "missing %s", s.value)
		case s.value != "":
			value, args = args[0], args[1:]
		}
		given[s.name] = true
		if err := s.set(o, value); err != nil {
			var usage *UsageError
			if errors.As(err, &usage) {
				return nil, usage
			}
			return nil, usagef(name, "", "%v", err)
		}
		if o.Action == ActionHelp {
			return o, nil
		}
	}
	return o, o.takeConvert(paths, given)
}

// takeConvert checks the whole and takes the paths.
func (o *convertOptions) takeConvert(paths []string, given map[string]bool) error {
	const form = "type procdump convert IN OUT"
	switch {
	case len(paths) < 2:
		return usagef("", form, "give the dump to convert, and where the other one goes")
	case len(paths) > 2:
		return usagef("", form+"; quote a name that has spaces", "%q is one word too many", paths[2])
	case paths[0] == "-":
		return usagef("", "put it into a file first", "a dump cannot be read from standard input: its parts are needed in no order")
	case paths[0] == "" || paths[1] == "":
		return usagef("", form, "a path is empty")
	}
	o.In = paths[0]
	if o.Small {
		if given["z"] && o.Compression != diskdump.Stored || given["format"] && o.Format != capture.ELF {
			return usagef("-type", "leave out -format and -z", "a small dump is ELF and not compressed")
		}
		o.Format = capture.ELF
		delete(given, "z")
	}
	// The other rules are those of a dump of the running kernel.
	return o.take(paths[1:], given)
}

// classifyConvert tells whether arg has the form of a switch, and which one it
// is: nil if there is none of that name.
func classifyConvert(arg string) (s *convertSwitch, isSwitch bool) {
	if len(arg) < 2 || arg[0] != '-' && arg[0] != '/' {
		return nil, false
	}
	name := strings.ToLower(arg[1:])
	if strings.HasPrefix(arg, "--") {
		name = strings.ToLower(arg[2:])
	}
	for i := range convertSwitches {
		if k := &convertSwitches[i]; name == k.name || k.also != "" && name == k.also {
			return k, true
		}
	}
	return nil, arg[0] == '-'
}
