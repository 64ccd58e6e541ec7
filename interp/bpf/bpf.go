// Package bpf runs programs of eBPF in user space (RFC 9669; the kernel's
// Documentation/bpf/instruction-set.rst), on memory that somebody else provides:
// no kernel takes part.
//
// It knows what compilers make of C for tracing: arithmetic, jumps, calls of
// functions and tail calls, arrays, hash tables, tries of prefixes and tables of
// tables, and the helper functions that read memory and give out results. A
// program that does what it must not, or that does not end, fails with an error;
// whatever it reads, nothing outside the machine's own memory is touched.
package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

var (
	// ErrAccess means that a program used an address that is none of its memory.
	ErrAccess = errors.New("bpf: access outside of the program's memory")
	// ErrSteps means that a program did not end in time.
	ErrSteps = errors.New("bpf: too many steps")
	// ErrProgram means that a program has what this package does not know.
	ErrProgram = errors.New("bpf: unknown instruction or function")
	// ErrMemory means that maps hold more than they may.
	ErrMemory = errors.New("bpf: too much memory")
)

const (
	stackSize = 512       // bytes of a function's frame
	maxCalls  = 16        // functions within each other
	maxTails  = 64        // tail calls one after the other
	maxMemory = 512 << 20 // bytes of all maps together
)

// Machine holds programs and their maps. It is for one goroutine at a time.
type Machine struct {
	// Tail are the programs that tail calls go to, by their index.
	Tail map[uint32]string
	// Steps bounds how many instructions Run may do from now on.
	Steps int

	regions []region
	free    int // bytes that may still be taken
	maps    []*Map
	names   map[string]*Map
	progs   map[string]*program
	stack   uint64 // address of the frames
}

// region is a piece of the machine's memory. An address is the number of its
// region and, in the lower 32 bits, an offset.
type region []byte

// Env is what a run meets outside of the machine.
type Env struct {
	// ReadUser fills p from an address of the process that is looked at.
	ReadUser func(p []byte, addr uint64) bool
	// PIDTGID is the process in the upper half and the thread in the lower.
	PIDTGID uint64
	// Task is the address in the machine of what stands for struct task_struct.
	Task uint64
	// Output takes what a program gives out.
	Output func(p []byte)
}

// New returns a machine with the programs and maps of a collection.
func New(spec *ebpf.CollectionSpec) (*Machine, error) {
	m := &Machine{Tail: map[uint32]string{}, free: maxMemory, names: map[string]*Map{}, progs: map[string]*program{}}
	var err error
	if m.stack, _, err = m.Alloc(stackSize * maxCalls); err != nil {
		return nil, err
	}
	for name, s := range spec.Maps {
		x, err := m.NewMap(s.Type, int(s.KeySize), int(s.ValueSize), int(s.MaxEntries))
		if err != nil {
			return nil, fmt.Errorf("map %s: %w", name, err)
		}
		for _, kv := range s.Contents {
			if b, ok := kv.Value.([]byte); ok && x.array != nil {
				copy(x.array, b)
			}
		}
		m.names[name] = x
	}
	for name, s := range spec.Programs {
		p, err := m.decode(s.Instructions)
		if err != nil {
			return nil, fmt.Errorf("program %s: %w", name, err)
		}
		m.progs[name] = p
	}
	return m, nil
}

// Alloc takes memory, which is zero, and returns its address and itself.
func (m *Machine) Alloc(n int) (uint64, []byte, error) {
	if n < 0 || n > m.free {
		return 0, nil, ErrMemory
	}
	m.free -= n
	b := make(region, n)
	m.regions = append(m.regions, b)
	return uint64(len(m.regions)) << 32, b, nil
}

// mem returns n bytes at an address, nil if there are not so many.
func (m *Machine) mem(addr uint64, n int) []byte {
	r, off := addr>>32, int(addr&0xffffffff)
	if r == 0 || r > uint64(len(m.regions)) || n < 0 || off > len(m.regions[r-1])-n {
		return nil
	}
	return m.regions[r-1][off : off+n : off+n]
}

// Map is a table that programs and who runs them share.
type Map struct {
	m          *Machine
	typ        ebpf.MapType
	key, value int    // bytes
	handle     uint64 // what programs have for it
	base       uint64 // address of an array
	array      []byte
	most       int
	hash       map[string]uint64 // addresses of values
	inner      map[string]*Map
}

// mapTag marks the handle of a map, which is the address of nothing.
const mapTag = 0xfff1 << 48

// NewMap returns a map that belongs to no name.
func (m *Machine) NewMap(typ ebpf.MapType, key, value, most int) (*Map, error) {
	x := &Map{m: m, typ: typ, key: key, value: value, most: most, handle: mapTag | uint64(len(m.maps))}
	switch typ {
	case ebpf.Array, ebpf.PerCPUArray:
		if value > 0 && most > maxMemory/value {
			return nil, ErrMemory
		}
		var err error
		if x.base, x.array, err = m.Alloc(value * most); err != nil {
			return nil, err
		}
	case ebpf.HashOfMaps:
		x.inner = map[string]*Map{}
	default:
		x.hash = map[string]uint64{}
	}
	m.maps = append(m.maps, x)
	return x, nil
}

// Map returns the map of that name, or nil.
func (m *Machine) Map(name string) *Map { return m.names[name] }

// Bytes are the elements of an array.
func (x *Map) Bytes() []byte { return x.array }

// ValueSize is the size of a value in bytes.
func (x *Map) ValueSize() int { return x.value }

// Put sets a value.
func (x *Map) Put(key, value []byte) error {
	if x.array != nil && len(key) >= 4 {
		i := int(binary.LittleEndian.Uint32(key))
		if i >= x.most {
			return ErrAccess
		}
		copy(x.array[i*x.value:(i+1)*x.value], value)
		return nil
	}
	if x.hash == nil {
		return ErrAccess
	}
	if at, ok := x.hash[string(key)]; ok {
		copy(x.m.mem(at, x.value), value)
		return nil
	}
	at, b, err := x.m.Alloc(x.value)
	if err != nil {
		return err
	}
	copy(b, value)
	x.hash[string(key)] = at
	return nil
}

// PutMap sets a map of a table of maps.
func (x *Map) PutMap(key []byte, in *Map) {
	if x.inner != nil {
		x.inner[string(key)] = in
	}
}

// lookup returns the address of a key's value, 0 if there is none.
func (x *Map) lookup(key []byte) uint64 {
	switch {
	case x.array != nil:
		if len(key) != 4 {
			return 0
		}
		if i := binary.LittleEndian.Uint32(key); int64(i) < int64(x.most) {
			return x.base + uint64(i)*uint64(x.value)
		}
	case x.inner != nil:
		if in := x.inner[string(key)]; in != nil {
			return in.handle
		}
	case x.typ == ebpf.LPMTrie:
		return x.longest(key)
	default:
		return x.hash[string(key)]
	}
	return 0
}

// longest finds the longest prefix that a key has: its first four bytes count
// the bits of those that follow.
func (x *Map) longest(key []byte) uint64 {
	k := append([]byte(nil), key...)
	for n := min(binary.LittleEndian.Uint32(k), uint32(len(k)-4)*8); ; n-- {
		binary.LittleEndian.PutUint32(k, n)
		for i := 4; i < len(k); i++ {
			if bits := int(n) - (i-4)*8; bits <= 0 {
				k[i] = 0
			} else if bits < 8 {
				k[i] &= 0xff << (8 - bits)
			}
		}
		if at, ok := x.hash[string(k)]; ok {
			return at
		}
		if n == 0 {
			return 0
		}
	}
}
