package pages

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Flags of /proc/kpageflags (include/uapi/linux/kernel-page-flags.h and, from
// bit 32 up, include/linux/kernel-page-flags.h).
const (
	kpfUptodate     = 1 << 3
	kpfDirty        = 1 << 4
	kpfLRU          = 1 << 5
	kpfSlab         = 1 << 7
	kpfWriteback    = 1 << 8
	kpfBuddy        = 1 << 10
	kpfMmap         = 1 << 11
	kpfAnon         = 1 << 12
	kpfSwapcache    = 1 << 13
	kpfSwapbacked   = 1 << 14
	kpfCompoundHead = 1 << 15
	kpfCompoundTail = 1 << 16
	kpfHuge         = 1 << 17
	kpfUnevictable  = 1 << 18
	kpfHWPoison     = 1 << 19
	kpfNoPage       = 1 << 20
	kpfKSM          = 1 << 21 // Linux 6.12, among others, sets it for all anonymous pages
	kpfOffline      = 1 << 23
	kpfZeroPage     = 1 << 24
	kpfPgtable      = 1 << 26
	kpfReserved     = 1 << 32
	kpfPrivate      = 1 << 35

	// kpfOfHead are the flags that a tail takes over from its head. Until 6.8
	// the kernel reports for a tail only what is set in its own page->flags.
	kpfOfHead = kpfLRU | kpfSlab | kpfAnon | kpfKSM | kpfSwapbacked | kpfDirty | kpfUptodate | kpfMmap | kpfHuge |
		kpfUnevictable | kpfWriteback | kpfSwapcache | kpfPrivate | kpfPgtable | kpfZeroPage | kpfOffline
)

// flagBatch is the number of bytes of the table that are read at once.
const flagBatch = 256 << 10

// maxCompound is the largest number of pages of one compound page: 1 GiB of
// pages of 4 KiB.
const maxCompound = 1 << 18

// Flags classifies the pages of a running kernel by its table of flags.
type Flags struct {
	// Structs, if it is not nil, reads the same kernel. It tells which pages of
	// hugetlbfs are free again: of those that a process had mapped privately the
	// flags stay (mm/hugetlb.c: free_huge_page), and are those of a file's pages
	// that no process has mapped. Without it they count as used.
	Structs *Structs

	r    io.ReaderAt
	buf  []byte
	next uint64 // the page that follows the last one classified
	head uint64 // flags of the compound page that the last one belongs to
	free bool   // that is one of hugetlbfs, and free again
}

// NewFlags reads a table of a u64 for each page frame number, such as
// /proc/kpageflags. Pages behind the table's end are holes.
func NewFlags(r io.ReaderAt) *Flags { return &Flags{r: r, buf: make([]byte, flagBatch)} }

// Classify implements Source. It reads the table anew in each call.
func (f *Flags) Classify(pfn uint64, out []Page) error {
	if pfn != f.next {
		head, at, err := f.headOf(pfn)
		if err != nil {
			return err
		}
		f.enter(at, head)
	}
	for len(out) > 0 {
		n, err := f.read(pfn, min(len(out), flagBatch/8))
		if err != nil {
			return err
		}
		if n == 0 {
			for i := range out {
				out[i] = page(Hole)
			}
			pfn += uint64(len(out))
			break
		}
		for i := range n {
			v := binary.LittleEndian.Uint64(f.buf[i*8:])
			switch {
			case v&kpfCompoundTail != 0:
				v |= f.head & kpfOfHead
			case v&kpfCompoundHead != 0:
				f.enter(pfn+uint64(i), v)
			default:
				f.enter(0, 0)
			}
			if out[i] = ofFlags(v); f.free && out[i] == page(HugeUsed) {
				out[i] = page(HugeFree)
			}
		}
		out, pfn = out[n:], pfn+uint64(n)
	}
	f.next = pfn
	return nil
}

// enter notes the head of the compound page that the next ones belong to.
func (f *Flags) enter(pfn, head uint64) {
	f.head = head
	f.free = f.Structs != nil && head&(kpfHuge|kpfUptodate|kpfMmap) == kpfHuge|kpfUptodate && f.Structs.hugeFree(pfn)
}

// read fills the buffer with up to n entries and returns how many there are.
func (f *Flags) read(pfn uint64, n int) (int, error) {
	if pfn > 1<<60/8 {
		return 0, nil
	}
	got, err := f.r.ReadAt(f.buf[:n*8], int64(pfn*8))
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read flags of page %#x: %w", pfn, err)
	}
	return got / 8, nil
}

// headOf returns the flags of the head of the compound page that pfn is a tail
// of, and which page that is, or 0.
func (f *Flags) headOf(pfn uint64) (head, at uint64, err error) {
	if n, err := f.read(pfn, 1); err != nil || n == 0 || binary.LittleEndian.Uint64(f.buf)&kpfCompoundTail == 0 {
		return 0, 0, err
	}
	for end := pfn; end > 0 && pfn-end < maxCompound; {
		n := min(end, flagBatch/8)
		got, err := f.read(end-n, int(n))
		if err != nil || uint64(got) < n {
			return 0, 0, err
		}
		for i := int(n) - 1; i >= 0; i-- {
			v := binary.LittleEndian.Uint64(f.buf[i*8:])
			if v&kpfCompoundTail == 0 {
				if v&kpfCompoundHead == 0 {
					v = 0
				}
				return v, end - n + uint64(i), nil
			}
		}
		end -= n
	}
	return 0, 0, nil
}

// ofFlags decides by the flags of one page. The order matters.
func ofFlags(v uint64) Page {
	switch {
	case v&kpfNoPage != 0:
		return page(Hole)
	case v&kpfHWPoison != 0:
		return page(Poison)
	case v&kpfOffline != 0:
		return page(Offline)
	case v&kpfBuddy != 0:
		return page(Free)
	case v&kpfZeroPage != 0:
		return page(Zero)
	case v&kpfHuge != 0:
		if v&(kpfMmap|kpfUptodate) != 0 {
			return page(HugeUsed)
		}
		return page(HugeFree)
	case v&kpfSlab != 0:
		return page(Slab)
	case v&kpfPgtable != 0:
		return page(PageTable)
	case v&kpfKSM != 0:
		return page(KSM)
	case v&kpfAnon != 0:
		return page(Anon)
	case v&(kpfLRU|kpfUnevictable|kpfSwapcache) != 0,
		// A page of a file on its way to the LRU list is up to date; memory of
		// the kernel that a process has mapped, such as a ring buffer, is not.
		v&kpfMmap != 0 && v&kpfUptodate != 0 && v&kpfReserved == 0:
		return ofCacheFlags(v)
	case v&kpfReserved != 0:
		return page(Reserved)
	}
	return page(Kernel)
}

func ofCacheFlags(v uint64) Page {
	p := page(CleanCache)
	switch {
	case v&kpfSwapbacked != 0:
		p = page(Shmem)
	case v&kpfMmap != 0:
		p = page(MappedFile)
	case v&(kpfDirty|kpfWriteback) != 0:
		p = page(DirtyFile)
	}
	if v&kpfPrivate != 0 {
		p |= privateFlag
	}
	return p
}
