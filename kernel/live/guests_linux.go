package live

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"procdump/kernel/pages"
)

// findGuests finds the memory of the virtual machines of KVM: by the kernel's
// own lists, and where those cannot be read by guess. It sets s.Guests.
func (s *Source) findGuests(root Root) *pages.Set {
	if _, err := os.Stat(filepath.Join(root.Sys, "module/kvm")); err != nil {
		return &pages.Set{} // no KVM, neither as a module nor as a part of the kernel
	}
	set, vms, err := s.listGuests()
	if err == nil {
		s.Guests = Guests{VMs: vms, Pages: set.Len()}
		return set
	}
	guessed, vms := guessGuests(root)
	if vms == 0 {
		return set
	}
	s.warn("the memory of %d virtual machines is guessed by the size of their processes' mappings: %v", vms, err)
	s.Guests = Guests{VMs: vms, Pages: guessed.Len(), Guessed: true}
	return guessed
}

// listGuests walks KVM's memory slots in the kernel's memory.
func (s *Source) listGuests() (*pages.Set, int, error) {
	none := &pages.Set{}
	k, err := s.Kernel()
	if err != nil {
		return none, 0, err
	}
	vms, set, err := pages.Guests(k)
	return set, len(vms), err
}

// A mapping of a process with virtual machines counts as their memory from
// these sizes on, in bytes. Shared memory has few other uses in it; of private
// memory the allocator makes mappings of 64 MiB (glibc's arenas).
const (
	guessShared  = 4 << 20
	guessPrivate = 96 << 20
)

// guessGuests takes the large writable mappings of the processes that have
// virtual machines open for their memory.
func guessGuests(root Root) (*pages.Set, int) {
	set, vms := &pages.Set{}, 0
	processes, err := os.ReadDir(root.Proc)
	if err != nil {
		return set, 0
	}
	for _, p := range processes {
		if _, err := strconv.Atoi(p.Name()); err != nil {
			continue
		}
		folder := filepath.Join(root.Proc, p.Name())
		n := countVMs(folder)
		if n == 0 {
			continue
		}
		vms += n
		// A process that ends meanwhile has no memory.
		if err := addMappings(set, folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
			continue
		}
	}
	return set, vms
}

// countVMs counts a process's descriptors of virtual machines.
func countVMs(folder string) int {
	files, err := os.ReadDir(filepath.Join(folder, "fd"))
	if err != nil {
		return 0
	}
	n := 0
	for _, f := range files {
		if to, err := os.Readlink(filepath.Join(folder, "fd", f.Name())); err == nil && to == "anon_inode:kvm-vm" {
			n++
		}
	}
	return n
}

// addMappings adds the pages of a process's large mappings.
func addMappings(set *pages.Set, folder string) error {
	maps, err := os.Open(filepath.Join(folder, "maps"))
	if err != nil {
		return err
	}
	defer maps.Close()
	pagemap, err := os.Open(filepath.Join(folder, "pagemap"))
	if err != nil {
		return err
	}
	defer pagemap.Close()
	in := bufio.NewScanner(maps)
	for in.Scan() {
		from, to, ok := guestMapping(in.Text())
		if !ok {
			continue
		}
		if err := addPresent(set, pagemap, from, to); err != nil {
			return err
		}
	}
	return in.Err()
}

// guestMapping tells whether a line of /proc/PID/maps looks like the memory of
// a virtual machine: "7f00000-7f40000 rw-s 00000000 00:01 42 /memfd:ram".
func guestMapping(line string) (from, to uint64, ok bool) {
	w := strings.Fields(line)
	if len(w) < 5 || len(w[1]) < 4 || w[1][:2] != "rw" {
		return 0, 0, false
	}
	first, last, _ := strings.Cut(w[0], "-")
	from, err := strconv.ParseUint(first, 16, 64)
	to, err2 := strconv.ParseUint(last, 16, 64)
	if err != nil || err2 != nil || to < from {
		return 0, 0, false
	}
	path := ""
	if len(w) > 5 {
		path = w[5]
	}
	size := to - from
	if w[1][3] == 's' {
		// Devices and other files are not memory.
		memory := path == "" || strings.HasPrefix(path, "/memfd:") || strings.HasPrefix(path, "/dev/zero") ||
			strings.HasPrefix(path, "/dev/shm/") || strings.HasPrefix(path, "/dev/hugepages/") || strings.HasPrefix(path, "/anon_hugepage")
		return from, to, memory && size >= guessShared
	}
	return from, to, (path == "" || strings.HasPrefix(path, "/anon_hugepage")) && size >= guessPrivate
}

// addPresent adds the pages of [from, to) that are in memory. An entry of
// pagemap has bit 63 set for those, and the page's number in its low 55 bits
// (the kernel's Documentation/admin-guide/mm/pagemap.rst).
func addPresent(set *pages.Set, pagemap *os.File, from, to uint64) error {
	page := uint64(os.Getpagesize())
	b := make([]byte, 64<<10)
	for from < to {
		n := min((to-from)/page*8, uint64(len(b)))
		if n == 0 {
			break
		}
		got, err := pagemap.ReadAt(b[:n], int64(from/page*8))
		if got < 8 {
			return fmt.Errorf("read pagemap: %w", err)
		}
		for i := 0; i+8 <= got; i += 8 {
			if e := binary.LittleEndian.Uint64(b[i:]); e>>63 == 1 && e&(1<<55-1) != 0 {
				set.Add(e&(1<<55-1), 1)
			}
		}
		from += uint64(got) / 8 * page
	}
	return nil
}
