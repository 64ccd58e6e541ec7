package dumped

import (
	"bytes"
	"errors"
	"iter"

	"procdump/arch"
	"procdump/kdump"
)

const (
	// infoStart is how the text of VMCOREINFO begins since 2.6.24.
	infoStart = "OSRELEASE="
	// infoProof is in the text of every architecture.
	infoProof = "SYMBOL(init_uts_ns)="
)

// repair looks for VMCOREINFO in memory and opens what it is needed for by it.
// If that leads nowhere it returns why.
func (s *Source) repair(why error, open func(*kdump.Dump) error) error {
	if s.searched {
		return why
	}
	s.searched = true
	tried := [][]byte{s.dump.VMCoreInfo}
	for text := range s.infos() {
		if containsText(tried, text) {
			continue
		}
		tried = append(tried, text)
		d := s.dump
		d.VMCoreInfo = text
		if d.Arch == arch.Unknown {
			d.Arch = machineOf(&d)
		}
		d.FillFromInfo()
		if open(&d) != nil {
			continue
		}
		what := "is damaged"
		if len(s.dump.VMCoreInfo) == 0 {
			what = "is missing"
		}
		// What was opened refers to the dump: that is to be the one of Dump.
		s.dump = d
		s.warn("the note VMCOREINFO %s; its text was found in memory", what)
		return open(&s.dump)
	}
	return why
}

func containsText(list [][]byte, text []byte) bool {
	for _, t := range list {
		if bytes.Equal(t, text) {
			return true
		}
	}
	return false
}

// machineOf is the machine whose kernel exports such keys.
func machineOf(d *kdump.Dump) arch.Machine {
	if _, ok := d.Info("NUMBER(kimage_voffset)"); ok {
		return arch.ARM64
	}
	if _, ok := d.Info("NUMBER(phys_base)"); ok {
		return arch.AMD64
	}
	return arch.Unknown
}

// maxCandidates bounds how many texts of VMCOREINFO are tried: the kernel has
// one, or two with a crash kernel loaded, and memory may hold old ones.
const maxCandidates = 16

// maxSearched bounds the pages that are searched, a TiB or more, and maxUnread
// those among them that cannot be read: a damaged header may claim memory
// without end.
const (
	maxSearched = 1 << 28
	maxUnread   = 1 << 20
)

// infos yields the texts in memory that look like VMCOREINFO. It begins a page.
func (s *Source) infos() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		size := uint64(s.dump.PageSize)
		if size == 0 {
			return
		}
		head, page := make([]byte, len(infoStart)), make([]byte, size)
		left, pages, unread := maxCandidates, maxSearched, maxUnread
		for r := range s.dump.Present() {
			for pfn := r.PFN; pfn < r.PFN+r.Count; pfn++ {
				if pages--; pages < 0 {
					return
				}
				_, err := s.dump.Memory.ReadPhys(head, pfn*size)
				if err != nil {
					if unread--; unread < 0 {
						return
					}
				}
				if err != nil || string(head) != infoStart {
					continue
				}
				n, err := s.dump.Memory.ReadPhys(page, pfn*size)
				if err != nil && !errors.Is(err, kdump.ErrDamaged) {
					continue
				}
				text := page[:n]
				if end := bytes.IndexByte(text, 0); end >= 0 {
					text = text[:end]
				}
				if !bytes.Contains(text, []byte(infoProof)) {
					continue
				}
				if left--; left < 0 || !yield(bytes.Clone(text)) {
					return
				}
			}
		}
	}
}
