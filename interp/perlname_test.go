package interp

import (
	"encoding/binary"
	"strings"
	"testing"

	"procdump/snapshot"
)

// space is memory that is laid out by hand.
type space map[uint64][]byte

const spacePage = 4096

func (s space) ReadMemory(p []byte, addr uint64) (int, error) {
	for n := range p {
		at := addr + uint64(n)
		page, ok := s[at&^(spacePage-1)]
		if !ok {
			return n, &snapshot.MemoryError{Addr: at, Err: snapshot.ErrNotMapped}
		}
		p[n] = page[at%spacePage]
	}
	return len(p), nil
}

func (s space) put(addr uint64, b []byte) {
	for n, c := range b {
		at := addr + uint64(n)
		if s[at&^(spacePage-1)] == nil {
			s[at&^(spacePage-1)] = make([]byte, spacePage)
		}
		s[at&^(spacePage-1)][at%spacePage] = c
	}
}

func (s space) u32(addr uint64, v uint32) { s.put(addr, binary.LittleEndian.AppendUint32(nil, v)) }
func (s space) u64(addr, v uint64)        { s.put(addr, binary.LittleEndian.AppendUint64(nil, v)) }

// hek puts a key of a hash.
func (s space) hek(addr uint64, name string) uint64 {
	s.u32(addr+4, uint32(len(name)))
	s.put(addr+8, []byte(name))
	return addr
}

// hash puts a package's hash whose struct xpvhv_aux has so many names.
func (s space) hash(addr uint64, count int32, name uint64) uint64 {
	s.u32(addr+0xc, isHash|hasMore)
	s.u64(addr, addr+0x40)
	s.u64(addr+0x60, name)
	s.u32(addr+0x60+0x1c, uint32(count))
	return addr
}

// glob puts a glob.
func (s space) glob(addr, name, stash uint64) uint64 {
	s.u32(addr+0xc, isGlob|hasGlob)
	s.u64(addr, addr+0x40)
	s.u64(addr+0x10, addr+0x100) // struct gp, whose gp_egv is none
	s.u64(addr+0x100+0x38, 0)
	s.u64(addr+0x60, name)
	s.u64(addr+0x68, stash)
	return addr
}

// sub puts a subroutine; flags may say that it has a name instead of a glob.
func (s space) sub(addr, name, stash uint64, flags uint32) uint64 {
	s.u32(addr+0xc, isCode)
	s.u64(addr, addr+0x40)
	s.u64(addr+0x40+0x38, name)
	s.u64(addr+0x40+0x20, stash)
	s.u32(addr+0x40+0x5c, flags)
	return addr
}

func perlOf(s space) *perl {
	return &perl{memory: newMemory(s), names: map[uint64]string{}, where: map[uint64]place{}, symbols: map[string]snapshot.Range{}}
}

func TestPerlNames(t *testing.T) {
	s := space{}
	shop, item := s.hek(0x1000, "Shop::Item"), s.hek(0x1100, "price")
	stash := s.hash(0x2000, 0, shop)
	glob := s.glob(0x3000, item, stash)
	alias := s.glob(0x4000, s.hek(0x1200, "cost"), stash)
	s.u64(alias+0x100+0x38, glob)
	s.u64(0x5000, shop) // several names
	s.u64(0x5008, item)
	long := s.hek(0x1300, "x")
	s.u32(long+4, maxName+1)
	for _, c := range []struct {
		what string
		cv   uint64
		want string
	}{
		{"of a glob", s.sub(0x6000, glob, 0, 0), "Shop::Item::price"},
		{"of a glob with another name", s.sub(0x7000, alias, 0, 0), "Shop::Item::price"},
		{"with a name of its own", s.sub(0x8000, item, stash, isNamed), "Shop::Item::price"},
		{"of a package of several names", s.sub(0x9000, item, s.hash(0x9200, 2, 0x5000), isNamed), "Shop::Item::price"},
		{"of which the first is missing", s.sub(0xa000, item, s.hash(0xa200, -2, 0x5000), isNamed), "price::price"},
		{"without a package", s.sub(0xb000, item, 0, isNamed), "price"},
		{"with a name that is too long", s.sub(0xc000, long, stash, isNamed), "<unknown>"},
		{"of a glob that is none", s.sub(0xd000, item, stash, 0), "<unknown>"},
		{"not a subroutine", glob, "<unknown>"},
		{"nothing", 0, "<unknown>"},
		{"not in the dump", 0x900000, "<unknown>"},
	} {
		w := perlOf(s)
		if got := w.subroutine(c.cv); got != c.want || w.subroutine(c.cv) != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

func TestPerlPlace(t *testing.T) {
	s := space{}
	s.u32(0x1024, 42)
	s.u64(0x1030, 0x2000)
	s.put(0x2000, []byte("/srv/"+strings.Repeat("x", 5000)+"\x00"))
	s.put(0x3ff0, []byte("/srv/shop.pl\x00")) // up to the end of what there is
	w := perlOf(s)
	w.symbols["PL_thr_key"] = snapshot.Range{Addr: 1}
	if got := w.placeOf(0x1000); got != (place{"", 42}) {
		t.Errorf("a name without an end: %+v", got)
	}
	s.u64(0x1030, 0x3ff0)
	if got := perlOf(s).placeOf(0x1000); got != (place{"", 42}) {
		t.Errorf("no glob: %+v", got)
	}
	w.where = map[uint64]place{}
	if got := w.placeOf(0x1000); got != (place{"/srv/shop.pl", 42}) {
		t.Errorf("%+v", got)
	}
	s.u64(0x1030, s.glob(0x5000, s.hek(0x6000, "_</srv/shop.pl"), 0))
	if got := perlOf(s).placeOf(0x1000); got != (place{"/srv/shop.pl", 42}) {
		t.Errorf("without threads: %+v", got)
	}
	for _, cop := range []uint64{0, 0x1001} {
		if got := w.placeOf(cop); got != (place{}) {
			t.Errorf("%#x: %+v", cop, got)
		}
	}
}
