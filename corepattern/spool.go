package corepattern

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"procdump/elfcore"
	"procdump/snapshot"
)

// spoolSlack is how much more than its size a segment takes in a sparse file.
const spoolSlack = 4096

// planSpool chooses, from the program headers, the segments of a core to keep
// within budget bytes: those that hold a thread's stack pointer first, then the
// smallest. It returns their indexes' set.
func planSpool(progs []elf.ProgHeader, p *snapshot.Process, budget uint64) map[int]bool {
	type segment struct {
		index int
		size  uint64
		stack bool
	}
	var all []segment
	for i, ph := range progs {
		if ph.Type != elf.PT_LOAD || ph.Filesz == 0 {
			continue
		}
		s := segment{index: i, size: ph.Filesz + spoolSlack}
		for t := range p.Threads {
			sp := p.Threads[t].Registers.SP()
			s.stack = s.stack || sp-ph.Vaddr < ph.Filesz
		}
		all = append(all, s)
	}
	slices.SortStableFunc(all, func(a, b segment) int {
		if a.stack != b.stack {
			if a.stack {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.size, b.size)
	})
	keep := map[int]bool{}
	for _, s := range all {
		if s.size > budget {
			continue
		}
		budget -= s.size
		keep[s.index] = true
	}
	return keep
}

// spool stores the core whose head was read and whose rest is in r in a file,
// sparse, without the segments that are not in keep. Then it is a core of its
// own: the program headers of those say that the file does not hold them. It
// returns the length and how many bytes of memory were not kept. The end of the
// stream before the core's end is no error: the core is truncated.
func spool(f *os.File, head []byte, progs []elf.ProgHeader, keep map[int]bool, r io.Reader) (size int64, left uint64, err error) {
	head = bytes.Clone(head)
	order := make([]int, 0, len(progs))
	for i, ph := range progs {
		if ph.Type == elf.PT_LOAD && ph.Filesz > 0 {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(progs[a].Off, progs[b].Off) })
	at := int64(len(head))
	buf := make([]byte, 256<<10)
	for _, i := range order {
		ph := progs[i]
		if int64(ph.Off) < at {
			return 0, 0, errNoCore
		}
		if !keep[i] {
			left += ph.Filesz
			clearFilesz(head, i)
			continue // passed over together with the next gap
		}
		if at, err = pass(r, at, int64(ph.Off), buf); err == nil {
			at, err = store(f, r, at, int64(ph.Off+ph.Filesz), buf)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return 0, 0, fmt.Errorf("store core: %w", err)
		}
	}
	if _, err := f.WriteAt(head, 0); err != nil {
		return 0, 0, fmt.Errorf("store core: %w", err)
	}
	return at, left, f.Truncate(at)
}

// clearFilesz makes program header i of a core's head say that its segment is
// not in the file.
func clearFilesz(head []byte, i int) {
	le := binary.LittleEndian
	if elf.Class(head[elf.EI_CLASS]) == elf.ELFCLASS32 {
		le.PutUint32(head[uint64(le.Uint32(head[28:]))+uint64(i)*uint64(le.Uint16(head[42:]))+16:], 0)
		return
	}
	le.PutUint64(head[le.Uint64(head[32:])+uint64(i)*uint64(le.Uint16(head[54:]))+32:], 0)
}

// pass reads up to offset end and forgets it.
func pass(r io.Reader, at, end int64, buf []byte) (int64, error) {
	for at < end {
		n, err := r.Read(buf[:min(int64(len(buf)), end-at)])
		if at += int64(n); err != nil {
			return at, err
		}
	}
	return at, nil
}

// store copies up to offset end into f, leaving pages of zeros as holes.
func store(f *os.File, r io.Reader, at, end int64, buf []byte) (int64, error) {
	const page = 4096
	var zeros [page]byte
	for at < end {
		n, err := io.ReadFull(r, buf[:min(int64(len(buf)), end-at)])
		for b := buf[:n]; len(b) > 0; {
			k := min(page, len(b))
			if !bytes.Equal(b[:k], zeros[:k]) {
				if _, werr := f.WriteAt(b[:k], at); werr != nil {
					return at, werr
				}
			}
			b, at = b[k:], at+int64(k)
		}
		if err != nil {
			return at, err
		}
	}
	return at, nil
}

// openSpool reads a spooled core. Memory that the core does not hold is not
// zero: what the kernel left out, or we did, is marked so that no dump takes it
// for that.
func openSpool(f io.ReaderAt, size int64) (*snapshot.Process, error) {
	r, err := elfcore.NewReader(f, size)
	if err != nil {
		return nil, fmt.Errorf("read core: %w", err)
	}
	p, _ := r.Process()
	for i := range p.Regions {
		g := &p.Regions[i]
		xs, err := p.Memory.Extents(g.Range)
		if err != nil {
			return nil, err
		}
		var have uint64
		for _, x := range xs {
			have += x.Size
		}
		g.Resident, g.Private = have, have
		if have < g.Size {
			g.Flags |= snapshot.Userfault // the one flag by which absent does not mean zero
		}
	}
	return p, nil
}
