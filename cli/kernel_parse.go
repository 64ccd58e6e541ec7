package cli

import (
	"strconv"
	"strings"

	"procdump/kdump/diskdump"
	"procdump/kernel/capture"
)

// kernelVerb is the first word of a command line that is about the kernel.
const kernelVerb = "kernel"

// kernelOptions is a command line of the verb kernel.
type kernelOptions struct {
	Help        bool
	JSON        bool
	Kind        capture.Kind
	Format      capture.Format
	Compression diskdump.Compression
	Overwrite   bool
	Small       bool   // the kind small, in place of Kind
	PID         int    // of -pid, 0 if not given
	Path        string // file or folder, "" if not given, "-" for standard output
}

// kernelSwitches are those of the verb kernel, in the order of the help.
var kernelSwitches = append([]verbSwitch[kernelOptions]{
	kindSwitch("which memory the dump holds, see above (default: automatic)"),
	{name: "pid", value: "PID", help: "with -type small: the process whose kernel side is dumped", set: setKernelPID},
}, outputSwitches...)

// kindSwitch is the switch that chooses the kind of a dump.
func kindSwitch(help string) verbSwitch[kernelOptions] {
	return verbSwitch[kernelOptions]{name: "type", value: "KIND", help: help,
		set: func(o *kernelOptions, v string) (err error) {
			if o.Small = strings.EqualFold(v, kindSmall); o.Small {
				return nil
			}
			if o.Kind, err = capture.ParseKind(v); err != nil {
				return usagef("-type", "choose complete, kernel, automatic, active or small", "unknown kind %q", v)
			}
			return nil
		}}
}

// outputSwitches say how a dump is written.
var outputSwitches = []verbSwitch[kernelOptions]{
	{name: "format", value: "FORMAT", help: "kdump (default, for crash and drgn) or elf (for gdb, too)",
		set: func(o *kernelOptions, v string) (err error) { o.Format, err = capture.ParseFormat(v); return err }},
	{name: "z", value: "METHOD", help: "how kdump is compressed: zstd (default), snappy, zlib, none",
		set: func(o *kernelOptions, v string) (err error) {
			o.Compression, err = diskdump.ParseCompression(strings.ToLower(v))
			return err
		}},
	{name: "o", help: "overwrite an existing file", set: func(o *kernelOptions, _ string) error { o.Overwrite = true; return nil }},
	{name: "json", help: "print one JSON object per event instead of lines",
		set: func(o *kernelOptions, _ string) error { o.JSON = true; return nil }},
	verbHelp[kernelOptions](),
}

// parseKernel reads a command line without the program's name and the verb. Its
// error is a *UsageError.
func parseKernel(args []string) (*kernelOptions, error) {
	o := &kernelOptions{Compression: diskdump.Zstd}
	line, err := parseVerb(kernelVerb, kernelSwitches, args, o)
	if err != nil {
		return nil, err
	}
	if line.help() {
		return &kernelOptions{Help: true}, nil
	}
	return o, o.take(line)
}

// take checks the whole and takes the path. It returns a *UsageError or nil.
func (o *kernelOptions) take(line verbLine) error {
	if len(line.words) > 1 {
		return usagef("", "give at most one file or folder; quote a name that has spaces", "%q is one word too many", line.words[1])
	}
	if len(line.words) == 1 {
		o.Path = line.words[0]
		for _, v := range kernelVerbs() {
			if o.Path == v.word {
				return usagef("", "a file of that name is ./"+v.word, "%s is a verb, which stands first: procdump kernel %s", v.word, v.word)
			}
		}
	}
	if !o.Small && o.PID != 0 {
		return usagef("-pid", "add -type small", "only a small dump is about one process")
	}
	return o.takeOutput(line)
}

// takeOutput checks what is to be written, and where.
func (o *kernelOptions) takeOutput(line verbLine) error {
	switch {
	case o.Path == "" && len(line.words) > 0:
		return usagef("", "give a file, a folder or nothing", "the dump path is empty")
	case o.Path == "-" && o.Overwrite:
		return usagef("-o", "leave it out", "standard output is no file to overwrite")
	case o.Small && line.given["z"] && o.Compression != diskdump.Stored:
		return usagef("-z", "leave it out", "a small dump is not compressed")
	case o.Small && line.given["format"] && o.Format != capture.ELF:
		return usagef("-format", "leave it out", "a small dump is ELF")
	case o.Small:
		o.Format = capture.ELF
		return nil
	case !line.given["z"] || o.Compression == diskdump.Stored:
		return nil
	}
	name, err := capture.ParseName(o.Path, o.Format)
	if o.Path == "-" && o.Format == capture.ELF || o.Path != "-" && err == nil && name.Format() == capture.ELF {
		return usagef("-z", "take -format kdump, or -z none", "an ELF dump is not compressed")
	}
	return nil
}

func setKernelPID(o *kernelOptions, value string) error {
	n, err := strconv.Atoi(value)
	if err != nil || n <= 0 {
		return usagef("-pid", "give the number of a process", "%q is not one", value)
	}
	o.PID = n
	return nil
}
