// Package sample makes small kernel dumps for the tests of the formats.
package sample

import (
	"bytes"
	_ "embed" // the text of VMCOREINFO
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"procdump/arch"
	"procdump/kdump"
)

// vmcoreinfo is that of Debian's kernel 6.1.0-56-amd64.
//
//go:embed vmcoreinfo.txt
var vmcoreinfo []byte

// Page is the page size of the samples.
const Page = 4096

// Memory is physical memory that is made when it is read. Holes are pages that
// the dump left out, Bad those that are damaged.
type Memory struct {
	Runs      []kdump.Run
	Hole, Bad func(pfn uint64) bool
	// Zero makes these pages zero whatever their pattern is.
	Zero func(pfn uint64) bool
}

// ReadPhys implements kdump.Memory.
func (m *Memory) ReadPhys(b []byte, addr uint64) (n int, err error) {
	for n < len(b) {
		pfn, off := (addr+uint64(n))/Page, (addr+uint64(n))%Page
		if err := m.state(pfn); err != nil {
			return n, err
		}
		n += copy(b[n:], m.Contents(pfn)[off:])
	}
	return n, nil
}

func (m *Memory) state(pfn uint64) error {
	for _, r := range m.Runs {
		if pfn*Page-r.Addr >= r.Size {
			continue
		}
		switch {
		case m.Hole != nil && m.Hole(pfn):
			return fmt.Errorf("page %#x: %w", pfn, kdump.ErrExcluded)
		case m.Bad != nil && m.Bad(pfn):
			return fmt.Errorf("page %#x: %w: made so", pfn, kdump.ErrDamaged)
		}
		return nil
	}
	return fmt.Errorf("page %#x: %w", pfn, kdump.ErrAbsent)
}

// PageRuns implements kdump.PageMap.
func (m *Memory) PageRuns(from, to uint64) iter.Seq[kdump.PageRun] {
	return func(yield func(kdump.PageRun) bool) {
		for _, r := range m.Runs {
			for pfn := max(r.Addr/Page, from); pfn < min(r.End()/Page, to); pfn++ {
				s := kdump.PagePresent
				if m.Hole != nil && m.Hole(pfn) {
					s = kdump.PageExcluded
				}
				if !yield(kdump.PageRun{PFN: pfn, Count: 1, State: s}) {
					return
				}
			}
		}
	}
}

// Contents returns page pfn: by turns zeros, text, noise, pointers, almost
// nothing, long repetitions, and short ones at growing distances.
func (m *Memory) Contents(pfn uint64) []byte {
	b := make([]byte, Page)
	if m.Zero != nil && m.Zero(pfn) {
		return b
	}
	if k, ok := kernelPage(pfn); ok {
		return k
	}
	r := rand.New(rand.NewPCG(pfn, 1))
	switch pfn % 8 {
	case 0, 1:
	case 2:
		for i := 0; i < len(b); {
			i += copy(b[i:], fmt.Sprintf("page %d word %d of the sample; ", pfn, r.IntN(100)))
		}
	case 3:
		for i := range b {
			b[i] = byte(r.Uint32())
		}
	case 4:
		for i := 0; i < len(b); i += 8 {
			v := 0xffff888000000000 + r.Uint64N(1<<22)*64
			for k := range 8 {
				b[i+k] = byte(v >> (8 * k))
			}
		}
	case 5:
		b[r.IntN(Page)] = byte(1 + r.IntN(255))
	case 6:
		copy(b, bytes.Repeat([]byte{byte(pfn), byte(pfn >> 8), 3}, 700))
	case 7:
		for i := range b {
			if i < 200 || r.IntN(9) == 0 {
				b[i] = byte(r.Uint32())
			} else {
				b[i] = b[i-1-r.IntN(min(i, 1+i*i/Page))]
			}
		}
	}
	return b
}

// Runs are the RAM of the samples: some 6 MiB with holes between, a part of it
// beyond 4 GiB.
var Runs = []kdump.Run{
	{Addr: 0x1000, Size: 0x9e000},
	{Addr: 0x100000, Size: 0x500000},
	{Addr: 0x100000000, Size: 0x81000},
}

// Uname is what the samples' kernel calls itself; it lies where VMCOREINFO's
// init_uts_ns points to.
var Uname = kdump.Uname{
	Sysname: "Linux", Nodename: "sample", Release: "6.1.0-56-amd64",
	Version: "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2", Machine: "x86_64", Domainname: "(none)",
}

// Direct is the virtual address of physical address 0 in the samples.
const Direct = 0xffff8f3c80000000

// New returns a dump of x86-64 with two CPUs. Its memory may be changed before
// it is used.
func New() (*kdump.Dump, *Memory) {
	m := &Memory{Runs: Runs}
	d := &kdump.Dump{
		Format: "sample", Arch: arch.AMD64, PageSize: Page, Runs: Runs,
		VMCoreInfo: bytes.Clone(vmcoreinfo),
		Notes:      []kdump.Note{{Name: "QEMU", Type: 0, Desc: []byte("five5")}},
		Uname:      Uname, Time: time.Unix(1700000000, 123456000), PhysBase: -0x1e000000, Memory: m,
	}
	for cpu := range 2 {
		d.CPUs = append(d.CPUs, kdump.CPU{Number: cpu, PRStatus: kdump.BlankPRStatus(d.Arch, cpu)})
	}
	d.Segments = append(d.Segments, kdump.Segment{
		VirtAddr: 0xffffffff9e200000, PhysAddr: 0x200000, MemSize: 0x180000, FileSize: 0x180000, Flags: 7,
	})
	for _, r := range Runs {
		d.Segments = append(d.Segments, kdump.Segment{
			VirtAddr: Direct + r.Addr, PhysAddr: r.Addr, FileSize: r.Size, MemSize: r.Size, Flags: 7,
		})
	}
	return d, m
}
