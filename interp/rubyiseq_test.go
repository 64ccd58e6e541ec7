package interp

import (
	"testing"
)

// str puts a string that lies in its object.
func (s space) str(addr, embedded uint64, text string) uint64 {
	if embedded == 16 {
		s.u64(addr, isString|uint64(len(text))<<14)
	} else {
		s.u64(addr, isString)
		s.u64(addr+16, uint64(len(text)))
	}
	s.put(addr+embedded, []byte(text))
	return addr
}

// far puts a string that lies elsewhere.
func (s space) far(addr, at, size uint64) uint64 {
	s.u64(addr, isString|flagUser1)
	s.u64(addr+16, size)
	s.u64(addr+24, at)
	return addr
}

// array puts an array that lies in its object, or elsewhere.
func (s space) array(addr, at uint64, values ...uint64) uint64 {
	if at == 0 {
		s.u64(addr, isArray|flagUser1|uint64(len(values))<<15)
		at = addr + 16
	} else {
		s.u64(addr, isArray)
		s.u64(addr+16, uint64(len(values)))
		s.u64(addr+32, at)
	}
	for i, v := range values {
		s.u64(at+uint64(i)*8, v)
	}
	return addr
}

func rubyOf(t *testing.T, s space, version int) *ruby {
	t.Helper()
	r := &ruby{memory: newMemory(s), version: version, iseqs: map[uint64]*rubyISeq{}}
	if !r.layout() {
		t.Fatalf("version %#x", version)
	}
	return r
}

func TestRubyVersions(t *testing.T) {
	for version, known := range map[int]bool{0x30007: false, 0x30107: true, 0x30200: true, 0x30305: true, 0x30401: true, 0x30500: true, 0x40000: true, 0x40100: false, 0x20700: false} {
		if got := (&ruby{version: version}).layout(); got != known {
			t.Errorf("%#x: %v", version, got)
		}
	}
}

func TestRubyStrings(t *testing.T) {
	for _, version := range []int{0x30107, 0x30200, 0x40000} {
		s := space{}
		r := rubyOf(t, s, version)
		asked, real := s.str(0x1000, r.embedded, "shop.rb"), s.far(0x1100, 0x2000, 12)
		s.put(0x2000, []byte("/srv/shop.rb and more"))
		for _, c := range []struct {
			what string
			v    uint64
			want string
		}{
			{"in its object", asked, "shop.rb"},
			{"elsewhere", real, "/srv/shop.rb"},
			{"both paths", s.array(0x4000, 0, asked, real), "/srv/shop.rb"},
			{"both paths elsewhere", s.array(0x4100, 0x4200, asked, real), "/srv/shop.rb"},
			{"a file that is made up", s.array(0x4300, 0, asked, 8), "shop.rb"},
			{"three", s.array(0x4400, 0, asked, real, real), ""},
			{"more than is there", s.far(0x4500, 0x2800, 1<<40), ""},
			{"a number", 0x1001, ""},
			{"nothing", 0, ""},
			{"not in the dump", 0x900000, ""},
		} {
			if got := r.path(c.v); got != c.want {
				t.Errorf("%#x, %s: %q, want %q", version, c.what, got, c.want)
			}
		}
	}
}

// TestRubyLines finds lines by the table of the first instructions and by that of
// those behind them.
func TestRubyLines(t *testing.T) {
	const iseq, body, code, lines, table, words = 0x1000, 0x2000, 0x10000, 0x3000, 0x4000, 1200
	s := space{}
	r := rubyOf(t, s, 0x30401)
	s.u64(iseq+16, body)
	s.u32(body+4, words)
	s.u64(body+8, code)
	s.u64(body+64, s.str(0x5000, r.embedded, "/srv/shop.rb"))
	s.u64(body+80, s.str(0x5100, r.embedded, "price"))
	s.u64(body+r.lines, lines)
	s.u64(body+r.linePosition, table)
	begins := []uint64{0, 5, 53, 54, 117, 118, 565, 566, 567, 1100} // instructions that an entry begins at
	s.u32(body+r.lineCount, uint32(len(begins)))
	for i := range begins {
		s.u32(lines+uint64(i)*lineEntry, uint32(100+i))
	}
	rank := func(at uint64) (n uint64) {
		for _, b := range begins {
			if b <= at {
				n++
			}
		}
		return n
	}
	for at := range uint64(54) {
		word := table + at/9*8
		s.u64(word, r.u64(word)|rank(at)<<(at%9*7))
	}
	// Blocks of 512 instructions from the 55th on.
	for block := range uint64(3) {
		first := 54 + block*512
		at := table + 48 + block*80
		before := rank(first - 1)
		s.u32(at, uint32(before))
		ranks := uint64(0)
		for word := range uint64(8) {
			if word > 0 {
				ranks |= (rank(first+word*64-1) - before) << ((word - 1) * 9)
			}
			bits := uint64(0)
			for _, b := range begins {
				if b >= first+word*64 && b < first+word*64+64 {
					bits |= 1 << (b - first - word*64)
				}
			}
			s.u64(at+16+word*8, bits)
		}
		s.u64(at+8, ranks)
	}
	q := r.readISeq(iseq)
	if q.file != "/srv/shop.rb" || q.label != "price" {
		t.Errorf("%+v", q)
	}
	for at := range uint64(words) {
		if got, want := q.line(r, code+(at+1)*8), int(99+rank(at)); got != want { // pc is where it goes on
			t.Fatalf("instruction %d: line %d, want %d", at, got, want)
		}
	}
	for _, pc := range []uint64{0, code - 8, code + (words+1)*8, ^uint64(0)} {
		if got := q.line(r, pc); got != 0 {
			t.Errorf("%#x: line %d", pc, got)
		}
	}
	q.count = 1 << 25
	if got := q.line(r, code+8); got != 0 {
		t.Errorf("of too many entries: line %d", got)
	}
}

// TestRubyMethods names methods in C by the arrays of names.
func TestRubyMethods(t *testing.T) {
	const ep, entry, definition, id = 0x1100, 0x2000, 0x3000, 700
	s := space{}
	r := rubyOf(t, s, 0x30401)
	names := make([]uint64, 2*(id%idUnit)+2)
	names[2*(id%idUnit)] = s.str(0x4000, r.embedded, "syswrite")
	r.ids, r.idsOK = s.array(0x5000, 0, 0, s.array(0x6000, 0x7000, names...)), true
	s.u64(ep-16, entry)
	s.u64(entry, imemoMethod<<12)
	s.u64(entry+16, definition)
	s.u64(definition+32, id<<4)
	if got := r.method(ep); got != "syswrite" {
		t.Errorf("%q", got)
	}
	s.u64(0x8000, imemoSVar<<12) // with variables of its own round it
	s.u64(0x8008, entry)
	s.u64(ep-16, 0x8000)
	if got := r.method(ep); got != "syswrite" {
		t.Errorf("behind variables: %q", got)
	}
	for what, change := range map[string]func(){
		"no name of that number": func() { s.u64(definition+32, (id+1)<<4) },
		"no such array":          func() { s.u64(definition+32, 1<<40) },
		"not in the dump":        func() { s.u64(entry+16, 0x900000) },
		"no entry":               func() { s.u64(ep-16, 0) },
	} {
		change()
		if got := r.method(ep); got != "<method in C>" || r.failed {
			t.Errorf("%s: %q", what, got)
		}
	}
}
