// Package pages tells what each page of a machine's memory is used for, and
// which pages a kind of kernel dump takes.
//
// The use of a page comes from one of two sources: Flags reads the table that a
// running kernel offers (/proc/kpageflags), Structs reads the kernel's own
// struct page from a dump. Both work through memory in pieces, so that a
// machine with TiBs of memory takes no more room than a small one. An Overlay
// marks the memory of virtual machines, which Guests finds, in either.
//
// The rules are those of makedumpfile, whose counts of free, cache and user
// pages this package reproduces, taken apart further.
//
// Documentation/admin-guide/mm/pagemap.rst describes the flags, and
// Documentation/admin-guide/kdump/vmcoreinfo.rst what a dump exports.
package pages

import (
	"fmt"

	"procdump/kdump"
)

// Class is what a page is used for.
type Class uint8

// The classes of pages.
const (
	Hole       Class = iota // no RAM
	Poison                  // broken RAM; must not be read
	Offline                 // handed back to the hypervisor; must not be read
	Free                    // on the kernel's free lists
	Zero                    // the shared page of zeros
	Slab                    // the kernel's small objects
	PageTable               // page tables
	Anon                    // anonymous memory of processes
	KSM                     // anonymous memory that several processes share by content
	Shmem                   // shared memory, tmpfs
	HugeUsed                // hugetlbfs, in use
	HugeFree                // hugetlbfs, free in its pool
	MappedFile              // page cache that a process has mapped
	DirtyFile               // page cache that is not on disk yet
	CleanCache              // other page cache
	Reserved                // kernel image, memory map, what was taken at boot
	Kernel                  // everything else: stacks, vmalloc, modules, buffers of drivers
	Guest                   // memory of a virtual machine of this host
	Unknown                 // in RAM, but its description could not be read
	Classes                 // the number of classes
)

var classNames = [Classes]string{
	"hole", "poison", "offline", "free", "zero", "slab", "page table", "anonymous", "KSM", "shmem",
	"hugetlb used", "hugetlb free", "mapped file", "dirty file", "clean cache", "reserved", "kernel", "guest", "unknown",
}

// String returns the name of the class.
func (c Class) String() string {
	if c < Classes {
		return classNames[c]
	}
	return fmt.Sprintf("class %d", uint8(c))
}

// Page is the verdict on one page: its class and whether a file system keeps
// data of its own about it (PG_private).
type Page uint8

const (
	classMask   = 0x1f
	privateFlag = 0x80
)

func page(c Class) Page { return Page(c) }

// Class is what the page is used for.
func (p Page) Class() Class { return Class(p & classMask) }

// Private tells whether a page of the page cache has buffers or the like,
// makedumpfile's "private cache".
func (p Page) Private() bool { return p&privateFlag != 0 }

// Source tells what pages are used for. It is not safe for concurrent use.
type Source interface {
	// Classify fills out with the pages from page frame number pfn on. Calls
	// for ascending ranges are the fastest.
	Classify(pfn uint64, out []Page) error
}

// Counts is how many pages there are of each class.
type Counts struct {
	Pages [Classes]uint64
	// PrivateCache is how many pages of the page cache are private.
	PrivateCache uint64
}

// Add counts pages.
func (c *Counts) Add(ps []Page) {
	for _, p := range ps {
		if k := p & classMask; k < Page(Classes) {
			c.Pages[k]++
		}
		if p&privateFlag != 0 {
			c.PrivateCache++
		}
	}
}

// Kept is how many of the pages a mask takes.
func (c *Counts) Kept(m Mask) uint64 {
	var n uint64
	for k, count := range c.Pages {
		if m.Has(Class(k)) {
			n += count
		}
	}
	return n
}

// RAM is how many of the pages are memory.
func (c *Counts) RAM() uint64 {
	var n uint64
	for _, count := range c.Pages[Hole+1:] {
		n += count
	}
	return n
}

// Cache is the number of pages that makedumpfile calls non-private cache.
func (c *Counts) Cache() uint64 {
	return c.Pages[Shmem] + c.Pages[MappedFile] + c.Pages[DirtyFile] + c.Pages[CleanCache] - c.PrivateCache
}

// User is the number of pages that makedumpfile calls user process data.
func (c *Counts) User() uint64 {
	return c.Pages[Anon] + c.Pages[KSM] + c.Pages[HugeUsed] + c.Pages[HugeFree]
}

// chunk is the number of pages that Scan classifies at once: 128 MiB of memory
// with pages of 4 KiB, the size of a section of the memory map.
const chunk = 32768

// Scan classifies all pages of the given ranges of RAM and calls f for piece
// after piece, in ascending order. The slice is used again after f returns. It
// stops at the first error.
func Scan(src Source, runs []kdump.Run, pageSize uint64, f func(pfn uint64, ps []Page) error) error {
	if pageSize == 0 {
		return fmt.Errorf("pages: the page size is not known")
	}
	buf := make([]Page, chunk)
	for _, r := range runs {
		end := (r.Addr + r.Size) / pageSize
		for pfn := (r.Addr + pageSize - 1) / pageSize; pfn < end; {
			n := min(chunk-pfn%chunk, end-pfn)
			ps := buf[:n]
			if err := src.Classify(pfn, ps); err != nil {
				return fmt.Errorf("classify pages from %#x on: %w", pfn*pageSize, err)
			}
			if err := f(pfn, ps); err != nil {
				return err
			}
			pfn += n
		}
	}
	return nil
}

// Count counts the pages of the given ranges of RAM.
func Count(src Source, runs []kdump.Run, pageSize uint64) (Counts, error) {
	var c Counts
	err := Scan(src, runs, pageSize, func(_ uint64, ps []Page) error {
		c.Add(ps)
		return nil
	})
	return c, err
}
