// Package dumped is a kernel that does not run: its memory in a dump, such as
// /proc/vmcore of a crash kernel or a file of any format that package
// kdump/open reads, and what each page of it is used for.
//
// The uses come from the kernel's own struct pages. Where those, or what leads
// to them, are damaged, less is known, and a page of unknown use is one that
// every kind of dump takes: a larger dump is better than none. Warnings says
// what is not known.
//
// VMCOREINFO that the dump lacks, as images of memory do, or has damaged is
// looked for in its memory, where the kernel keeps the text in a page of its
// own (kernel/vmcore_info.c).
package dumped

import (
	"fmt"

	"procdump/kdump"
	"procdump/kernel/layout"
	"procdump/kernel/pages"
)

// Options say how a dump is looked at.
type Options struct {
	// NoTypes does without the kernel's type data, which takes time and some
	// 15 MiB of memory. The kind kernel is the same without; for others the
	// memory of virtual machines counts as that of processes, and large folios
	// of the page cache count as mapped.
	NoTypes bool
}

// Source is a kernel in a dump. It implements capture.Source. It is not safe
// for concurrent use.
type Source struct {
	// VMs are the virtual machines of the dumped host, and GuestPages is how
	// many pages their memory takes. Set by Pages.
	VMs        []pages.VM
	GuestPages uint64

	dump     kdump.Dump
	options  Options
	kernel   *layout.Kernel
	searched bool           // memory, for VMCOREINFO
	structs  *pages.Structs // nil: the uses are not known
	pages    pages.Source
	warnings []string
}

// Open returns d as a source. It reads nothing yet and cannot fail: what is
// wrong with the dump comes out in Pages, which the kinds need.
func Open(d *kdump.Dump, o Options) *Source { return &Source{dump: *d, options: o} }

// Dump is the dump. Pages may complete its VMCOREINFO.
func (s *Source) Dump() *kdump.Dump { return &s.dump }

// Live says that the memory does not change.
func (s *Source) Live() bool { return false }

// Pages tells what each page is used for. It never fails: where the uses cannot
// be had, all pages are of unknown use, and Warnings says why.
func (s *Source) Pages() (pages.Source, error) {
	if s.pages == nil {
		s.open()
	}
	return s.pages, nil
}

// Known tells, after Pages, whether the uses of pages are known.
func (s *Source) Known() bool { return s.structs != nil }

// Kernel is the kernel in the dump. It is there where the uses of pages are
// not known, too, as in a small dump.
func (s *Source) Kernel() (*layout.Kernel, error) {
	if s.kernel != nil {
		return s.kernel, nil
	}
	err := s.openKernel(&s.dump)
	if err != nil {
		err = s.repair(err, s.openKernel)
	}
	return s.kernel, err
}

func (s *Source) openKernel(d *kdump.Dump) (err error) {
	if s.kernel, err = layout.Open(d); err == nil {
		addDirectMap(d, s.kernel)
	}
	return err
}

// addDirectMap tells where the kernel has its map of all memory if no segment
// does, as those of QEMU and of images of memory do not: gdb finds memory in an
// ELF dump by that alone.
func addDirectMap(d *kdump.Dump, k *layout.Kernel) {
	virt, ok := k.Space.DirectMap()
	if !ok || len(d.Runs) == 0 {
		return
	}
	for _, s := range d.Segments {
		if s.PhysAddr != kdump.NoPhysAddr && s.VirtAddr == virt+s.PhysAddr {
			return
		}
	}
	r := d.Runs[0]
	for _, x := range d.Runs {
		if x.Size > r.Size {
			r = x
		}
	}
	d.Segments = append(d.Segments[:len(d.Segments):len(d.Segments)],
		kdump.Segment{VirtAddr: virt + r.Addr, PhysAddr: r.Addr, FileSize: r.Size, MemSize: r.Size, Flags: 7})
}

// Warnings say what could not be found out, so far.
func (s *Source) Warnings() []string {
	w := s.warnings
	if s.structs == nil {
		return w
	}
	// Memory of the firmware has no description, and is little.
	const firmware = 1 << 10
	if n := s.structs.Unread(); n > firmware {
		w = append(w[:len(w):len(w)], fmt.Sprintf("the uses of %d pages cannot be read: they are kept", n))
	}
	return w
}

func (s *Source) warn(format string, args ...any) {
	s.warnings = append(s.warnings, fmt.Sprintf(format, args...))
}

// open sets pages.
func (s *Source) open() {
	err := s.openStructs(&s.dump)
	if err != nil {
		err = s.repair(err, s.openStructs)
	}
	if err != nil {
		s.warn("%v: all pages of the dump are kept", err)
		s.pages = &unknown{s.dump.Runs, uint64(s.dump.PageSize)}
		return
	}
	s.pages = s.structs
	if s.options.NoTypes {
		return
	}
	if err := s.structs.TypesError(); err != nil {
		s.warn("the kernel's type data cannot be used: large pages of the page cache count as mapped, the memory of virtual machines as that of processes: %v", err)
		return
	}
	vms, set, err := pages.Guests(s.kernel)
	if err != nil {
		s.warn("not all memory of virtual machines is known: what is not counts as that of processes: %v", err)
	}
	s.VMs, s.GuestPages = vms, set.Len()
	if set.Len() > 0 {
		s.pages = &pages.Overlay{Source: s.structs, Guests: set}
	}
}

// openStructs opens the struct pages of a dump.
func (s *Source) openStructs(d *kdump.Dump) error {
	if err := s.openKernel(d); err != nil {
		return fmt.Errorf("find the use of pages: %w", err)
	}
	k := s.kernel
	s.kernel = nil // where the struct pages are damaged more may be
	st, err := pages.NewStructs(k, pages.StructOptions{NoTypes: s.options.NoTypes})
	if err != nil {
		return err
	}
	if err := plausible(k, st); err != nil {
		return err
	}
	s.kernel, s.structs = k, st
	return nil
}

// landmarks are symbols of VMCOREINFO that lie in the kernel image.
var landmarks = []string{"_stext", "swapper_pg_dir", "init_uts_ns", "init_top_pgt"}

// plausible wants the pages of the kernel image to be the kernel's. They are
// not where damage leads to wrong struct pages.
func plausible(k *layout.Kernel, st *pages.Structs) error {
	for _, name := range landmarks {
		va, ok := k.Info.Symbol(name)
		if !ok {
			continue
		}
		addr, _, err := k.Space.Translate(va)
		if err != nil {
			continue
		}
		var p [1]pages.Page
		if err := st.Classify(addr/k.Space.PageSize(), p[:]); err != nil {
			return err
		}
		switch c := p[0].Class(); c {
		case pages.Hole, pages.Poison, pages.Unknown: // not in the dump, or damaged itself
		default:
			if !pages.KernelKind.Has(c) {
				return fmt.Errorf("find the use of pages: the descriptions of pages are damaged: the kernel's %s is told to be in a page of the class %v", name, c)
			}
		}
	}
	return nil
}

// unknown is pages of which nothing is known but that they are RAM.
type unknown struct {
	runs []kdump.Run
	page uint64
}

// Classify implements pages.Source.
func (u *unknown) Classify(pfn uint64, out []pages.Page) error {
	clear(out) // pages.Hole
	for _, r := range u.runs {
		first, end := max(r.Addr/u.page, pfn), min((r.End()+u.page-1)/u.page, pfn+uint64(len(out)))
		for ; first < end; first++ {
			out[first-pfn] = pages.Page(pages.Unknown)
		}
	}
	return nil
}
