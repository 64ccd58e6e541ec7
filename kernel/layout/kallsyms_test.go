package layout

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"procdump/kernel/layout/layouttest"
)

// tableSymbols are the symbols of the kernels that tests build.
var tableSymbols = []layouttest.Symbol{
	{Addr: 0, Type: 'A', Name: "fixed_percpu_data"},
	{Addr: 0x21a00, Type: 'A', Name: "runqueues"},
	{Addr: x86Image, Type: 'T', Name: "_text"},
	{Addr: x86Image + 0x40, Type: 'T', Name: "_stext"},
	{Addr: x86Image + 0x40, Type: 't', Name: "same_place"},
	{Addr: x86Image + 0x900, Type: 't', Name: "do_" + strings.Repeat("long_", 60) + "end"},
	{Addr: x86Image + 0x10000, Type: 'D', Name: "swapper_pg_dir"},
	{Addr: x86Image + 0x20000, Type: 'D', Name: "kallsyms_token_table"},
	{Addr: x86Image + 0x30000, Type: 'B', Name: "_end"},
}

func kallsymsKernel(e layouttest.Encoding, symbols []layouttest.Symbol) *x86Kernel {
	k := newX86(4, 0xffff888000000000)
	fmt.Fprintf(&k.info, "SYMBOL(_stext)=%x\n", uint64(x86Image+0x40))
	k.info.WriteString(layouttest.Kallsyms(symbols, e, x86Image, k.put))
	return k
}

func TestKallsyms(t *testing.T) {
	for name, e := range map[string]layouttest.Encoding{
		"absolute per CPU": layouttest.AbsolutePerCPU, "relative": layouttest.Relative,
		"place": layouttest.Place, "absolute": layouttest.Absolute,
	} {
		t.Run(name, func(t *testing.T) {
			want := tableSymbols
			if e == layouttest.Relative || e == layouttest.Place {
				want = want[2:] // these have no symbols near address 0
			}
			s, err := kallsymsKernel(e, want).open(t).Symbols()
			if err != nil {
				t.Fatal(err)
			}
			i := 0
			for got := range s.All() {
				if layouttest.Symbol(got) != want[i] {
					t.Errorf("symbol %d is %x %c %s, want %x %s", i, got.Addr, got.Type, got.Name, want[i].Addr, want[i].Name)
				}
				i++
			}
			if i != len(want) {
				t.Errorf("%d symbols, want %d", i, len(want))
			}
			for _, w := range want {
				if a, ok := s.Lookup(w.Name); !ok || a != w.Addr {
					t.Errorf("%s at %#x, %v", w.Name, a, ok)
				}
			}
			if _, ok := s.Lookup("nothing"); ok {
				t.Error("a symbol that is not there was found")
			}
			sym, off, ok := s.Find(x86Image + 0x123)
			if !ok || sym.Name != "_stext" || off != 0xe3 {
				t.Errorf("%#x is %s+%#x, %v", uint64(x86Image+0x123), sym.Name, off, ok)
			}
			if n := s.SizeAt(x86Image + 0x123); n != 0x8c0 {
				t.Errorf("size of _stext is %#x, want 0x8c0", n)
			}
			if e == layouttest.Place {
				if _, _, ok := s.Find(5); ok {
					t.Error("an address before the first symbol was found")
				}
			}
		})
	}
}

func TestKallsymsDamaged(t *testing.T) {
	k := kallsymsKernel(layouttest.AbsolutePerCPU, tableSymbols)
	info := ParseInfo([]byte(k.info.String()))
	count, _ := info.Symbol("kallsyms_num_syms")
	for _, n := range []uint32{0, 1000, 1 << 30} {
		k.mem.Put32(k.phys(count), n)
		if s, err := k.open(t).Symbols(); err == nil && s.Len() > 1000 {
			t.Errorf("a table of %d symbols was read", n)
		}
	}
	k.mem.Put32(k.phys(count), uint32(len(tableSymbols)))
	base, _ := info.Symbol("kallsyms_relative_base")
	k.mem.Put64(k.phys(base), 12345)
	if _, err := k.open(t).Symbols(); err == nil || !strings.Contains(err.Error(), "contradicts") {
		t.Errorf("table with a false base: %v", err)
	}
	names, _ := info.Symbol("kallsyms_names")
	k.mem.Drop(k.phys(names))
	if _, err := k.open(t).Symbols(); err == nil {
		t.Error("a table without names was read")
	}
	old := newX86(4, 0xffff888000000000).open(t)
	if _, err := old.Symbols(); !errors.Is(err, ErrMissing) {
		t.Errorf("kernel without the keys: %v", err)
	}
	old.UseSymbols(func(name string) (uint64, bool) { return 42, name == "jiffies" })
	if a, err := old.Symbol("jiffies"); a != 42 || err != nil {
		t.Errorf("symbol from outside: %d, %v", a, err)
	}
}

func FuzzKallsyms(f *testing.F) {
	f.Add([]byte("\x03Tab\x02tx"), []byte{0, 0, 0, 0, 0x40, 0, 0, 0}, uint32(2))
	f.Add([]byte{0xff, 0xff, 1, 2, 3}, []byte{0xff}, uint32(5000))
	f.Fuzz(func(t *testing.T, names, offsets []byte, n uint32) {
		k := newX86(4, 0xffff888000000000)
		fmt.Fprintf(&k.info, "SYMBOL(_stext)=%x\n", uint64(x86Image))
		at := func(name string, b []byte) { fmt.Fprintf(&k.info, "SYMBOL(kallsyms_%s)=%x\n", name, k.put(0, b)) }
		le := binary.LittleEndian
		at("num_syms", le.AppendUint32(nil, n))
		at("names", append(names, 0))
		at("offsets", append(offsets, 0))
		at("relative_base", le.AppendUint64(nil, x86Image))
		var index, table []byte
		for i := range 256 {
			index = le.AppendUint16(index, uint16(len(table)))
			table = append(table, byte(i), 0)
		}
		at("token_table", table)
		at("token_index", index)
		s, err := k.open(t).Symbols()
		if (s == nil) == (err == nil) {
			t.Fatalf("symbols %v with error %v", s, err)
		}
		if s != nil {
			for sym := range s.All() {
				s.Find(sym.Addr)
			}
		}
	})
}
