package cli

import (
	"fmt"
	"strings"
)

// convertSwitches are those of the verb convert, in the order of the help.
var convertSwitches = append([]verbSwitch[kernelOptions]{kindSwitch("what the new dump holds (default: all that IN has)")}, outputSwitches...)

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
	switchLines(&b, convertSwitches)
	helpParagraphs(&b, convertParagraphs)
	exampleLines(&b, convertExamples)
	return b.String()
}

// convert adds the section on converting kernel dumps.
func (m *manPage) convert() {
	m.paragraphs("CONVERTING KERNEL DUMPS", convertParagraphs)
	manSwitches(m, convertVerb, convertSwitches)
	m.terms(convertExamples)
}
