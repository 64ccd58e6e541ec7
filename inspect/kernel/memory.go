package kernel

import (
	"procdump/kdump"
	"procdump/kernel/pages"
)

// maxScan is the most memory, in bytes, whose uses are counted: the struct
// pages of 1 TiB, 16 GiB, take minutes to decompress.
const maxScan = 512 << 30

// memory counts what the machine's memory was used for, and what of it is in
// the dump. The pages themselves are not read.
func (l *linux) memory() {
	d := l.dump
	size := uint64(d.PageSize)
	if l.src == nil || size == 0 || d.MaxPFN() == 0 {
		return
	}
	m := new(Memory)
	l.r.Memory = m
	m.count(d)
	if total := d.Pages() * size; total > maxScan {
		l.r.warn("the uses of %d GiB of memory are not counted: that would take minutes", total>>30)
		return
	}
	src, err := l.src.Pages()
	if err != nil || !l.src.Known() {
		return // a warning of the source tells why
	}
	for _, vm := range l.src.VMs {
		l.r.VirtualMachines = append(l.r.VirtualMachines, VirtualMachine{vm.PID, vm.Pages * size})
	}
	var all, there pages.Counts
	err = pages.Scan(src, d.Runs, size, func(pfn uint64, ps []pages.Page) error {
		all.Add(ps)
		for run := range d.PageRuns(pfn, pfn+uint64(len(ps))) {
			from, to := max(run.PFN, pfn), min(run.PFN+run.Count, pfn+uint64(len(ps)))
			if run.State == kdump.PagePresent && from < to {
				there.Add(ps[from-pfn : to-pfn])
			}
		}
		return nil
	})
	if err != nil {
		l.r.warn("the uses of memory: %v", err)
	}
	for c := range pages.Classes {
		if n := all.Pages[c]; n > 0 && c != pages.Hole {
			m.Classes = append(m.Classes, MemoryClass{c.String(), n * size, there.Pages[c] * size})
		}
	}
}

// count adds up what is in a dump and what is not.
func (m *Memory) count(d *kdump.Dump) {
	for run := range d.PageRuns(0, d.MaxPFN()) {
		switch n := run.Count * uint64(d.PageSize); run.State {
		case kdump.PagePresent:
			m.InDump += n
		case kdump.PageExcluded:
			m.LeftOut += n
		}
	}
}
