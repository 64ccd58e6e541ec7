package vmcore

import (
	"bytes"
	"encoding/binary"
)

// load is a PT_LOAD with its contents.
type load struct {
	vaddr, paddr, memsz uint64
	data                []byte
}

// build makes an ELF core file without the package's Writer.
func build(is64 bool, em uint16, notes []byte, loads ...load) []byte {
	le := binary.LittleEndian
	var b bytes.Buffer
	put := func(v ...any) {
		for _, x := range v {
			binary.Write(&b, le, x)
		}
	}
	word := func(v uint64) {
		if is64 {
			put(v)
		} else {
			put(uint32(v))
		}
	}
	ehsize, phsize, class := uint64(52), uint64(32), byte(1)
	if is64 {
		ehsize, phsize, class = 64, 56, 2
	}
	b.WriteString("\x7fELF")
	b.Write([]byte{class, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	put(uint16(4), em, uint32(1))
	word(0)
	word(ehsize)
	word(0)
	put(uint32(0), uint16(ehsize), uint16(phsize), uint16(1+len(loads)), uint16(0), uint16(0), uint16(0))
	off := ehsize + phsize*uint64(1+len(loads))
	phdr := func(typ uint32, off, va, pa, fsz, msz uint64) {
		put(typ)
		if is64 {
			put(uint32(7))
		}
		for _, v := range []uint64{off, va, pa, fsz, msz} {
			word(v)
		}
		if !is64 {
			put(uint32(7))
		}
		word(0)
	}
	phdr(4, off, 0, 0, uint64(len(notes)), 0)
	off += uint64(len(notes))
	for _, l := range loads {
		phdr(1, off, l.vaddr, l.paddr, uint64(len(l.data)), l.memsz)
		off += uint64(len(l.data))
	}
	b.Write(notes)
	for _, l := range loads {
		b.Write(l.data)
	}
	return b.Bytes()
}
