package interp

import (
	"debug/elf"
	"path"
	"regexp"
	"strings"

	"procdump/image"
	"procdump/snapshot"
	"procdump/unwind"
)

// symbolsOf returns where in memory the symbols of those names are, of an image
// whose file is here.
func symbolsOf(im *image.Image, names ...string) map[string]snapshot.Range {
	found := map[string]snapshot.Range{}
	f := im.File()
	bias, ok := im.Bias()
	if f == nil || !ok {
		return found
	}
	for _, table := range []elf.SectionType{elf.SHT_SYMTAB, elf.SHT_DYNSYM} {
		for name, y := range f.FindSymbols(table, names...) {
			found[name] = snapshot.Range{Addr: y.Value + bias, Size: y.Size}
		}
	}
	return found
}

// imagesOf returns the images whose files have such names.
func imagesOf(set *image.Set, names *regexp.Regexp) []*image.Image {
	var all []*image.Image
	for _, im := range set.All() {
		if names.MatchString(baseName(im.Module)) {
			all = append(all, im)
		}
	}
	return all
}

func baseName(m *snapshot.Module) string {
	return path.Base(strings.TrimSuffix(m.Path, " (deleted)"))
}

// interleave puts the functions of scripts into a native stack. Each run of
// them, the innermost first, ends where C has called the runtime's loop again,
// whose native frame follows. Where there are more loops than runs, the
// outermost belong together.
func interleave(native *unwind.Stack, loops []snapshot.Range, runs [][]*unwind.Script) unwind.Stack {
	var at []int // frames of the loop
	for i := range native.Frames {
		for _, r := range loops {
			if r.Contains(native.Frames[i].CodePC()) {
				at = append(at, i)
				break
			}
		}
	}
	out := *native
	out.Frames = nil
	begin := 0
	for i, run := range runs {
		end := len(native.Frames) // all are the runtime's if its loop was not found
		switch k := max(len(at)-len(runs)+i, 0); {
		case i == 0 && len(at) > 0:
			end = at[0]
		case k < len(at):
			end = at[k]
		case len(at) > 0:
			end = at[len(at)-1]
		}
		if end = max(end, begin); end > begin {
			out.Frames = append(out.Frames, native.Frames[begin:end]...)
			begin = end
		}
		for _, s := range run {
			out.Frames = append(out.Frames, unwind.Frame{How: unwind.ByRuntime, Script: s})
		}
	}
	out.Frames = append(out.Frames, native.Frames[begin:]...)
	return out
}
