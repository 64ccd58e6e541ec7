package windump

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"procdump/kdump"
)

func TestPagingModes(t *testing.T) {
	for name, want := range map[string]string{"x64": "4-level", "la57": "5-level", "arm64": "arm64", "pae": "PAE", "i386": "32-bit"} {
		t.Run(name, func(t *testing.T) {
			m := allMachines(t)[name]
			s, err := open(t, m.full()).Space(m.root << 12)
			if err != nil || s.Levels() != want {
				t.Fatalf("%v, want %s, %v", s, want, err)
			}
			b := make([]byte, 5000)
			if n, err := s.ReadVirt(b, m.va(stackVA+17)); n != 5083-17 && n != len(b) || !strings.HasPrefix(string(b), "kernel stack herekernel") {
				t.Errorf("%d bytes, %v", n, err)
			}
		})
	}
	// Nothing tells a machine without any list from one with four levels.
	m := machineX64(t)
	if s, err := open(t, m.full()).Space(0); err != nil || s.Levels() != "4-level" {
		t.Errorf("%v, %v", s, err)
	}
}

// TestLargePages maps memory above the last level.
func TestLargePages(t *testing.T) {
	for name, c := range map[string]struct {
		machine func(testing.TB) *machine
		level   int
		shift   uint
		flags   uint64
	}{
		"x64 1 GiB":   {machineX64, 1, 30, 0xe3},
		"x64 2 MiB":   {machineX64, 2, 21, 0xe3 | 1<<12}, // PAT
		"la57 2 MiB":  {machineLA57, 3, 21, 0xe3},
		"arm64 1 GiB": {machineARM64, 1, 30, 0x701},
		"arm64 2 MiB": {machineARM64, 2, 21, 0x701},
		"pae 2 MiB":   {machinePAE, 1, 21, 0xe3},
		"i386 4 MiB":  {machineI386, 0, 22, 0xe3},
	} {
		t.Run(name, func(t *testing.T) {
			m := c.machine(t).fill()
			const base = 0 // physical
			va := m.va(kernelBase+0x40000000) &^ (1<<c.shift - 1)
			m.mem[0x55] = bytes.Repeat([]byte("large"), 0x1000)[:0x1000]
			m.put(m.slot(va, c.level), base|c.flags)
			s, err := open(t, m.full()).Space(m.root << 12)
			if err != nil {
				t.Fatal(err)
			}
			phys, left, err := s.Translate(va + 0x55123)
			if err != nil || phys != 0x55123 || left != 1<<c.shift-0x55123 {
				t.Errorf("%#x, %#x left, %v", phys, left, err)
			}
			b := make([]byte, 10)
			if n, err := s.ReadVirt(b, va+0x55000); n != 10 || err != nil || string(b) != "largelarge" {
				t.Errorf("%d bytes %q, %v", n, b, err)
			}
		})
	}
}

func TestNotPresentPages(t *testing.T) {
	m := machineX64(t).fill()
	va, protoVA := uint64(kernelBase+0x900000), uint64(kernelBase+0xa00000)
	marked := m.alloc()
	copy(m.mem[marked], "still in memory")
	proto := func(e uint64) uint64 { m.write(protoVA, m.w().p(e).b); return protoVA<<16 | 1<<10 }
	for name, c := range map[string]struct {
		entry  func() uint64
		reason string // "" if the page can be read
	}{
		"transition":                   {func() uint64 { return marked<<12 | 1<<11 | 1<<4 }, ""},
		"transition, high bits set":    {func() uint64 { return 1<<45 | marked<<12 | 1<<11 }, ""},
		"transition beyond the memory": {func() uint64 { return 1<<45 | marked<<12 | 1<<11 | 1<<4 }, "no RAM"},
		"prototype, valid":             {func() uint64 { return proto(m.present(marked)) }, ""},
		"prototype, transition":        {func() uint64 { return proto(marked<<12 | 1<<11 | 1<<4) }, ""},
		"prototype, file":              {func() uint64 { return proto(0x1234<<16 | 1<<10) }, "mapped file"},
		"prototype, zero":              {func() uint64 { return proto(0) }, "nothing is mapped"},
		"prototype, itself":            {func() uint64 { return va<<16 | 1<<10 }, "prototype entry"},
		"prototype, nowhere":           {func() uint64 { return 0x1000<<16 | 1<<10 }, "prototype entry at 0x1000"},
		"VAD":                          {func() uint64 { return 0xffffffff00000000 | 1<<10 }, "VAD"},
		"page file":                    {func() uint64 { return 0x12345<<32 | 4<<5 }, "page file"},
		"demand zero":                  {func() uint64 { return 4 << 5 }, "demand zero"},
		"nothing":                      {func() uint64 { return 0 }, "nothing is mapped"},
		"left out":                     {func() uint64 { return m.present(0x2f0) }, "left out"},
		"no RAM":                       {func() uint64 { return m.present(0x5000) }, "no RAM"},
	} {
		t.Run(name, func(t *testing.T) {
			m.setEntry(va, c.entry())
			r := open(t, m.bitmap(6, "SDMP", true))
			b := make([]byte, 15)
			n, err := r.ReadVirt(b, va)
			if c.reason == "" {
				if n != len(b) || err != nil || string(b) != "still in memory" {
					t.Errorf("%d bytes %q, %v", n, b, err)
				}
				return
			}
			if n != 0 || err == nil || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("%d bytes, %v, want %q", n, err, c.reason)
			}
			if !errors.Is(err, ErrNotMapped) && !errors.Is(err, kdump.ErrExcluded) && !errors.Is(err, kdump.ErrAbsent) {
				t.Errorf("cause of %v", err)
			}
		})
	}
}

// TestPrototypePAE has a prototype entry of 32-bit Windows, whose address is in
// the upper half.
func TestPrototypePAE(t *testing.T) {
	m := machinePAE(t).fill()
	page := m.alloc()
	copy(m.mem[page], "shared")
	m.write(0x90000000, m.w().u64(m.present(page)).b)
	m.setEntry(0x91000000, 0x90000000<<32|1<<10)
	b := make([]byte, 6)
	if _, err := open(t, m.full()).ReadVirt(b, 0x91000000); err != nil || string(b) != "shared" {
		t.Errorf("%q, %v", b, err)
	}
}

// TestUserHalf reads a user address, by the header's and another address space.
func TestUserHalf(t *testing.T) {
	for name, addr := range map[string]uint64{"x64": 0x00007ff812345678, "la57": 0x0012345678901234, "arm64": 0x00007ff812345678, "pae": 0x12345678, "i386": 0x12345678} {
		m := allMachines(t)[name]
		m.write(addr, []byte("user"))
		r := open(t, m.full())
		s, err := r.Space(m.root<<12 | 2)
		if err != nil {
			t.Fatal(err)
		}
		other, err := r.Space(m.alloc() << 12)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4)
		if _, err := s.ReadVirt(b, addr); err != nil || string(b) != "user" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
		if _, err := r.ReadVirt(b, addr); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := other.ReadVirt(b, addr); !errors.Is(err, ErrNotMapped) {
			t.Errorf("%s, another space: %v", name, err)
		}
	}
}

func TestPageFaults(t *testing.T) {
	all := allMachines(t)
	for name, addr := range map[string]uint64{"x64": 0x0000800000000000, "la57": 0x0100000000000000, "arm64": 0x0000800000000000, "pae": 0x100000000, "i386": 0x1ffffffff} {
		var fault *PageFault
		if _, err := open(t, all[name].full()).ReadVirt(make([]byte, 1), addr); !errors.As(err, &fault) || fault.Addr != addr || fault.Level != "address" || !errors.Is(err, ErrNotMapped) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A table that is not in the dump.
	m := all["x64"]
	m.put(m.slot(kernelBase+0x8000000000, 0), 0x3f0<<12|0x63)
	var fault *PageFault
	if _, err := open(t, m.bitmap(6, "SDMP", true)).ReadVirt(make([]byte, 1), kernelBase+0x8000000000); !errors.As(err, &fault) || fault.Level != "PDPT entry" || !errors.Is(err, kdump.ErrExcluded) {
		t.Errorf("missing table: %v", err)
	}
	// The end of the address space does not wrap.
	if n, err := open(t, m.full()).ReadVirt(make([]byte, 2), ^uint64(0)); n != 0 || err == nil {
		t.Errorf("last byte: %d bytes, %v", n, err)
	}
	// No page tables for a machine that is not known.
	m.id = 0x200
	if _, err := open(t, m.full()).ReadVirt(make([]byte, 1), kernelBase); !errors.Is(err, ErrNotThere) {
		t.Errorf("Itanium: %v", err)
	}
}
