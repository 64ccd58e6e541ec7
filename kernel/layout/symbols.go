package layout

import (
	"cmp"
	"iter"
	"slices"
)

// Symbol is a named address of a kernel or a module.
type Symbol struct {
	Addr uint64
	// Type is the letter that nm(1) prints: 'T' or 't' code, 'D' or 'd' data, …
	Type byte
	Name string
}

// Symbols is a symbol table. It keeps some 40 bytes for a symbol and its name,
// because the table of a kernel is also read where memory is short.
type Symbols struct {
	names  []byte   // all names, one after the other
	start  []uint32 // where each begins in names, and the end of the last
	types  []byte
	addrs  []uint64
	byAddr []uint32 // the order by address; nil if that is the order of the table
}

func newSymbols(n int) *Symbols {
	return &Symbols{
		names: make([]byte, 0, n*25),
		start: append(make([]uint32, 0, n+1), 0),
		types: make([]byte, 0, n),
		addrs: make([]uint64, 0, n),
	}
}

// add appends a symbol; addresses may be set later.
func (s *Symbols) add(addr uint64, typ byte, name []byte) {
	s.names = append(s.names, name...)
	s.start = append(s.start, uint32(len(s.names)))
	s.types = append(s.types, typ)
	s.addrs = append(s.addrs, addr)
}

// sort prepares the search by address.
func (s *Symbols) sort() {
	s.byAddr = nil
	if slices.IsSorted(s.addrs) {
		return
	}
	s.byAddr = make([]uint32, len(s.addrs))
	for i := range s.byAddr {
		s.byAddr[i] = uint32(i)
	}
	slices.SortStableFunc(s.byAddr, func(a, b uint32) int { return cmp.Compare(s.addrs[a], s.addrs[b]) })
}

// Len is the number of symbols.
func (s *Symbols) Len() int { return len(s.addrs) }

// At returns symbol i in the order of the table.
func (s *Symbols) At(i int) Symbol {
	return Symbol{Addr: s.addrs[i], Type: s.types[i], Name: string(s.name(i))}
}

func (s *Symbols) name(i int) []byte { return s.names[s.start[i]:s.start[i+1]] }

// All yields all symbols in the order of the table.
func (s *Symbols) All() iter.Seq[Symbol] {
	return func(yield func(Symbol) bool) {
		for i := range s.addrs {
			if !yield(s.At(i)) {
				return
			}
		}
	}
}

// Lookup returns the address of the first symbol of this name.
func (s *Symbols) Lookup(name string) (addr uint64, ok bool) {
	for i := range s.addrs {
		if s.start[i+1]-s.start[i] == uint32(len(name)) && string(s.name(i)) == name {
			return s.addrs[i], true
		}
	}
	return 0, false
}

// Find returns the symbol that addr lies at or behind, and how far behind. Of
// several at the same address it is the first of the table.
func (s *Symbols) Find(addr uint64) (sym Symbol, off uint64, ok bool) {
	i, exact := s.search(addr)
	if !exact {
		if i == 0 {
			return Symbol{}, 0, false
		}
		i, _ = s.search(s.addrAt(i - 1))
	}
	sym = s.At(s.index(i))
	return sym, addr - sym.Addr, true
}

// SizeAt returns how far it is from the symbol at addr or before it to the
// next; 0 if there is none.
func (s *Symbols) SizeAt(addr uint64) uint64 {
	sym, _, ok := s.Find(addr)
	if !ok {
		return 0
	}
	i, _ := s.search(sym.Addr + 1)
	if i >= len(s.addrs) {
		return 0
	}
	return s.addrAt(i) - sym.Addr
}

// index turns a rank by address into a number in the table.
func (s *Symbols) index(rank int) int {
	if s.byAddr == nil {
		return rank
	}
	return int(s.byAddr[rank])
}

func (s *Symbols) addrAt(rank int) uint64 { return s.addrs[s.index(rank)] }

// search returns the rank of the first symbol at addr or behind it.
func (s *Symbols) search(addr uint64) (rank int, exact bool) {
	lo, hi := 0, len(s.addrs)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if s.addrAt(mid) < addr {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, lo < len(s.addrs) && s.addrAt(lo) == addr
}
