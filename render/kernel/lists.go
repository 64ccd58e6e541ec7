package kernel

import (
	"fmt"
	"slices"
	"strings"

	"procdump/inspect/kernel"
	layout "procdump/render/page"
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
			tainted = append(tainted, fmt.Sprintf("%s (%s)", layout.Join(" ", name, m.Version), letters(m.Taints)))
		}
		if m.State != "" {
			name += " (" + m.State + ")"
		}
		plain = append(plain, name)
	}
	p.Line("")
	p.Text("", "  ", layout.Plural(len(r.Modules), "module")+": "+layout.List(plain, maxModules))
	if len(tainted) > 0 {
		p.Text("  ", "    ", "Tainting the kernel: "+layout.List(tainted, maxTainted))
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
		p.Text("  ", "    ", "Unloaded: "+layout.List(gone, maxUnloaded))
	}
}

// memory writes what memory was used for, the largest use first.
func (p *page) memory(r *kernel.Report) {
	m := r.Memory
	if m == nil {
		return
	}
	if m.Classes == nil {
		p.Section("Memory: %s in the dump, %s left out", layout.Size(m.InDump), layout.Size(m.LeftOut))
		return
	}
	p.Section("Memory                                      used   in the dump")
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
		there := layout.Size(c.InDump)
		if c.InDump == 0 {
			there = "-"
		}
		p.Line("  %-34s %11s   %11s", c.Name, layout.Size(c.Bytes), there)
	}
	var vms []string
	for _, v := range r.VirtualMachines {
		vms = append(vms, fmt.Sprintf("PID %d with %s", v.PID, layout.Size(v.Bytes)))
	}
	if len(vms) > 0 {
		p.Text("  ", "    ", "Virtual machines: "+layout.List(vms, maxNames))
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
	p.Fact("Product", layout.Join(", ", w.Product, w.Attributes))
	p.Fact("Comment", w.Comment)
	if b := w.BugCheck; b != nil {
		p.Section("Bug check %s", layout.Join(" ", b.Code.String(), b.Name))
		for i, v := range b.Parameters {
			p.Text(fmt.Sprintf("  %d  %-20s", i+1, v.Value), strings.Repeat(" ", 25), layout.Join(" ", v.Meaning, dash(v.Meaning)))
		}
	}
	if e := w.Exception; e != nil {
		var info []string
		for _, v := range e.Information {
			info = append(info, v.String())
		}
		what := fmt.Sprintf("Exception %s at %v", layout.Join(" ", e.Code.String(), e.Name), e.Address)
		p.Section("%s", layout.Join(": ", what, layout.List(info, 4)))
	}
	if w.At != nil {
		p.Section("Crashed thread, at %s", w.At.String())
		p.registers(w.Registers[:min(len(w.Registers), maxRegisters)], "    ")
	}
	if len(w.Stack) > 0 {
		p.Section("Words of its stack that lie in modules (calls are among them)")
		for i, f := range w.Stack {
			if i == maxScanned {
				p.Line("    … and %d more", len(w.Stack)-i)
				break
			}
			p.Line("    %v  %s", f.SP, f.String())
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
