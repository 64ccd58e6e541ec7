package layout

import (
	"errors"
	"testing"

	"procdump/kernel/layout/layouttest"
)

// sampleBTF is the type data of a small kernel.
func sampleBTF() (*layouttest.BTF, uint32) {
	b := layouttest.NewBTF()
	u64, u32, char := b.Int("unsigned long", 8), b.Int("unsigned int", 4), b.Int("char", 1)
	inner := b.Struct("layout", 16, layouttest.Member{Name: "base", Type: u64}, layouttest.Member{Name: "size", Type: u32, Bits: 64})
	deep := b.Union("", 8, layouttest.Member{Name: "mapping", Type: u64}, layouttest.Member{Name: "slots", Type: u64})
	anon := b.Struct("", 16, layouttest.Member{Name: "lru", Type: u64}, layouttest.Member{Name: "", Type: deep, Bits: 64})
	name, areas := b.Array(char, 56), b.Array(inner, 7)
	outer := b.Struct("module", 256,
		layouttest.Member{Name: "state", Type: b.Enum("module_state", layouttest.Value{Name: "LIVE"}, layouttest.Value{Name: "GOING", Value: -2})},
		layouttest.Member{Name: "name", Type: b.Const(b.Typedef("name_t", name)), Bits: 64},
		layouttest.Member{Type: anon, Bits: 64 * 8},
		layouttest.Member{Name: "mem", Type: areas, Bits: 80 * 8},
		layouttest.Member{Name: "next", Type: b.Ptr(99), Bits: 240 * 8})
	b.Struct("bits", 8, layouttest.Member{Name: "a", Type: u32, Bit: 3}, layouttest.Member{Name: "b", Type: u32, Bits: 3, Bit: 7},
		layouttest.Member{Name: "c", Type: u32, Bits: 32, Bit: 5})
	b.Typedef("module_t", outer)
	b.Enum64("wide", layouttest.Value{Name: "BIG", Value: 0x123456789ab})
	return b, u64
}

func TestBTF(t *testing.T) {
	types, u64 := sampleBTF()
	b, err := ParseBTF(types.Bytes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		structure, path string
		want            Field
	}{
		{"module", "name", Field{Offset: 8, Size: 56, Elem: 1, Len: 56}},
		{"module_t", "name", Field{Offset: 8, Size: 56, Elem: 1, Len: 56}},
		{"module", "lru", Field{Offset: 64, Size: 8}},
		{"module", "mapping", Field{Offset: 72, Size: 8}},
		{"module", "slots", Field{Offset: 72, Size: 8}},
		{"module", "mem", Field{Offset: 80, Size: 112, Elem: 16, Len: 7}},
		{"module", "mem.0.base", Field{Offset: 80, Size: 8}},
		{"module", "mem.6.size", Field{Offset: 80 + 6*16 + 8, Size: 4}},
		{"module", "next", Field{Offset: 240, Size: 8}},
		{"module", "state", Field{Offset: 0, Size: 4}},
		{"bits", "b", Field{Offset: 0, Size: 4, BitOffset: 3, BitSize: 7}},
		{"bits", "c", Field{Offset: 4, Size: 4, BitSize: 5}},
	} {
		got, err := b.Field(c.structure, c.path)
		got.typ = 0
		if err != nil || got != c.want {
			t.Errorf("%s.%s is %+v (%v), want %+v", c.structure, c.path, got, err, c.want)
		}
	}
	for _, path := range []string{"nothing", "mem.7.base", "mem.x", "mem.99999999999999999999", "name.a", "", "next.x"} {
		if f, err := b.Field("module", path); !errors.Is(err, ErrMissing) {
			t.Errorf("module.%s is %+v (%v)", path, f, err)
		}
	}
	if _, err := b.Field("nothing", "x"); !errors.Is(err, ErrMissing) {
		t.Errorf("unknown structure: %v", err)
	}
	if n, err := b.Size("module"); n != 256 || err != nil {
		t.Errorf("module has %d bytes (%v)", n, err)
	}
	if v, err := b.Enum("module_state", "GOING"); v != -2 || err != nil {
		t.Errorf("GOING is %d (%v)", v, err)
	}
	if v, err := b.Enum("wide", "BIG"); v != 0x123456789ab || err != nil {
		t.Errorf("BIG is %#x (%v)", v, err)
	}
	if _, err := b.Enum("wide", "SMALL"); !errors.Is(err, ErrMissing) {
		t.Errorf("unknown enumerator: %v", err)
	}

	split := types.Split()
	split.Struct("kvm", 24, layouttest.Member{Name: "id", Type: u64, Bits: 64})
	m, err := ParseBTF(split.Bytes(), b)
	if err != nil {
		t.Fatal(err)
	}
	if f, err := m.Field("kvm", "id"); f.Offset != 8 || f.Size != 8 || err != nil {
		t.Errorf("member of a module's structure is %+v (%v)", f, err)
	}
	if f, err := m.Field("module", "mem.1.base"); f.Offset != 96 || err != nil {
		t.Errorf("member of a structure of the base is %+v (%v)", f, err)
	}
	if _, err := b.Field("kvm", "id"); err == nil {
		t.Error("the kernel's types know those of a module")
	}
}

func TestBTFUnknownKind(t *testing.T) {
	types, _ := sampleBTF()
	types.Raw("future", 30, 0, 0)
	b, err := ParseBTF(types.Bytes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if b.Truncated() == "" {
		t.Error("an unknown kind was not noticed")
	}
	if _, err := b.Field("module", "name"); err != nil {
		t.Errorf("a type before the unknown one: %v", err)
	}
}

func TestBTFLoops(t *testing.T) {
	b := layouttest.NewBTF()
	b.Typedef("self", 1)
	b.Raw("", 3, 0, 0, 2, 2, 5)                                                                             // an array of itself
	b.Struct("loop", 8, layouttest.Member{Type: 3}, layouttest.Member{Type: 3}, layouttest.Member{Type: 4}) // holds itself without a name
	b.Struct("wide", 8, layouttest.Member{Type: 4}, layouttest.Member{Name: "x", Type: 2})                  // and twice
	p, err := ParseBTF(b.Bytes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"self", "loop", "wide"} {
		if _, err := p.Field(s, "nothing"); err == nil {
			t.Errorf("%s has a member", s)
		}
		_, _ = p.Size(s)
	}
}

func FuzzBTF(f *testing.F) {
	types, _ := sampleBTF()
	f.Add(types.Bytes())
	f.Add(types.Bytes()[:60])
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := ParseBTF(data, nil)
		if (b == nil) == (err == nil) {
			t.Fatalf("types %v with error %v", b, err)
		}
		if b == nil {
			return
		}
		_, _ = b.Field("module", "mem.1.base")
		_, _ = b.Field("module", "mapping")
		_, _ = b.Field("bits", "b")
		_, _ = b.Size("module_t")
		_, _ = b.Enum("wide", "BIG")
		if m, err := ParseBTF(data, b); err == nil {
			_, _ = m.Field("bits", "c")
		}
	})
}
