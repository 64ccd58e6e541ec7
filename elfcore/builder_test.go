package elfcore

import "encoding/binary"

// coreBuilder makes ELF cores byte by byte. It shares nothing with the package,
// not even constants, so that a mistake in these shows.
type coreBuilder struct {
	is32    bool
	machine uint16
	notes   []byte
	loads   []builtLoad
	xnum    bool // program headers are counted in a section header at the file's end
	noShdr  bool // but that is cut off
}

type builtLoad struct {
	addr, memsz uint64
	flags       uint32
	data        []byte
}

func le16(v uint16) []byte { return binary.LittleEndian.AppendUint16(nil, v) }
func le32(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
func le64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

// word is a long of the target.
func (c *coreBuilder) word(v uint64) []byte {
	if c.is32 {
		return le32(uint32(v))
	}
	return le64(v)
}

func join(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func (c *coreBuilder) note(owner string, typ uint32, desc []byte) {
	n := join(le32(uint32(len(owner)+1)), le32(uint32(len(desc))), le32(typ), []byte(owner+"\x00"))
	for len(n)%4 != 0 {
		n = append(n, 0)
	}
	n = append(n, desc...)
	for len(n)%4 != 0 {
		n = append(n, 0)
	}
	c.notes = append(c.notes, n...)
}

// prstatus adds the registers of a thread: gp[i] is the i-th.
func (c *coreBuilder) prstatus(tid uint32, signal uint16, gp ...uint64) {
	regs := 27
	if c.is32 {
		regs = 17
	}
	if c.machine == 183 {
		regs = 34
	}
	d := join(le32(uint32(signal)), le32(0), le32(0), le16(signal), le16(0), c.word(0b101), c.word(0b1000),
		le32(tid), le32(3), le32(4), le32(5))
	for i := range uint64(8) { // timevals: 1 s 2 µs, 3 s 4 µs, …
		d = append(d, c.word(i+1)...)
	}
	for i := range regs {
		var v uint64
		if i < len(gp) {
			v = gp[i]
		}
		d = append(d, c.word(v)...)
	}
	c.note("CORE", 1, append(d, c.word(1)...))
}

func (c *coreBuilder) prpsinfo(name, args string) {
	d := []byte{1, 'S', 0, 0xfb}
	if c.is32 {
		d = join(d, le32(0x400), le16(1000), le16(65534))
	} else {
		d = join(d, le32(0), le64(0x400), le32(1000), le32(100000))
	}
	d = join(d, le32(2), le32(3), le32(4), le32(5), make([]byte, 96))
	copy(d[len(d)-96:], name)
	copy(d[len(d)-80:], args)
	c.note("CORE", 3, d)
}

func (c *coreBuilder) bytes() []byte {
	ehdr, phdr := uint64(64), uint64(56)
	if c.is32 {
		ehdr, phdr = 52, 32
	}
	count := uint64(len(c.loads)) + 1
	noteOff := ehdr + phdr*count
	off := (noteOff + uint64(len(c.notes)) + 4095) &^ 4095
	var phdrs, memory []byte
	add := func(typ, flags uint32, off, addr, filesz, memsz, align uint64) {
		if c.is32 {
			phdrs = append(phdrs, join(le32(typ), le32(uint32(off)), le32(uint32(addr)), le32(0),
				le32(uint32(filesz)), le32(uint32(memsz)), le32(flags), le32(uint32(align)))...)
			return
		}
		phdrs = append(phdrs, join(le32(typ), le32(flags), le64(off), le64(addr), le64(0),
			le64(filesz), le64(memsz), le64(align))...)
	}
	add(4, 0, noteOff, 0, uint64(len(c.notes)), 0, 4)
	for _, l := range c.loads {
		add(1, l.flags, off+uint64(len(memory)), l.addr, uint64(len(l.data)), l.memsz, 4096)
		memory = append(memory, l.data...)
	}
	shoff, shentsize, shnum, phnum := uint64(0), uint16(0), uint16(0), uint16(count)
	if c.xnum {
		shoff, shentsize, shnum, phnum = off+uint64(len(memory)), uint16(ehdr), 1, 0xffff
		if c.is32 {
			shentsize = 40
		}
	}
	class := byte(2)
	if c.is32 {
		class = 1
	}
	b := join([]byte{0x7f, 'E', 'L', 'F', class, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}, le16(4), le16(c.machine), le32(1),
		c.word(0), c.word(ehdr), c.word(shoff), le32(0), le16(uint16(ehdr)), le16(uint16(phdr)), le16(phnum), le16(shentsize), le16(shnum), le16(0))
	b = join(b, phdrs, c.notes)
	b = join(b, make([]byte, off-uint64(len(b))), memory)
	if c.xnum && !c.noShdr {
		b = join(b, le32(0), le32(0), c.word(0), c.word(0), c.word(0), c.word(1), le32(0), le32(uint32(count)), c.word(0), c.word(0))
	}
	return b
}
