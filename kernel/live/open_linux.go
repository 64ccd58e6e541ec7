package live

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"procdump/kdump"
	"procdump/kdump/vmcore"
	"procdump/kernel/layout"
	"procdump/kernel/pages"
)

// Open opens the running kernel. Where the uses of pages cannot be read it
// succeeds, and Pages tells why.
func Open(root Root) (*Source, error) {
	s, err := OpenMemory(root)
	if err != nil {
		return nil, err
	}
	flags, err := openFlags(root)
	if err != nil {
		s.pagesErr = err
		return s, nil
	}
	s.files = append(s.files, flags)
	table := pages.NewFlags(flags)
	table.Structs = s.structs()
	s.pages = table
	if guests := s.findGuests(root); guests.Len() > 0 {
		s.pages = &pages.Overlay{Source: s.pages, Guests: guests}
	}
	return s, nil
}

// structs prepares to read the kernel's descriptions of pages. It returns nil
// where they cannot be found: the table of flags alone says enough of most pages.
func (s *Source) structs() *pages.Structs {
	k, err := layout.Open(s.dump)
	if err != nil {
		return nil
	}
	structs, err := pages.NewStructs(k, pages.StructOptions{NoTypes: true})
	if err != nil {
		return nil
	}
	return structs
}

// OpenMemory opens the running kernel without the uses of its pages, which
// takes less time.
func OpenMemory(root Root) (*Source, error) {
	s := &Source{root: root, pagesErr: errors.New("the uses of pages were not asked for")}
	if err := s.open(root); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Source) open(root Root) error {
	f, err := openKcore(root)
	if err != nil {
		return err
	}
	kcore := newKcoreFile(f)
	s.files = append(s.files, kcore)
	size := int64(math.MaxInt64)
	if st, err := f.Stat(); err == nil && st.Size() > 0 {
		size = st.Size()
	}
	if s.dump, err = vmcore.Open(kcore, size); err != nil {
		return fmt.Errorf("read %s: %w", f.Name(), err)
	}
	d := s.dump
	d.Format = "running kernel"
	d.Time = time.Now()
	d.Incomplete = false // its size is made up
	d.PageSize = os.Getpagesize()
	if err := s.readRAM(root); err != nil {
		return err
	}
	if d.VMCoreInfo == nil {
		if err := s.readVMCoreInfo(root); err != nil {
			s.warn("%v: the dump lacks VMCOREINFO, without which few debuggers open it", err)
		}
	}
	d.FillFromInfo()
	s.blankCPUs(root)
	return nil
}

// readRAM sets the ranges of memory: what is both RAM and in the direct map.
func (s *Source) readRAM(root Root) error {
	name := filepath.Join(root.Proc, "iomem")
	b, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("find the ranges of memory: %w", err)
	}
	m := parseIomem(b, uint64(s.dump.PageSize))
	if m.hidden {
		return &Error{
			What:   "find the ranges of memory",
			Cause:  name + " shows zeros instead of addresses: CAP_SYS_ADMIN is missing",
			Remedy: "run procdump as root of the machine, not of a container or a user namespace",
			Err:    os.ErrPermission,
		}
	}
	s.dump.Runs = subtract(intersect(m.ram, s.dump.Runs), m.crashKernel)
	if len(s.dump.Runs) == 0 {
		return &Error{
			What:   "find the ranges of memory",
			Cause:  fmt.Sprintf("%s and %s have no range of memory in common", name, filepath.Join(root.Proc, "kcore")),
			Remedy: "see whether " + name + " has a line System RAM",
		}
	}
	return nil
}

// readVMCoreInfo reads VMCOREINFO where the kernel, before 4.19, does not put
// it into kcore's notes: /sys/kernel/vmcoreinfo has the physical address and
// the size of the note, in hexadecimal.
func (s *Source) readVMCoreInfo(root Root) error {
	b, err := os.ReadFile(filepath.Join(root.Sys, "kernel/vmcoreinfo"))
	if err != nil {
		return fmt.Errorf("find VMCOREINFO: %w", err)
	}
	var addr, size uint64
	if _, err := fmt.Fscanf(bytes.NewReader(b), "%x %x", &addr, &size); err != nil {
		return fmt.Errorf("find VMCOREINFO: %q: %w", bytes.TrimSpace(b), err)
	}
	const maxSize = 1 << 20 // it has been a page, and grows
	note := make([]byte, min(size, maxSize))
	if _, err := s.dump.Memory.ReadPhys(note, addr); err != nil {
		return fmt.Errorf("read VMCOREINFO: %w", err)
	}
	for _, n := range kdump.ParseNotes(note) {
		if n.Name == kdump.VMCoreInfoName {
			s.dump.VMCoreInfo = bytes.TrimRight(n.Desc, "\x00")
			return nil
		}
	}
	return fmt.Errorf("read VMCOREINFO: there is no such note at %#x", addr)
}

// blankCPUs gives each processor a note without registers: none of them stands
// still. The notes of kcore are about the process that reads it.
func (s *Source) blankCPUs(root Root) {
	n := 1
	if b, err := os.ReadFile(filepath.Join(root.Sys, "devices/system/cpu/online")); err == nil {
		n = max(countList(string(b)), 1)
	}
	s.dump.CPUs, s.dump.Notes = nil, nil
	for i := range n {
		s.dump.CPUs = append(s.dump.CPUs, kdump.CPU{Number: i, PRStatus: kdump.BlankPRStatus(s.dump.Arch, i)})
	}
}
