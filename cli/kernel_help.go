package cli

import (
	"fmt"
	"strings"

	"procdump/kernel/capture"
)

var kernelSynopsis = "procdump kernel [-type KIND] [SWITCHES] [FILE|FOLDER|-]"

var kernelKinds = []term{
	{"complete", "all memory, that of processes included"},
	{"kernel", "what the kernel itself uses: no user memory, page cache or free pages"},
	{"automatic", "(default) what kernel holds"},
	{"small", "at most 64 KiB: kernel stacks and state of a process (-pid) or of what runs, modules, the end of the log"},
	{"active", "complete without free pages, page cache that is on disk, and the memory of virtual machines"},
}

var kernelParagraphs = []string{
	"procdump kernel dumps the memory of the running kernel for crash, drgn and gdb. It needs root, /proc/kcore, and " +
		"for all kinds but complete and small /proc/kpageflags.",
	"FILE is the dump's path, FOLDER an existing folder, or a path that ends in /; - is standard output, flattened if it is kdump " +
		"(crash opens it; makedumpfile -R makes a file of it). Without FILE the dump is " + capture.DefaultMask + ".kdump, or .elf if it is small. " +
		"YYMMDD and HHMMSS in a file name stand for the date and the time.",
	"The machine runs on while it is dumped, so that what changes meanwhile may not fit together. " +
		"Pages that come into use meanwhile are added, in format kdump.",
}

var kernelExamples = []term{
	{"procdump kernel", "the kernel's memory, put here"},
	{"procdump kernel -type active /var/crash/", "with user memory, into a folder"},
	{"procdump kernel -type complete -z snappy mem.kdump", "all memory, faster"},
	{"procdump kernel -type small -pid 4242", "what the kernel does for process 4242"},
	{"procdump kernel -format elf - | ssh HOST 'cat >k.elf'", "an ELF dump to another machine"},
}

// kernelHelp returns the text of procdump kernel -?.
func kernelHelp() string {
	var b strings.Builder
	fmt.Fprintf(&b, "procdump %s - writes dumps of the running kernel for crash, drgn and gdb\n\n", Version)
	b.WriteString("Usage: " + kernelSynopsis + "\n")
	b.WriteString("       " + configSynopsis + "\n")
	for _, s := range armSynopses {
		b.WriteString("       " + s + "\n")
	}
	b.WriteString("\nKIND\n")
	for _, k := range kernelKinds {
		text := wrap(strings.Repeat(" ", helpColumn)+k.meaning, helpColumn)
		b.WriteString("  " + k.name + text[2+len(k.name):])
	}
	b.WriteString("\nSwitches\n")
	switchLines(&b, kernelSwitches)
	helpParagraphs(&b, kernelParagraphs)
	helpParagraphs(&b, armParagraphs)
	helpParagraphs(&b, configParagraphs)
	exampleLines(&b, kernelExamples)
	return b.String()
}

// kernel adds the section on dumps of the kernel.
func (m *manPage) kernel() {
	m.paragraphs("KERNEL DUMPS", kernelParagraphs)
	m.line(".PP")
	m.text("KIND of -type is one of these:")
	m.terms(kernelKinds)
	manSwitches(m, kernelVerb, kernelSwitches)
	m.terms(kernelExamples)
	m.arm()
	m.config()
}
