package elfcore

import (
	"bytes"
	"debug/elf"
	"encoding/binary"

	"procdump/snapshot"
)

// image is what the memory of a loaded ELF file says of it.
type image struct {
	bias    uint64 // load address minus link address
	end     uint64 // first address after its segments
	dynamic uint64 // address, 0 if none
	buildID []byte
	soname  string
	loads   []elf.ProgHeader // PT_LOADs
}

// perm is the permission of the segment that holds addr.
func (im *image) perm(addr uint64) snapshot.Perm {
	for _, ph := range im.loads {
		start := (im.bias + ph.Vaddr) &^ (defaultPageSize - 1)
		if addr >= start && addr < im.bias+ph.Vaddr+ph.Memsz {
			return permOf(ph.Flags)
		}
	}
	return 0
}

// Limits of what is read of an image: more is garbage.
const (
	maxImageProgs = 128
	maxImageNotes = 4 << 10 // bytes of a note segment
	maxDynamics   = 512
	maxSOName     = 256
)

// readImage reads the ELF image whose header is at base. It returns false if
// there is none or the memory is not available; parts that are not available
// are left out.
func readImage(mem snapshot.Memory, base uint64) (image, bool) {
	im := image{bias: base}
	var ident [ehdrSize64]byte
	n, _ := mem.ReadMemory(ident[:], base)
	if n < ehdrSize32 || string(ident[:4]) != elf.ELFMAG || ident[elf.EI_DATA] != byte(elf.ELFDATA2LSB) {
		return im, false
	}
	progs, word, ok := imageProgs(mem, base, ident[:n])
	if !ok {
		return im, false
	}
	for _, ph := range progs { // the first PT_LOAD has the lowest address
		if ph.Type == elf.PT_LOAD {
			im.bias = base - (ph.Vaddr - ph.Off)
			break
		}
	}
	var notes []snapshot.Range
	for _, ph := range progs {
		addr := im.bias + ph.Vaddr
		switch ph.Type {
		case elf.PT_LOAD:
			im.end = max(im.end, addr+ph.Memsz)
			im.loads = append(im.loads, ph)
		case elf.PT_DYNAMIC:
			im.dynamic = addr
			im.soname = readSOName(mem, im.bias, addr, min(ph.Memsz, uint64(maxDynamics*2*word)), word)
		case elf.PT_NOTE:
			notes = append(notes, snapshot.Range{Addr: addr, Size: min(ph.Memsz, maxImageNotes)})
		}
	}
	b := make([]byte, maxImageNotes)
	for _, nt := range notes {
		if im.buildID == nil {
			got, _ := mem.ReadMemory(b[:nt.Size], nt.Addr)
			im.buildID = findBuildID(b[:got])
		}
	}
	return im, true
}

// imageProgs reads the program headers of an image in memory. word is the size
// of its addresses.
func imageProgs(mem snapshot.Memory, base uint64, ehdr []byte) (progs []elf.ProgHeader, word int, ok bool) {
	var r Reader // for decodeProg
	le := binary.LittleEndian
	var phoff uint64
	var entry, count int
	word = 8
	switch elf.Class(ehdr[elf.EI_CLASS]) {
	case elf.ELFCLASS64:
		if len(ehdr) < ehdrSize64 {
			return nil, 0, false
		}
		phoff, entry, count = le.Uint64(ehdr[32:]), int(le.Uint16(ehdr[54:])), int(le.Uint16(ehdr[56:]))
		ok = entry == phdrSize64
	case elf.ELFCLASS32:
		phoff, entry, count, word = uint64(le.Uint32(ehdr[28:])), int(le.Uint16(ehdr[42:])), int(le.Uint16(ehdr[44:])), 4
		ok = entry == phdrSize32
	}
	if !ok || count == 0 || count > maxImageProgs {
		return nil, 0, false
	}
	r.Header.Ident[elf.EI_CLASS] = ehdr[elf.EI_CLASS]
	b := make([]byte, entry*count)
	n, _ := mem.ReadMemory(b, base+phoff)
	for b = b[:n-n%entry]; len(b) > 0; b = b[entry:] {
		progs = append(progs, r.decodeProg(b))
	}
	return progs, word, len(progs) > 0
}

// findBuildID looks for NT_GNU_BUILD_ID among notes.
func findBuildID(b []byte) []byte {
	const ntGNUBuildID = 3
	le := binary.LittleEndian
	for len(b) >= noteHeaderSize {
		owner, desc, typ := uint64(le.Uint32(b)), uint64(le.Uint32(b[4:])), le.Uint32(b[8:])
		descOff := alignUp(noteHeaderSize+owner, 4)
		end := descOff + desc
		if end > uint64(len(b)) {
			return nil
		}
		if typ == ntGNUBuildID && string(b[noteHeaderSize:noteHeaderSize+owner]) == "GNU\x00" {
			return bytes.Clone(b[descOff:end])
		}
		b = b[min(alignUp(end, 4), uint64(len(b))):]
	}
	return nil
}

// readSOName reads DT_SONAME from the dynamic section of size bytes at addr.
func readSOName(mem snapshot.Memory, bias, addr, size uint64, word int) string {
	b := make([]byte, size)
	n, _ := mem.ReadMemory(b, addr)
	d := wordBytes{b[:n], word}
	var strtab, soname uint64
	var found bool
	for off := 0; off+2*word <= n; off += 2 * word {
		v := d.word(off + word)
		switch elf.DynTag(d.word(off)) {
		case elf.DT_STRTAB:
			strtab = v
		case elf.DT_SONAME:
			soname, found = v, true
		case elf.DT_NULL:
			off = n
		}
	}
	if !found || strtab == 0 {
		return ""
	}
	// The dynamic linker turns the section's addresses into absolute ones; the
	// vdso's and those of an image not yet relocated are relative.
	if strtab < bias {
		strtab += bias
	}
	name := make([]byte, maxSOName)
	n, _ = mem.ReadMemory(name, strtab+soname)
	s, _, ok := bytes.Cut(name[:n], []byte{0})
	if !ok {
		return ""
	}
	return string(s)
}
