// Package live opens the running kernel as a dump: its physical memory through
// /proc/kcore, what each page is used for by /proc/kpageflags, the ranges of
// memory by /proc/iomem.
//
//	/proc/kcore       an ELF core file without end: VMCOREINFO, the kernel
//	                  image, and the direct map, a segment for each range of
//	                  memory (fs/proc/kcore.c). Needs CAP_SYS_RAWIO.
//	/proc/iomem       "System RAM", "Crash kernel". Needs CAP_SYS_ADMIN for
//	                  addresses other than zero.
//	/proc/kpageflags  a u64 for each page. Needs CAP_SYS_ADMIN.
//
// Nothing stands still while it is read: what the pages hold, and what they are
// used for, changes all the time. Who writes a dump looks at the uses again
// when it is written.
//
// The memory that the machine has reserved for a crash kernel does not count as
// memory: that kernel leaves it out of /proc/vmcore, too.
package live

import (
	"errors"
	"io"

	"procdump/kdump"
	"procdump/kernel/pages"
)

// Root says where the kernel's file systems are.
type Root struct {
	Proc, Sys string
}

// DefaultRoot is where they are on every machine.
var DefaultRoot = Root{Proc: "/proc", Sys: "/sys"}

// Source is the running kernel. Close closes it.
type Source struct {
	// Guests are the virtual machines of this host and how their memory was
	// found.
	Guests Guests
	// Warnings say what could not be found out.
	Warnings []string

	root     Root
	dump     *kdump.Dump
	files    []io.Closer
	pages    pages.Source // nil: not known, for the reason pagesErr
	pagesErr error
}

// Dump is the kernel as a dump. It is valid until Close.
func (s *Source) Dump() *kdump.Dump { return s.dump }

// Pages tells what each page is used for at the moment that Classify is called.
// It is not safe for concurrent use.
func (s *Source) Pages() (pages.Source, error) {
	if s.pages == nil {
		return nil, s.pagesErr
	}
	return s.pages, nil
}

// Live says that the memory changes while it is read.
func (s *Source) Live() bool { return true }

// Close closes the kernel's files.
func (s *Source) Close() error {
	var err error
	for _, f := range s.files {
		err = errors.Join(err, f.Close())
	}
	return err
}
