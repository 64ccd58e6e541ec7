package inspect

import (
	"bytes"
	"encoding/binary"
	"slices"

	"procdump/snapshot"
)

// Limits of what is read of an environment.
const (
	maxStackTop = 6 << 20   // the kernel's limit of arguments and environment (execve(2)), in bytes
	maxEnviron  = 10_000    // variables
	maxVariable = 128 << 10 // the kernel's limit of one (MAX_ARG_STRLEN), in bytes
	maxStacks   = 8         // mappings that are marked as the main thread's stack
)

// environ is the environment that the process began with. Cores have it where
// the kernel put it for the program, at the top of the main thread's stack
// (fs/binfmt_elf.c, create_elf_tables):
//
//	argc  argv…  0  envp…  0  auxv…  strings
func environ(p *snapshot.Process) []string {
	if p.Environ != nil || p.Memory == nil || len(p.Auxv) == 0 {
		return p.Environ
	}
	word := p.Machine().PointerSize()
	if word == 0 || len(p.Auxv) < 4*word {
		return nil
	}
	left := maxStacks
	for i := range p.Regions {
		if g := &p.Regions[i]; left > 0 && (g.Path == "[stack]" || g.Flags&snapshot.GrowsDown != 0) {
			left--
			if all := environOf(p, g, word); all != nil {
				return all
			}
		}
	}
	return nil
}

// environOf looks for it in one stack.
func environOf(p *snapshot.Process, g *snapshot.Region, word int) []string {
	size := min(g.Size, maxStackTop)
	begin := g.End() - size
	top := readThere(p.Memory, begin, size)
	number := func(at int) uint64 {
		if word == 4 {
			return uint64(binary.LittleEndian.Uint32(top[at:]))
		}
		return binary.LittleEndian.Uint64(top[at:])
	}
	// The first two pairs are enough to know the vector by.
	vector := bytes.LastIndex(top, p.Auxv[:4*word])
	if vector < word || number(vector-word) != 0 {
		return nil
	}
	var all []string
	for at := vector - 2*word; at >= 0 && number(at) != 0 && len(all) < maxEnviron; at -= word {
		addr := number(at)
		if addr < begin || addr >= g.End() {
			return nil // it is no list of strings
		}
		s := top[addr-begin:]
		s = s[:min(len(s), maxVariable)]
		if end := bytes.IndexByte(s, 0); end >= 0 {
			s = s[:end]
		}
		all = append(all, string(s))
	}
	slices.Reverse(all)
	return all
}

// readThere reads memory; what of it is not to be had is zero.
func readThere(m snapshot.Memory, addr, size uint64) []byte {
	const page = 4096
	b := make([]byte, size)
	for at := uint64(0); at < size; {
		n, err := m.ReadMemory(b[at:], addr+at)
		at += uint64(n)
		if err != nil {
			at += page - (addr+at)%page
		}
	}
	return b
}
