package elfcore

import (
	"debug/elf"

	"procdump/internal/elfimage"
	"procdump/snapshot"
)

// image is what the memory of a loaded ELF file says of it.
type image struct{ *elfimage.Image }

// readImage reads the ELF image whose header is at base. It returns false if
// there is none or the memory is not available; parts that are not available
// are left out.
func readImage(mem snapshot.Memory, base uint64) (image, bool) {
	im, err := elfimage.Read(mem, base)
	return image{im}, err == nil
}

// end is the first address after the image's segments.
func (im image) end() uint64 {
	end := im.Base
	for _, ph := range im.Phdrs {
		if ph.Type == elf.PT_LOAD {
			end = max(end, im.Bias+ph.Vaddr+ph.Memsz)
		}
	}
	return end
}

// perm is the permission of the segment that holds addr.
func (im image) perm(addr uint64) snapshot.Perm {
	for _, ph := range im.Phdrs {
		start := (im.Bias + ph.Vaddr) &^ (defaultPageSize - 1)
		if ph.Type == elf.PT_LOAD && addr >= start && addr < im.Bias+ph.Vaddr+ph.Memsz {
			return permOf(ph.Flags)
		}
	}
	return 0
}
