// Package layouttest builds the memory of kernels for tests: physical memory,
// page tables, symbol tables and type data, of kernels that no test machine
// runs. It shares no code with package layout, so that a mistake there shows.
package layouttest

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"procdump/arch"
	"procdump/kdump"
)

// chunkSize is the piece of memory that exists or not.
const chunkSize = 256

// Memory is physical memory that holds what was written to it. The zero value
// is empty.
type Memory struct {
	chunks map[uint64]*[chunkSize]byte
	order  []uint64 // of the chunks, for Damage
}

// ReadPhys implements kdump.Memory.
func (m *Memory) ReadPhys(b []byte, addr uint64) (n int, err error) {
	for n < len(b) {
		at := addr + uint64(n)
		c := m.chunks[at/chunkSize]
		if c == nil {
			return n, fmt.Errorf("read physical address %#x: %w", at, kdump.ErrAbsent)
		}
		n += copy(b[n:], c[at%chunkSize:])
	}
	return n, nil
}

// Write stores bytes.
func (m *Memory) Write(addr uint64, b []byte) {
	if m.chunks == nil {
		m.chunks = make(map[uint64]*[chunkSize]byte)
	}
	for len(b) > 0 {
		c := m.chunks[addr/chunkSize]
		if c == nil {
			c = new([chunkSize]byte)
			m.chunks[addr/chunkSize] = c
		}
		n := copy(c[addr%chunkSize:], b)
		addr, b = addr+uint64(n), b[n:]
	}
}

// Put64 stores 64 bits.
func (m *Memory) Put64(addr, v uint64) { m.Write(addr, binary.LittleEndian.AppendUint64(nil, v)) }

// Put32 stores 32 bits.
func (m *Memory) Put32(addr uint64, v uint32) {
	m.Write(addr, binary.LittleEndian.AppendUint32(nil, v))
}

// Zero makes n bytes of zeros exist.
func (m *Memory) Zero(addr, n uint64) { m.Write(addr, make([]byte, n)) }

// Drop makes the 256 bytes around addr unreadable.
func (m *Memory) Drop(addr uint64) { delete(m.chunks, addr/chunkSize) }

// Damage changes a byte somewhere.
func (m *Memory) Damage(rnd *rand.Rand) {
	if m.order == nil {
		m.order = slices.Sorted(maps.Keys(m.chunks))
	}
	c := m.chunks[m.order[rnd.IntN(len(m.order))]]
	if rnd.IntN(2) == 0 {
		c[rnd.IntN(chunkSize)] ^= 1 << rnd.IntN(8)
	} else {
		c[rnd.IntN(chunkSize)] = byte(rnd.Uint32())
	}
}

// Tables is a set of page tables in memory.
type Tables struct {
	Mem *Memory
	// Next is where the next table is put.
	Next uint64
	// PageShift is 12, 14 or 16; Levels the number of levels.
	PageShift, Levels uint
	// Table and Leaf encode an entry: for a table, and for a page or block of
	// a level.
	Table func(phys uint64) uint64
	Leaf  func(phys uint64, level uint) uint64
}

// AMD64Tables builds tables of x86-64 with 4 or 5 levels.
func AMD64Tables(m *Memory, next uint64, levels uint) *Tables {
	return &Tables{
		Mem: m, Next: next, PageShift: 12, Levels: levels,
		Table: func(p uint64) uint64 { return p | 0x67 },
		Leaf: func(p uint64, level uint) uint64 {
			if level > 1 {
				return p | 0xe3 | 1<<63
			}
			return p | 0x63 | 1<<63
		},
	}
}

// ARM64Tables builds tables of arm64. highMask and highShift place the address
// bits from 48 (or 50) up in an entry.
func ARM64Tables(m *Memory, next uint64, pageShift, levels uint, lowBits uint, highMask uint64, highShift uint) *Tables {
	enc := func(p uint64) uint64 { return p&(1<<lowBits-1) | p>>highShift&highMask }
	return &Tables{
		Mem: m, Next: next, PageShift: pageShift, Levels: levels,
		Table: func(p uint64) uint64 { return enc(p) | 3 },
		Leaf: func(p uint64, level uint) uint64 {
			if level > 1 {
				return enc(p) | 1 | 1<<10 | 1<<54
			}
			return enc(p) | 3 | 1<<10 | 1<<54
		},
	}
}

// NewTable returns an empty table of size bytes.
func (t *Tables) NewTable(size uint64) uint64 {
	at := t.Next
	t.Next += max(size, 1<<t.PageShift)
	t.Mem.Zero(at, size)
	return at
}

// Map maps a page or block of a level: 1 is a page. topMask cuts the index into
// the topmost table.
func (t *Tables) Map(root, virt, phys uint64, level uint, topMask uint64) {
	t.Set(root, virt, t.Leaf(phys, level), level, topMask)
}

// Set writes the entry for virt in the table of a level, and the tables above.
func (t *Tables) Set(root, virt, entry uint64, level uint, topMask uint64) {
	table := root
	bits := t.PageShift - 3
	for l := t.Levels; ; l-- {
		mask := uint64(1)<<bits - 1
		if l == t.Levels {
			mask = topMask
		}
		at := table + virt>>(t.PageShift+(l-1)*bits)&mask*8
		if l == level {
			t.Mem.Put64(at, entry)
			return
		}
		var raw [8]byte
		if _, err := t.Mem.ReadPhys(raw[:], at); err != nil {
			panic(err)
		}
		e := binary.LittleEndian.Uint64(raw[:])
		if e == 0 {
			sub := t.NewTable(1 << t.PageShift)
			e = t.Table(sub)
			t.Mem.Put64(at, e)
			table = sub
			continue
		}
		table = t.subTable(e)
	}
}

// subTable inverts Table: tables of tests lie below 2^32.
func (t *Tables) subTable(e uint64) uint64 { return e & (1<<32 - 1) &^ (1<<t.PageShift - 1) }

// Dump is a dump with this memory.
func Dump(machine arch.Machine, m kdump.Memory, info string, runs ...kdump.Run) *kdump.Dump {
	return &kdump.Dump{Arch: machine, PageSize: 4096, Memory: m, VMCoreInfo: []byte(info), Runs: runs}
}
