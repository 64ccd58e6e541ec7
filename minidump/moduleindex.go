package minidump

import (
	"cmp"
	"slices"
	"sort"

	"procdump/snapshot"
)

// index finds modules by address.
type index []*snapshot.Module

func moduleIndex(mods []snapshot.Module) index {
	x := make(index, len(mods))
	for i := range mods {
		x[i] = &mods[i]
	}
	slices.SortStableFunc(x, func(a, b *snapshot.Module) int { return cmp.Compare(a.Addr, b.Addr) })
	return x
}

// find returns the module that contains addr, or nil.
func (x index) find(addr uint64) *snapshot.Module {
	i := sort.Search(len(x), func(i int) bool { return x[i].Addr > addr })
	if i == 0 || !x[i-1].Contains(addr) {
		return nil
	}
	return x[i-1]
}
