package cli

import (
	"fmt"
	"strings"

	"procdump/kdump/diskdump"
	"procdump/kernel/capture"
)

// convertSwitch is a switch of the verb convert.
type convertSwitch struct {
	name, also string
	value      string // what follows it; "" if nothing does
	help       string // one line, no full stop
	set        func(o *convertOptions, value string) error
}

// convertSwitches are all of them, in the order of the help.
var convertSwitches = []convertSwitch{
	{name: "type", value: "KIND", help: "what the new dump holds (default: all that IN has)",
		set: func(o *convertOptions, v string) (err error) {
			if o.AsIs = false; strings.EqualFold(v, kindSmall) {
				o.Small = true
				return nil
			}
			if o.Kind, err = capture.ParseKind(v); err != nil {
				return usagef("-type", "choose complete, kernel, automatic, active or small", "unknown kind %q", v)
			}
			return nil
		}},
	{name: "format", value: "FORMAT", help: "kdump (default, for crash and drgn) or elf (for gdb, too)",
		set: func(o *convertOptions, v string) (err error) { o.Format, err = capture.ParseFormat(v); return err }},
	{name: "z", value: "METHOD", help: "how kdump is compressed: zstd (default), snappy, zlib, none",
		set: func(o *convertOptions, v string) (err error) {
			o.Compression, err = diskdump.ParseCompression(strings.ToLower(v))
			return err
		}},
	{name: "o", help: "overwrite an existing file", set: func(o *convertOptions, _ string) error { o.Overwrite = true; return nil }},
	{name: "json", help: "print one JSON object per event instead of lines",
		set: func(o *convertOptions, _ string) error { o.JSON = true; return nil }},
	{name: "?", also: "help", help: "print this help", set: func(o *convertOptions, _ string) error { o.Action = ActionHelp; return nil }},
}

var convertSynopsis = "procdump convert [-type KIND] [SWITCHES] IN OUT"

var convertParagraphs = []string{
	"procdump convert makes a dump of another kind or format of a dump of a Linux kernel. IN is /proc/vmcore or a dump of any " +
		"tool: ELF, kdump-compressed, flattened, LiME or AVML, or a block device that a dump was written to. OUT is a file, " +
		"an existing folder or a path that ends in /, or - for standard output, to which kdump goes in flattened form.",
	"KIND is one that IN has the memory for: complete gives all, active gives active, kernel and small, kernel gives kernel and " +
		"small. Pages whose use cannot be found out, because the dump is damaged, are kept. Registers and notes are kept.",
}

var convertExamples = []term{
	{"procdump convert -type kernel vmcore small.kdump", "the kernel's memory alone, compressed"},
	{"procdump convert -format elf vmcore.kdump vmcore.elf", "the same for gdb"},
	{"procdump convert memory.lime memory.kdump", "an image of memory for crash and drgn"},
}

// convertHelp returns the text of procdump convert -?.
func convertHelp() string {
	var b strings.Builder
	fmt.Fprintf(&b, "procdump %s - converts kernel dumps\n\n", Version)
	b.WriteString("Usage: " + convertSynopsis + "\n\nSwitches\n")
	for i := range convertSwitches {
		s := &convertSwitches[i]
		helpLine(&b, strings.TrimSpace("-"+s.name+" "+s.value), s.help)
	}
	for _, p := range convertParagraphs {
		b.WriteString("\n" + wrap(p, 0))
	}
	b.WriteString("\nExamples\n")
	for _, e := range convertExamples {
		fmt.Fprintf(&b, "  %s\n      %s\n", e.name, e.meaning)
	}
	return b.String()
}

// convert adds the section on converting kernel dumps.
func (m *manPage) convert() {
	m.paragraphs("CONVERTING KERNEL DUMPS", convertParagraphs)
	m.line(".PP")
	m.text("The switches of procdump convert are these:")
	for i := range convertSwitches {
		s := &convertSwitches[i]
		m.line(".TP")
		m.line("%s", manUsage(&spec{name: s.name, values: strings.Fields(s.value)}))
		m.text(capital(s.help) + ".")
	}
	for _, e := range convertExamples {
		m.term(e.name, e.meaning+".")
	}
}
