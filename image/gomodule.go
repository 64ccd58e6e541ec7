package image

import (
	"debug/elf"
	"encoding/binary"

	"procdump/snapshot"
)

// GoModule is what a Go program's linker tells its runtime (struct moduledata,
// runtime/symtab.go).
type GoModule struct {
	// Data and BSS hold the variables with pointers: those that the program
	// begins with, and those that begin as zero.
	Data, BSS snapshot.Range
	Types     snapshot.Range

	funcData uint64 // where the functions' data lie
}

// GoModule returns it, or nil: it is no program of Go, or the dump does not hold
// what it takes to find it.
func (im *Image) GoModule() *GoModule {
	im.goTable()
	return im.goModule
}

// Words of struct moduledata since Go 1.20: a pointer to the function table, six
// slices, findfunctab, then pairs of addresses.
const (
	moduleData    = 26
	moduleBSS     = 28
	moduleTypes   = 37
	moduleGoFunc  = 40
	moduleWords   = 41
	maxModuleData = 64 << 20 // bytes of variables that are read
	maxAllModules = 4 * maxModuleData
)

// findGoModule searches the program's variables for the one that begins with the
// table's address, and goes on with that of the names in it.
func (im *Image) findGoModule(table uint64) *GoModule {
	h := im.headers()
	if h == nil || im.set.p.Machine().PointerSize() == 0 {
		return nil
	}
	word := im.set.p.Machine().PointerSize()
	for _, p := range h.progs {
		if p.Type != elf.PT_LOAD || p.Flags&elf.PF_W == 0 {
			continue
		}
		const chunk = 1 << 20
		size := min(p.Filesz, maxModuleData)
		for off := uint64(0); off < size && im.set.searched < maxAllModules; off += chunk {
			// What begins in one chunk may end in the next.
			b := make([]byte, min(chunk+moduleWords*uint64(word), size-off))
			im.set.searched += uint64(len(b))
			if m := goModuleIn(im.variables(b, p, off), table, word); m != nil {
				return m
			}
		}
	}
	return nil
}

// variables reads what a segment that may be written to holds now or, where a
// dump does not tell, held at first: pages that nobody has written to.
func (im *Image) variables(b []byte, p elf.ProgHeader, off uint64) []byte {
	f := im.File()
	for at := 0; at < len(b); {
		addr := p.Vaddr + im.header.value.bias + off + uint64(at)
		part := b[at:min(len(b), at+int(pageSize-addr%pageSize))]
		n := 0
		if mem := im.set.p.Memory; mem != nil {
			n, _ = mem.ReadMemory(part, addr)
		}
		if n < len(part) && f != nil {
			f.r.ReadAt(part[max(n, 0):], int64(p.Off+off+uint64(at+n)))
		}
		at += len(part)
	}
	return b
}

// Variables reads variables of the program: what a dump does not hold as the
// program began with it, or zero.
func (im *Image) Variables(r snapshot.Range) []byte {
	b := make([]byte, min(r.Size, maxModuleData))
	h := im.headers()
	if h == nil {
		return b
	}
	for _, p := range h.progs {
		in := r.Addr - h.bias - p.Vaddr
		if p.Type == elf.PT_LOAD && in < p.Memsz {
			initial := uint64(0)
			if in < p.Filesz {
				initial = min(uint64(len(b)), p.Filesz-in)
				im.variables(b[:initial], p, in)
			}
			zero := elf.ProgHeader{Vaddr: p.Vaddr, Off: 1 << 62}
			im.variables(b[initial:], zero, in+initial)
			break
		}
	}
	return b
}

func goModuleIn(b []byte, table uint64, word int) *GoModule {
	at := func(b []byte, i int) uint64 {
		if word == 8 {
			return binary.LittleEndian.Uint64(b[i*8:])
		}
		return uint64(binary.LittleEndian.Uint32(b[i*4:]))
	}
	for ; len(b) >= moduleWords*word; b = b[word:] {
		// The first slice is that of names, which the table holds.
		if at(b, 0) != table || at(b, 1) <= table || at(b, 2) != at(b, 3) {
			continue
		}
		area := func(i int) snapshot.Range { return snapshot.Range{Addr: at(b, i), Size: at(b, i+1) - at(b, i)} }
		m := &GoModule{Data: area(moduleData), BSS: area(moduleBSS), Types: area(moduleTypes), funcData: at(b, moduleGoFunc)}
		for _, r := range []snapshot.Range{m.Data, m.BSS, m.Types} {
			if r.End() < r.Addr {
				return nil
			}
		}
		return m
	}
	return nil
}
