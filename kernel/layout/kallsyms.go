package layout

import (
	"encoding/binary"
	"fmt"
)

// The kernel's symbol table, as scripts/kallsyms.c writes it:
//
//	kallsyms_num_syms       u32: the number of symbols
//	kallsyms_names          for each a length (1 byte; since 6.1 bit 7 set
//	                        means that a second byte holds bits 7 to 13) and so
//	                        many bytes, each the number of a token
//	kallsyms_token_index    256 × u16: where each token begins in
//	kallsyms_token_table    tokens, ended by NUL
//	kallsyms_offsets        for each symbol an i32, see addressCode
//	kallsyms_relative_base  u64, or absent
//
// The expanded tokens of a symbol are its type letter and its name.

const (
	// maxSymbols bounds the length of a damaged table. A kernel with every
	// driver built in has some 400,000 symbols.
	maxSymbols = 4 << 20
	// maxSymbolName is well above KSYM_NAME_LEN, 512.
	maxSymbolName  = 4096
	maxSymbolNames = 128 << 20
)

// addressCode is how kallsyms_offsets encodes addresses. No key tells; the
// right one gives the addresses that VMCOREINFO names.
type addressCode int

const (
	// codeAbsolutePerCPU (x86-64 until 6.14): offsets from 0 up are addresses
	// themselves, negative ones are relative_base - 1 - offset.
	codeAbsolutePerCPU addressCode = iota
	// codeRelative: relative_base + offset, unsigned.
	codeRelative
	// codePlace (newest kernels): address of the offset + offset.
	codePlace
	// codeAbsolute: kallsyms_addresses, 64 bits each.
	codeAbsolute
	codes
)

type kallsyms struct {
	values   uint64 // address of kallsyms_offsets or kallsyms_addresses
	base     uint64
	hasBase  bool
	absolute bool
	raw      []byte
}

func (t *kallsyms) address(code addressCode, i int) uint64 {
	if code == codeAbsolute {
		return binary.LittleEndian.Uint64(t.raw[i*8:])
	}
	off := int32(binary.LittleEndian.Uint32(t.raw[i*4:]))
	switch {
	case code == codePlace:
		return t.values + uint64(i)*4 + uint64(int64(off))
	case code == codeRelative:
		return t.base + uint64(uint32(off))
	case off >= 0:
		return uint64(off)
	}
	return t.base - 1 - uint64(int64(off))
}

// possible lists the encodings that the keys allow.
func (t *kallsyms) possible() []addressCode {
	switch {
	case t.absolute:
		return []addressCode{codeAbsolute}
	case t.hasBase:
		return []addressCode{codeAbsolutePerCPU, codeRelative, codePlace}
	}
	return []addressCode{codePlace}
}

// readKallsyms reads the kernel's symbol table.
func (k *Kernel) readKallsyms() (*Symbols, error) {
	at := func(name string) (uint64, error) {
		a, ok := k.Info.Symbol("kallsyms_" + name)
		if !ok {
			return 0, &MissingError{What: "SYMBOL(kallsyms_" + name + ")",
				Why: "since Linux 6.0, with CONFIG_KALLSYMS_ALL for data; older kernels need /proc/kallsyms or debug information"}
		}
		return a, nil
	}
	var addr [4]uint64
	for i, name := range []string{"num_syms", "names", "token_table", "token_index"} {
		a, err := at(name)
		if err != nil {
			return nil, err
		}
		addr[i] = a
	}
	n, err := k.Space.Uint32(addr[0])
	if err != nil {
		return nil, fmt.Errorf("read number of symbols: %w", err)
	}
	if n == 0 || n > maxSymbols {
		return nil, fmt.Errorf("layout: table of %d symbols: implausible", n)
	}
	var t kallsyms
	if err := k.readSymbolValues(&t, int(n)); err != nil {
		return nil, err
	}
	tokens, err := k.readTokens(addr[2], addr[3])
	if err != nil {
		return nil, err
	}
	names := &virtReader{space: k.Space, at: addr[1]}
	d := nameDecoder{tokens: tokens, long: k.Info.AtLeast(6, 1)}
	return k.decodeSymbols(&t, int(n), names, &d)
}

// readSymbolValues reads the table of addresses.
func (k *Kernel) readSymbolValues(t *kallsyms, n int) error {
	width := uint64(4)
	var ok bool
	t.values, ok = k.Info.Symbol("kallsyms_offsets")
	if !ok {
		if t.values, ok = k.Info.Symbol("kallsyms_addresses"); !ok {
			return &MissingError{What: "SYMBOL(kallsyms_offsets)", Why: "since Linux 6.0"}
		}
		t.absolute, width = true, 8
	}
	if base, ok := k.Info.Symbol("kallsyms_relative_base"); ok {
		v, err := k.Space.Uint64(base)
		if err != nil {
			return fmt.Errorf("read base of symbol addresses: %w", err)
		}
		t.base, t.hasBase = v, true
	}
	raw, err := k.Space.Bytes(t.values, uint64(n)*width)
	if err != nil {
		return fmt.Errorf("read symbol addresses: %w", err)
	}
	t.raw = raw
	return nil
}

// readTokens reads the 256 strings that names are composed of.
func (k *Kernel) readTokens(table, index uint64) (*[256]string, error) {
	idx, err := k.Space.Bytes(index, 512)
	if err != nil {
		return nil, fmt.Errorf("read index of symbol tokens: %w", err)
	}
	var tokens [256]string
	for i := range tokens {
		off := binary.LittleEndian.Uint16(idx[i*2:])
		tokens[i], err = k.Space.String(table+uint64(off), maxSymbolName)
		if err != nil {
			return nil, fmt.Errorf("read symbol token %d: %w", i, err)
		}
	}
	return &tokens, nil
}

// decodeSymbols expands the names and finds out how the addresses are encoded.
func (k *Kernel) decodeSymbols(t *kallsyms, n int, names *virtReader, d *nameDecoder) (*Symbols, error) {
	known := make(map[string]uint64)
	k.Info.Symbols(func(name string, addr uint64) { known[name] = addr })

	s := newSymbols(min(n, 1<<20))
	var right [codes]int
	for i := range n {
		name, err := d.next(names)
		if err != nil {
			return nil, fmt.Errorf("read name of symbol %d of %d: %w", i, n, err)
		}
		if len(s.names)+len(name) > maxSymbolNames {
			return nil, fmt.Errorf("layout: names of symbols exceed %d bytes: implausible", maxSymbolNames)
		}
		if len(name) == 0 {
			name = []byte("?")
		}
		s.add(0, name[0], name[1:])
		if addr, ok := known[string(name[1:])]; ok {
			for _, c := range t.possible() {
				if t.address(c, i) == addr {
					right[c]++
				}
			}
		}
	}
	best := t.possible()[0]
	for _, c := range t.possible() {
		if right[c] > right[best] {
			best = c
		}
	}
	if right[best] == 0 {
		return nil, fmt.Errorf("layout: the kernel's symbol table contradicts VMCOREINFO: none of %d common symbols has the same address", len(known))
	}
	for i := range n {
		s.addrs[i] = t.address(best, i)
	}
	s.sort()
	return s, nil
}

// nameDecoder expands compressed names.
type nameDecoder struct {
	tokens *[256]string
	long   bool // lengths may take two bytes
	out    []byte
}

// next returns the type letter and name of the next symbol, valid until the
// following call.
func (d *nameDecoder) next(r *virtReader) ([]byte, error) {
	b, err := r.byte()
	if err != nil {
		return nil, err
	}
	length := int(b)
	if d.long && b&0x80 != 0 {
		b, err := r.byte()
		if err != nil {
			return nil, err
		}
		length = length&0x7f | int(b)<<7
	}
	d.out = d.out[:0]
	for range length {
		b, err := r.byte()
		if err != nil {
			return nil, err
		}
		d.out = append(d.out, d.tokens[b]...)
		if len(d.out) > maxSymbolName {
			return nil, fmt.Errorf("layout: symbol name of more than %d bytes: implausible", maxSymbolName)
		}
	}
	return d.out, nil
}

// virtReader reads virtual memory byte by byte, through a buffer.
type virtReader struct {
	space *Space
	at    uint64 // of the next byte to fetch into buf
	buf   [4096]byte
	have  []byte
}

func (r *virtReader) byte() (byte, error) {
	if len(r.have) == 0 {
		// Up to the next page, so that unreadable memory behind the last byte
		// does not matter.
		n := len(r.buf) - int(r.at%uint64(len(r.buf)))
		got, err := r.space.ReadVirt(r.buf[:n], r.at)
		if got == 0 {
			return 0, err
		}
		r.have = r.buf[:got]
		r.at += uint64(got)
	}
	b := r.have[0]
	r.have = r.have[1:]
	return b, nil
}
