package elfimage

import (
	"debug/elf"
	"encoding/binary"
	"io"
)

const (
	hashSize    = 16
	hashedText  = 4096
	maxSections = 1 << 16
)

// TextHash is what Breakpad and LLDB take for the identity of a file without a
// build id: the first page of its .text section, its 16-byte blocks combined by
// XOR (Breakpad's file_id.cc, HashElfTextSection). The last block may reach
// beyond the section, as there. It is nil where there is no such section: the
// file's section headers are in no memory, so that it takes the file.
func TextHash(file io.ReaderAt) []byte {
	off, size, ok := textSection(file)
	if !ok || size == 0 {
		return nil
	}
	text := make([]byte, (min(size, hashedText)+hashSize-1)/hashSize*hashSize)
	if n, _ := file.ReadAt(text, off); uint64(n) < min(size, hashedText) {
		return nil
	}
	hash := make([]byte, hashSize)
	for i, b := range text {
		hash[i%hashSize] ^= b
	}
	return hash
}

// textSection finds the section .text in a file of any content.
func textSection(file io.ReaderAt) (off int64, size uint64, ok bool) {
	le := binary.LittleEndian
	head := make([]byte, 64)
	if n, _ := file.ReadAt(head, 0); n < len(head) || string(head[:4]) != elf.ELFMAG || head[5] != byte(elf.ELFDATA2LSB) {
		return 0, 0, false
	}
	var shoff uint64
	var entry, count, names int
	wide := elf.Class(head[4]) == elf.ELFCLASS64
	if wide {
		shoff = le.Uint64(head[40:])
		entry, count, names = int(le.Uint16(head[58:])), int(le.Uint16(head[60:])), int(le.Uint16(head[62:]))
	} else {
		shoff = uint64(le.Uint32(head[32:]))
		entry, count, names = int(le.Uint16(head[46:])), int(le.Uint16(head[48:])), int(le.Uint16(head[50:]))
	}
	if want := map[bool]int{true: 64, false: 40}[wide]; entry != want || names >= count || count > maxSections || shoff > maxSpan {
		return 0, 0, false
	}
	table := make([]byte, entry*count)
	if n, _ := file.ReadAt(table, int64(shoff)); n < len(table) {
		return 0, 0, false
	}
	section := func(i int) (name, typ uint32, off, size uint64) {
		b := table[i*entry:]
		if wide {
			return le.Uint32(b), le.Uint32(b[4:]), le.Uint64(b[24:]), le.Uint64(b[32:])
		}
		return le.Uint32(b), le.Uint32(b[4:]), uint64(le.Uint32(b[16:])), uint64(le.Uint32(b[20:]))
	}
	_, _, texts, _ := section(names)
	for i := range count {
		name, typ, at, size := section(i)
		var text [6]byte
		if elf.SectionType(typ) != elf.SHT_PROGBITS || at > maxSpan || texts > maxSpan {
			continue
		}
		if n, _ := file.ReadAt(text[:], int64(texts)+int64(name)); n == len(text) && string(text[:]) == ".text\x00" {
			return int64(at), size, true
		}
	}
	return 0, 0, false
}
