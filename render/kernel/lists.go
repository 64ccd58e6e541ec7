package kernel

import (
	"fmt"
	"slices"
	"strings"

	"procdump/inspect/kernel"
)

const (
	maxModules  = 60 // that are named
	maxTainted  = 20
	maxUnloaded = 20
)

func letters(taints []kernel.Taint) string {
	var b strings.Builder
	for _, t := range taints {
		b.WriteString(t.Letter)
	}
	return b.String()
}

// modules writes the modules: those that taint the kernel, and what the others
// are called.
func (p *page) modules(r *kernel.Report) {
	if len(r.Modules) == 0 && len(r.Unloaded) == 0 {
		return
	}
	var plain, tainted []string
	for _, m := range r.Modules {
		name := m.Name
		if name == "" {
			name = "at " + m.Addr.String()
		}
		if len(m.Taints) > 0 {
			tainted = append(tainted, fmt.Sprintf("%s (%s)", join(" ", name, m.Version), letters(m.Taints)))
		}
		if m.State != "" {
			name += " (" + m.State + ")"
		}
		plain = append(plain, name)
	}
	p.line("")
	p.text("", "  ", plural(len(r.Modules), "module")+": "+list(plain, maxModules))
	if len(tainted) > 0 {
		p.text("  ", "    ", "Tainting the kernel: "+list(tainted, maxTainted))
	}
	var gone []string
	for _, m := range r.Unloaded {
		name := m.Name
		if s := letters(m.Taints); s != "" {
			name += " (" + s + ")"
		}
		if m.Count > 1 {
			name += fmt.Sprintf(" %d times", m.Count)
		}
		gone = append(gone, name)
	}
	if len(gone) > 0 {
		p.text("  ", "    ", "Unloaded: "+list(gone, maxUnloaded))
	}
}

// memory writes what memory was used for, the largest use first.
func (p *page) memory(r *kernel.Report) {
	m := r.Memory
	if m == nil {
		return
	}
	if m.Classes == nil {
		p.section("Memory: %s in the dump, %s left out", size(m.InDump), size(m.LeftOut))
		return
	}
	p.section("Memory                                      used   in the dump")
	all := slices.Clone(m.Classes)
	slices.SortStableFunc(all, func(a, b kernel.MemoryClass) int {
		switch {
		case a.Bytes > b.Bytes:
			return -1
		case a.Bytes < b.Bytes:
			return 1
		}
		return 0
	})
	for _, c := range all {
		there := size(c.InDump)
		if c.InDump == 0 {
			there = "-"
		}
		p.line("  %-34s %11s   %11s", c.Name, size(c.Bytes), there)
	}
	var vms []string
	for _, v := range r.VirtualMachines {
		vms = append(vms, fmt.Sprintf("PID %d with %s", v.PID, size(v.Bytes)))
	}
	if len(vms) > 0 {
		p.text("  ", "    ", "Virtual machines: "+list(vms, maxNames))
	}
}

const (
	maxScanned   = 32
	maxRegisters = 40
)

// windows writes what only dumps of Windows have.
func (p *page) windows(r *kernel.Report) {
	w := r.Windows
	if w == nil {
		return
	}
	p.fact("Product", join(", ", w.Product, w.Attributes))
	p.fact("Comment", w.Comment)
	if b := w.BugCheck; b != nil {
		p.section("Bug check %s", join(" ", b.Code.String(), b.Name))
		for i, v := range b.Parameters {
			p.text(fmt.Sprintf("  %d  %-20s", i+1, v.Value), strings.Repeat(" ", 25), join(" ", v.Meaning, dash(v.Meaning)))
		}
	}
	if e := w.Exception; e != nil {
		var info []string
		for _, v := range e.Information {
			info = append(info, v.String())
		}
		what := fmt.Sprintf("Exception %s at %v", join(" ", e.Code.String(), e.Name), e.Address)
		p.section("%s", join(": ", what, list(info, 4)))
	}
	if w.At != nil {
		p.section("Crashed thread, at %s", w.At.String())
		p.registers(w.Registers[:min(len(w.Registers), maxRegisters)], "    ")
	}
	if len(w.Stack) > 0 {
		p.section("Words of its stack that lie in modules (calls are among them)")
		for i, f := range w.Stack {
			if i == maxScanned {
				p.line("    … and %d more", len(w.Stack)-i)
				break
			}
			p.line("    %v  %s", f.SP, f.String())
		}
	}
}

// dash stands for a meaning that is not known.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return ""
}
