package rescue

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"procdump/kdump"
	"procdump/kdump/open"
	"procdump/kernel/capture"
)

// verifyPages is how many pages of a dump are compared with memory.
const verifyPages = 128

// verify reads a dump back: header, VMCOREINFO, number of pages, and the
// contents of some.
func verify(res *capture.Result, memory *kdump.Dump, alive func()) error {
	f, err := os.Open(res.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if size < res.Size {
		return fmt.Errorf("%s has %d bytes, %d were written", res.Path, size, res.Size)
	}
	d, err := open.Dump(f, size)
	if err != nil {
		return err
	}
	if d.Incomplete && !memory.Incomplete {
		return fmt.Errorf("%s is incomplete", res.Path)
	}
	if !bytes.Equal(d.VMCoreInfo, memory.VMCoreInfo) {
		return fmt.Errorf("%s has other VMCOREINFO than memory", res.Path)
	}
	var pages uint64
	for r := range d.Present() {
		pages += r.Count
	}
	if pages != res.Pages {
		return fmt.Errorf("%s has %d pages, %d were written", res.Path, pages, res.Pages)
	}
	return compare(d, memory, max(pages/verifyPages, 1), alive)
}

// compare compares every step-th page of a dump with memory.
func compare(d, memory *kdump.Dump, step uint64, alive func()) error {
	got, want := make([]byte, d.PageSize), make([]byte, d.PageSize)
	skip := uint64(0)
	for r := range d.Present() {
		for ; skip < r.Count; skip += step {
			alive()
			addr := (r.PFN + skip) * uint64(d.PageSize)
			if n, _ := memory.Memory.ReadPhys(want, addr); n < len(want) {
				continue // it could not be read for the dump either
			}
			if _, err := d.Memory.ReadPhys(got, addr); err != nil {
				return err
			}
			if !bytes.Equal(got, want) {
				return fmt.Errorf("the page at %#x differs from memory", addr)
			}
		}
		skip -= r.Count
	}
	return nil
}
