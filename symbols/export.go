package symbols

import (
	"cmp"
	"slices"
	"sort"

	"procdump/image"
	"procdump/image/pe"
)

// exports are the names that a Windows image exports, ascending.
type exports struct {
	pe  *pe.Image
	all []pe.Export
}

// exported names code of a Windows image by what it exports. Most of its functions
// have no such name: one belongs to the function that it begins, as far as the
// table of functions tells where that is.
func (s *Symbolizer) exported(im *image.Image, pc uint64) []Location {
	x := s.exports[im]
	if x == nil {
		x = &exports{pe: im.PE()}
		if x.pe != nil {
			x.all = x.pe.Exports(s.table)
			s.table -= len(x.all)
			slices.SortStableFunc(x.all, func(a, b pe.Export) int { return cmp.Compare(a.RVA, b.RVA) })
		}
		s.exports[im] = x
	}
	if x.pe == nil {
		return nil
	}
	rva := uint32(pc - im.Module.Addr)
	if !x.pe.Code(rva) {
		return nil
	}
	start, first, known := x.pe.Start(rva)
	at := rva
	if known {
		at = start // a part of a function may lie before its beginning
	}
	end := sort.Search(len(x.all), func(i int) bool { return x.all[i].RVA > at })
	if end == 0 || x.all[end-1].RVA < first {
		return nil
	}
	// Of several names of one place it is the first of the table.
	begin := sort.Search(len(x.all), func(i int) bool { return x.all[i].RVA >= x.all[end-1].RVA })
	name := x.pe.Name(x.all[begin])
	if name == "" {
		return nil
	}
	l := Location{Function: Demangle(name), Offset: uint64(rva - x.all[begin].RVA)}
	if l.Function != name {
		l.Linkage = name
	}
	return []Location{l}
}
