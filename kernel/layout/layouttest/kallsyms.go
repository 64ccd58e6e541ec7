package layouttest

import (
	"encoding/binary"
	"fmt"
)

// Symbol is an entry of a kernel's symbol table.
type Symbol struct {
	Addr uint64
	Type byte
	Name string
}

// Encoding is how a kernel stores the addresses of its symbols.
type Encoding int

// The encodings.
const (
	AbsolutePerCPU Encoding = iota
	Relative
	Place
	Absolute
)

// Kallsyms lays out a symbol table. Each letter is a token of its own, except
// that token 0x80 stands for "_tab". put stores bytes at a virtual address, or
// at one that it chooses if that is 0, and returns it; the result are the
// lines of VMCOREINFO.
func Kallsyms(symbols []Symbol, e Encoding, base uint64, put func(at uint64, b []byte) uint64) string {
	le := binary.LittleEndian
	var index, table []byte
	for i := range 256 {
		index = le.AppendUint16(index, uint16(len(table)))
		if i == 0x80 {
			table = append(table, "_tab"...)
		} else if i > ' ' && i < 0x7f {
			table = append(table, byte(i))
		}
		table = append(table, 0)
	}
	var names []byte
	for _, s := range symbols {
		b := []byte{s.Type}
		for i := 0; i < len(s.Name); i++ {
			if i+4 <= len(s.Name) && s.Name[i:i+4] == "_tab" {
				b = append(b, 0x80)
				i += 3
				continue
			}
			b = append(b, s.Name[i])
		}
		if len(b) < 0x80 {
			names = append(names, byte(len(b)))
		} else {
			names = append(names, byte(len(b))|0x80, byte(len(b)>>7))
		}
		names = append(names, b...)
	}
	info := ""
	line := func(name string, addr uint64) { info += fmt.Sprintf("SYMBOL(%s)=%x\n", name, addr) }
	line("kallsyms_num_syms", put(0, le.AppendUint32(nil, uint32(len(symbols)))))
	line("kallsyms_names", put(0, names))
	line("kallsyms_token_table", put(0, table))
	line("kallsyms_token_index", put(0, index))
	if e == Absolute {
		var b []byte
		for _, s := range symbols {
			b = le.AppendUint64(b, s.Addr)
		}
		line("kallsyms_addresses", put(0, b))
		return info
	}
	at := put(0, make([]byte, 4*len(symbols)))
	if e != Place {
		line("kallsyms_relative_base", put(0, le.AppendUint64(nil, base)))
	}
	var b []byte
	for i, s := range symbols {
		v := s.Addr - base
		switch {
		case e == Place:
			v = s.Addr - (at + uint64(i)*4)
		case e == AbsolutePerCPU && s.Addr < 1<<31:
			v = s.Addr
		case e == AbsolutePerCPU:
			v = base - 1 - s.Addr
		}
		b = le.AppendUint32(b, uint32(v))
	}
	put(at, b)
	line("kallsyms_offsets", at)
	return info
}
