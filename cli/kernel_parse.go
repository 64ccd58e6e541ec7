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
	Action      Action // ActionDump or ActionHelp
	JSON        bool
	Kind        capture.Kind
	Format      capture.Format
	Compression diskdump.Compression
	Overwrite   bool
	Small       bool   // the kind small, in place of Kind
	PID         int    // of -pid, 0 if not given
	Path        string // file or folder, "" if not given, "-" for standard output
}

// kernelSwitch is a switch of the verb kernel.
type kernelSwitch struct {
	name, also string
	value      string // what follows it; "" if nothing does
	help       string // one line, no full stop
	later      bool   // not available yet
	set        func(o *kernelOptions, value string) error
}

// kernelSwitches are all of them, in the order of the help.
var kernelSwitches = []kernelSwitch{
	{name: "type", value: "KIND", help: "which memory the dump holds, see above (default: automatic)",
		set: func(o *kernelOptions, v string) (err error) {
			if strings.EqualFold(v, "small") {
				o.Small = true
				return nil
			}
			if o.Kind, err = capture.ParseKind(v); err != nil {
				return usagef("-type", "choose complete, kernel, automatic, active or small", "unknown kind %q", v)
			}
			return nil
		}},
	{name: "pid", value: "PID", help: "with -type small: the process whose kernel side is dumped", set: setKernelPID},
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
	{name: "?", also: "help", help: "print this help", set: func(o *kernelOptions, _ string) error { o.Action = ActionHelp; return nil }},
}

// parseKernel reads a command line without the program's name and the verb. Its
// error is a *UsageError. Switches are spelled as those of process dumps are.
func parseKernel(args []string) (*kernelOptions, error) {
	o := &kernelOptions{Compression: diskdump.Zstd}
	given, paths := map[string]bool{}, []string(nil)
	for only := false; len(args) > 0; {
		arg := args[0]
		args = args[1:]
		if arg == "--" && !only {
			only = true
			continue
		}
		s, isSwitch := classifyKernel(arg)
		if only || !isSwitch {
			paths = append(paths, arg)
			continue
		}
		if s == nil {
			return nil, usagef(arg, "procdump kernel -? lists the switches", "unknown switch")
		}
		name := "-" + s.name
		switch {
		case s.later:
			return nil, usagef(name, "procdump kernel -? lists what is", "not available yet")
		case s.value != "" && given[s.name]:
			return nil, usagef(name, "give it once", "given twice")
		case s.value != "" && len(args) == 0:
			return nil, usagef(name, "type "+name+" "+s.value, "missing %s", s.value)
		}
		given[s.name] = true
		value := ""
		if s.value != "" {
			value, args = args[0], args[1:]
		}
		if err := s.set(o, value); err != nil {
			if usage, ok := err.(*UsageError); ok {
				return nil, usage
			}
			return nil, usagef(name, "", "%v", err)
		}
		if o.Action == ActionHelp {
			return &kernelOptions{Action: ActionHelp}, nil
		}
	}
	return o, o.take(paths, given)
}

// take checks the whole and takes the path. It returns a *UsageError or nil.
func (o *kernelOptions) take(paths []string, given map[string]bool) error {
	if len(paths) > 1 {
		return usagef("", "give at most one file or folder; quote a name that has spaces", "%q is one word too many", paths[1])
	}
	if len(paths) == 1 {
		o.Path = paths[0]
		for _, v := range kernelVerbs() {
			if o.Path == v.word {
				return usagef("", "a file of that name is ./"+v.word, "%s is a verb, which stands first: procdump kernel %s", v.word, v.word)
			}
		}
		if o.Path == "" {
			return usagef("", "give a file, a folder or nothing", "the dump path is empty")
		}
	}
	if o.Path == "-" && o.Overwrite {
		return usagef("-o", "leave it out", "standard output is no file to overwrite")
	}
	if err := o.takeSmall(given); err != nil {
		return err
	}
	if !given["z"] || o.Compression == diskdump.Stored {
		return nil
	}
	name, err := capture.ParseName(o.Path, o.Format)
	if o.Path == "-" && o.Format == capture.ELF || o.Path != "-" && err == nil && name.Format() == capture.ELF {
		return usagef("-z", "take -format kdump, or -z none", "an ELF dump is not compressed")
	}
	return nil
}

// takeSmall checks what goes with the kind small, which is always ELF.
func (o *kernelOptions) takeSmall(given map[string]bool) error {
	switch {
	case !o.Small && o.PID != 0:
		return usagef("-pid", "add -type small", "only a small dump is about one process")
	case !o.Small:
		return nil
	case given["z"]:
		return usagef("-z", "leave it out", "a small dump is not compressed")
	case given["format"] && o.Format != capture.ELF:
		return usagef("-format", "leave it out", "a small dump is ELF")
	}
	o.Format = capture.ELF
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

// classifyKernel tells whether arg has the form of a switch, and which one it
// is: nil if there is none of that name.
func classifyKernel(arg string) (s *kernelSwitch, isSwitch bool) {
	if len(arg) < 2 || arg[0] != '-' && arg[0] != '/' {
		return nil, false
	}
	name := strings.ToLower(arg[1:])
	if strings.HasPrefix(arg, "--") {
		name = strings.ToLower(arg[2:])
	}
	for i := range kernelSwitches {
		if k := &kernelSwitches[i]; name == k.name || k.also != "" && name == k.also {
			return k, true
		}
	}
	return nil, arg[0] == '-'
}
