package windump

import (
	"encoding/binary"
	"fmt"
	"time"
)

// UnloadedModule is a driver that was unloaded before the crash. Windows
// remembers 50.
type UnloadedModule struct {
	Name       string // of small dumps 12 characters
	Start, End uint64
	Time       time.Time // zero in a small dump
}

const maxUnloaded = 50 // MI_UNLOADED_DRIVERS

// UnloadedModules returns the drivers unloaded last, the latest first.
func (r *Reader) UnloadedModules() ([]UnloadedModule, error) {
	if r.Header.Type == Triage {
		return r.triageUnloaded()
	}
	return r.unloadedModules()
}

// unloadedFields says where the fields of an entry lie.
type unloadedFields struct{ name, start, end, time, size int }

var (
	dumpUnloaded64 = unloadedFields{name: 0x10, start: 0x28, end: 0x30, size: 0x38} // DUMP_UNLOADED_DRIVERS64
	dumpUnloaded32 = unloadedFields{name: 0x08, start: 0x20, end: 0x24, size: 0x28}
	unloaded64     = unloadedFields{start: 0x10, end: 0x18, time: 0x20, size: 0x28} // UNLOADED_DRIVERS64
	unloaded32     = unloadedFields{start: 0x08, end: 0x0c, time: 0x10, size: 0x18}
)

const unloadedName = 24 // bytes of DUMP_UNLOADED_DRIVERS.DriverName

// triageUnloaded reads a count of a pointer's size and the entries.
func (r *Reader) triageUnloaded() ([]UnloadedModule, error) {
	t, err := r.Triage()
	if err != nil {
		return nil, err
	}
	if t.UnloadedDriversOffset == 0 {
		return nil, fmt.Errorf("%w: no list of unloaded drivers", ErrNotThere)
	}
	l, ptr := dumpUnloaded64, r.layout.ptr
	if ptr == 4 {
		l = dumpUnloaded32
	}
	off := int64(t.UnloadedDriversOffset)
	b, err := r.exactly(off, ptr, "number of unloaded drivers")
	if err != nil {
		return nil, err
	}
	n := fields{b, ptr}.pointer(0)
	if n > maxUnloaded {
		return nil, damaged(off, "list of %d unloaded drivers", n)
	}
	if n == 0 {
		return nil, nil
	}
	if b, err = r.exactly(off+int64(ptr), int(n)*l.size, "unloaded drivers"); err != nil {
		return nil, err
	}
	var mods []UnloadedModule
	for ; len(b) >= l.size; b = b[l.size:] {
		f := fields{b, ptr}
		name := b[l.name : l.name+min(int(binary.LittleEndian.Uint16(b)), unloadedName)]
		mods = append(mods, UnloadedModule{Name: text16(name), Start: f.pointer(l.start), End: f.pointer(l.end)})
	}
	return mods, nil
}

// unloadedModules reads the ring that MmUnloadedDrivers points to.
func (r *Reader) unloadedModules() ([]UnloadedModule, error) {
	d, err := r.DebuggerData()
	if err != nil {
		return nil, err
	}
	l, ptr := unloaded64, r.layout.ptr
	if ptr == 4 {
		l = unloaded32
	}
	ring, err := r.pointer(d.MmUnloadedDrivers)
	if err != nil {
		return nil, fmt.Errorf("read unloaded drivers: %w", err)
	}
	if ring == 0 {
		return nil, nil // none was unloaded yet
	}
	last, err := readPointer(r, d.MmLastUnloaded, 4)
	if err != nil {
		return nil, fmt.Errorf("read unloaded drivers: %w", err)
	}
	b, err := readExactly(r, ring, maxUnloaded*l.size)
	if err != nil {
		return nil, fmt.Errorf("read unloaded drivers: %w", err)
	}
	var mods []UnloadedModule
	for i := range uint64(maxUnloaded) {
		at := int((last%maxUnloaded+2*maxUnloaded-1-i)%maxUnloaded) * l.size
		e := b[at : at+l.size]
		f := fields{e, ptr}
		if f.pointer(l.start) == 0 {
			continue
		}
		name, _ := r.unicodeString(e) // paged out names are lost
		mods = append(mods, UnloadedModule{name, f.pointer(l.start), f.pointer(l.end), filetime(f.u64(l.time))})
	}
	return mods, nil
}
