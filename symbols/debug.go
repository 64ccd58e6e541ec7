package symbols

import (
	"cmp"
	"debug/dwarf"
	"encoding/binary"
	"fmt"
	rundebug "runtime/debug"
	"slices"
	"sort"
	"sync"

	"procdump/image"
	"procdump/internal/guard"
)

// Bounds of the debug information that is read, in bytes: of one image, and of
// all of a process.
const (
	maxDebug    = 96 << 20
	maxAllDebug = 256 << 20
)

// debug is the debug information of one image. Addresses are the file's.
type debug struct {
	d      *dwarf.Data
	ranges []unitRange // by address; overlapping ones as they come
	units  map[dwarf.Offset]*unit
	rows   int         // of line tables that are remembered
	alt    *supplement // nil: there is none
	clock  *clock
}

type unitRange struct {
	low, high uint64
	unit      dwarf.Offset // of its entry
}

// newDebug opens an image's debug information; nil: there is none. It takes the
// bytes that it reads from budget.
func newDebug(im *image.Image, budget *uint64, c *clock) (*debug, error) {
	for _, f := range []*image.File{im.File(), im.Debug()} {
		if f == nil || !f.OnDisk() || f.Section(".debug_info") == nil {
			continue
		}
		x, err := openDebug(f, budget, c)
		if x != nil && err == nil {
			err = x.addSupplement(im, f, budget)
		}
		return x, err
	}
	return nil, nil
}

// openDebug reads what tells of functions and lines.
func openDebug(f *image.File, budget *uint64, c *clock) (*debug, error) {
	d, data, err := openData(f, budget)
	if err != nil {
		return nil, err
	}
	x := &debug{d: d, units: map[dwarf.Offset]*unit{}, clock: c}
	err = c.run(func() error {
		return guarded(func() error { x.list(data["info"]); return nil })
	})
	return x, err
}

// openData reads the sections that tell of functions and lines, which it returns,
// too.
func openData(f *image.File, budget *uint64) (d *dwarf.Data, data map[string][]byte, err error) {
	limit := min(maxDebug, *budget)
	left := limit
	var names []string
	for _, name := range []string{"info", "abbrev", "line", "ranges", "str", "rnglists", "addr", "line_str", "str_offsets"} {
		s := f.Section(".debug_" + name)
		if s == nil {
			continue
		}
		if s.Size > left {
			return nil, nil, fmt.Errorf("more than %d MiB of debug information: no lines and inlined functions", limit>>20)
		}
		left -= s.Size
		*budget -= s.Size
		names = append(names, name)
	}
	if data, err = readSections(f, names); err != nil {
		return nil, nil, err
	}
	err = guarded(func() error {
		d, err = dwarf.New(data["abbrev"], nil, nil, data["info"], data["line"], nil, data["ranges"], data["str"])
		if err != nil {
			return err
		}
		for _, name := range []string{"rnglists", "addr", "line_str", "str_offsets"} {
			if err := d.AddSection(".debug_"+name, data[name]); err != nil {
				return err
			}
		}
		return nil
	})
	return d, data, err
}

// readSections reads sections of debug information side by side: those of
// distributions are compressed. What is mapped is read by guarded only, and the
// strings that debug/dwarf hands out are copies.
func readSections(f *image.File, names []string) (map[string][]byte, error) {
	read, errs := make([][]byte, len(names)), make([]error, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() { read[i], errs[i] = f.Mapped(".debug_"+name, maxDebug) })
	}
	all.Wait()
	data := map[string][]byte{}
	for i, name := range names {
		if errs[i] != nil {
			return nil, errs[i]
		}
		data[name] = read[i]
	}
	return data, nil
}

// guarded turns a panic of debug/dwarf, which trusts what it reads, into an error,
// and so a fault where a file that is mapped has become shorter.
func guarded(do func() error) error {
	return guard.Do("malformed debug information", func() error {
		defer rundebug.SetPanicOnFault(rundebug.SetPanicOnFault(true))
		return do()
	})
}

// Bounds of the units that are listed, and of the ranges of all.
const (
	maxUnits  = 1 << 18
	maxRanges = 4 << 20
)

// list lists which addresses each unit covers. Units follow each other:
// their length, version, in version 5 a type, and then the first entry.
func (x *debug) list(info []byte) {
	le := binary.LittleEndian
	r := x.d.Reader()
	for off, n := 0, 0; off+12 <= len(info) && n < maxUnits && !x.clock.late(); n++ {
		size, head := uint64(le.Uint32(info[off:])), 4
		offsetSize := 4
		if size == 0xffffffff {
			size, head, offsetSize = le.Uint64(info[off+4:]), 12, 8
		}
		if size < 8 || size > uint64(len(info)-off-head) || off+head+3 > len(info) {
			return
		}
		first, ok := off+head, true
		switch version := le.Uint16(info[off+head:]); {
		case version >= 2 && version <= 4:
			first += 2 + offsetSize + 1
		case version == 5:
			const full, partial = 1, 3
			kind := info[off+head+2]
			ok = kind == full || kind == partial
			first += 2 + 1 + 1 + offsetSize
		default:
			ok = false
		}
		if ok {
			x.addUnit(r, dwarf.Offset(first))
		}
		off += head + int(size)
	}
	slices.SortFunc(x.ranges, func(a, b unitRange) int { return cmp.Compare(a.low, b.low) })
}

func (x *debug) addUnit(r *dwarf.Reader, at dwarf.Offset) {
	r.Seek(at)
	e, err := r.Next()
	if err != nil || e == nil || e.Tag != dwarf.TagCompileUnit {
		return
	}
	ranges, err := x.d.Ranges(e)
	if err != nil {
		return
	}
	for _, p := range ranges {
		if p[1] > p[0] && len(x.ranges) < maxRanges {
			x.ranges = append(x.ranges, unitRange{p[0], p[1], at})
		}
	}
}

// unitAt returns the unit that covers an address, or nil.
func (x *debug) unitAt(at uint64) (*unit, error) {
	const back = 16 // ranges that are looked at for one that reaches so far
	i := sort.Search(len(x.ranges), func(i int) bool { return x.ranges[i].low > at })
	for k := i - 1; k >= 0 && k >= i-back; k-- {
		if p := x.ranges[k]; at < p.high {
			return x.read(p.unit)
		}
	}
	return nil, nil
}

const (
	maxReadUnits = 256
	maxRows      = 1 << 20 // of line tables: 24 MiB
)

// read reads a unit, once.
func (x *debug) read(at dwarf.Offset) (*unit, error) {
	if u, ok := x.units[at]; ok {
		return u, nil
	}
	if len(x.units) >= maxReadUnits || x.rows > maxRows {
		clear(x.units)
		x.rows = 0
	}
	u, err := x.newUnit(at)
	x.units[at] = u
	if u != nil {
		x.rows += len(u.lines)
	}
	return u, err
}

// lookup returns the functions at an address; nil if nothing is known.
func (x *debug) lookup(at uint64) (all []Location, err error) {
	err = guarded(func() error {
		u, err := x.unitAt(at)
		if u == nil {
			return err
		}
		all = u.lookup(x, at)
		return err
	})
	return all, err
}
