package cli

import (
	"fmt"
	"slices"
	"strings"
)

// convertSwitches are those of the verb convert, in the order of the help.
var convertSwitches = slices.Concat(
	processKinds("mm", "mt", "mp", "mpx", "ma", "mc", "dontdump"),
	[]verbSwitch[convertOptions]{
		ofKernels(kindSwitch("what the dump of a kernel holds: complete, active, kernel, small")),
		{name: "format", value: "FORMAT", help: "elf; of a process also minidump, of a kernel also kdump", set: setConvertFormat},
		{name: "z", value: "METHOD", help: "zstd, none; of a kernel (kdump) also snappy, zlib", set: ofKernels(outputSwitch("z")).set},
	},
	[]verbSwitch[convertOptions]{ofKernels(outputSwitch("o")), ofKernels(outputSwitch("json")), verbHelp[convertOptions]()},
)

// outputSwitch is one that the verb kernel has, too.
func outputSwitch(name string) verbSwitch[kernelOptions] {
	return outputSwitches[slices.IndexFunc(outputSwitches, func(s verbSwitch[kernelOptions]) bool { return s.name == name })]
}

// ofKernels makes a switch of the verb kernel one of convert.
func ofKernels(s verbSwitch[kernelOptions]) verbSwitch[convertOptions] {
	return verbSwitch[convertOptions]{name: s.name, also: s.also, value: s.value, help: s.help,
		set: func(o *convertOptions, v string) error { return s.set(&o.kernelOptions, v) }}
}

// processKinds makes switches of dumps of processes ones of convert: they mean
// the same.
func processKinds(names ...string) []verbSwitch[convertOptions] {
	var out []verbSwitch[convertOptions]
	for _, name := range names {
		s := &switches[slices.IndexFunc(switches, func(s spec) bool { return s.name == name })]
		out = append(out, verbSwitch[convertOptions]{name: s.name, value: strings.Join(s.values, " "), help: strings.Replace(s.help, " (default)", "", 1),
			set: func(o *convertOptions, v string) error {
				if err := s.set(&o.process, []string{v}); err != nil {
					return err
				}
				return nil
			}})
	}
	return out
}

func setConvertFormat(o *convertOptions, v string) error {
	if o.minidump = strings.EqualFold(v, "minidump"); o.minidump {
		return nil
	}
	if err := outputSwitch("format").set(&o.kernelOptions, v); err != nil {
		return usagef("-format", "choose elf, minidump (of a process) or kdump (of a kernel)", "unknown format %q", v)
	}
	return nil
}

var convertSynopsis = "procdump convert [KIND] [SWITCHES] IN OUT"

var convertParagraphs = []string{
	"procdump convert makes a dump of another kind, format or compression of a dump. IN is the dump of a process or of a Linux " +
		"kernel; OUT is a file, an existing folder or a path that ends in /.",
	"IN of a process is an ELF core of procdump, the kernel, gdb's gcore or systemd, or a minidump of procdump, Breakpad, Crashpad or lldb; compressed by " +
		"zstd or not. OUT has the format that its name says (.core, .dmp) or -format, else that of IN, and is compressed if its name ends in .zst. " +
		"Registers and memory stay what they are, and all else that the format or a note of procdump has room for; what is lost is said. Where only " +
		"the compression changes the dump itself stays the same, byte for byte. Without -mm and the like OUT holds all that IN does; these mean what they do for " +
		"a process that runs, as far as IN has the memory. -mp leaves out the pages that files of this machine still have.",
	"IN of a kernel is /proc/vmcore or a dump of any " +
		"tool: ELF, kdump-compressed, flattened, LiME or AVML, or a block device that a dump was written to. OUT may be - for standard output, to which " +
		"kdump goes in flattened form. Its format is kdump but for names that say otherwise.",
	"KIND of -type is one that IN has the memory for: complete gives all, active gives active, kernel and small, kernel gives kernel and " +
		"small. Pages whose use cannot be found out, because the dump is damaged, are kept. Registers and notes are kept.",
}

var convertExamples = []term{
	{"procdump convert app.core app.dmp", "a core for the readers of minidumps"},
	{"procdump convert -mm app.core.zst app_mini.core", "a small dump to send of a full one"},
	{"procdump convert app.core app.core.zst", "the same, compressed"},
	{"procdump convert -type kernel vmcore small.kdump", "the kernel's memory alone, compressed"},
	{"procdump convert -format elf vmcore.kdump vmcore.elf", "the same for gdb"},
	{"procdump convert memory.lime memory.kdump", "an image of memory for crash and drgn"},
}

// convertHelp returns the text of procdump convert -?.
func convertHelp() string {
	var b strings.Builder
	fmt.Fprintf(&b, "procdump %s - converts dumps\n\n", Version)
	b.WriteString("Usage: " + convertSynopsis + "\n\nSwitches\n")
	switchLines(&b, convertSwitches)
	helpParagraphs(&b, convertParagraphs)
	exampleLines(&b, convertExamples)
	return b.String()
}

// convert adds the section on converting dumps.
func (m *manPage) convert() {
	m.paragraphs("CONVERTING DUMPS", convertParagraphs)
	manSwitches(m, convertVerb, convertSwitches)
	m.terms(convertExamples)
}
