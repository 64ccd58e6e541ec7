package image

import (
	"debug/elf"

	"procdump/image/pclntab"
)

// goTable is what Go returns, and where it lies.
type goTable struct {
	table *pclntab.Table
	addr  uint64
}

// Go returns the function table of a Go program, or nil.
func (im *Image) Go() *pclntab.Table {
	if t := im.goTable(); t != nil {
		return t.table
	}
	return nil
}

// GoFunc returns the function of Go at an address, or nil.
func (s *Set) GoFunc(pc uint64) *pclntab.Func {
	if im := s.Find(pc); im != nil {
		if t := im.Go(); t != nil {
			return t.Find(pc)
		}
	}
	return nil
}

func (im *Image) goTable() *goTable {
	return im.golang.get(func() *goTable {
		// Every image is asked whether it has a table: libraries are not fetched
		// for that.
		f := im.here()
		if f == nil && !im.library() {
			f = im.File()
		}
		if f == nil {
			return &goTable{}
		}
		bias, ok := im.Bias()
		if !ok {
			return &goTable{}
		}
		for _, name := range []string{".gopclntab", ".data.rel.ro.gopclntab"} {
			s := f.Section(name)
			if s == nil || s.Flags&elf.SHF_COMPRESSED != 0 {
				continue
			}
			table, err := pclntab.New(section{f, s}, int64(s.Size), func() uint64 { return f.goText() + bias }, bias, &im.set.steps)
			if err != nil {
				im.set.warn("%s: Go's function table: %v", f.Path, err)
				continue
			}
			t := &goTable{table, s.Addr + bias}
			if m := im.findGoModule(t.addr); m != nil {
				im.goModule = m
				table.SetFuncData(func(p []byte, off uint32) bool {
					n, _ := im.set.ReadMemory(p, m.funcData+uint64(off))
					return n == len(p)
				})
			}
			return t
		}
		return &goTable{}
	})
}

// section reads a section that is not compressed.
type section struct {
	f *File
	s *elf.Section
}

func (s section) ReadAt(p []byte, off int64) (int, error) {
	return s.f.r.ReadAt(p, int64(s.s.Offset)+off)
}

// goText is where Go's code begins, to which the table's offsets relate: the
// symbol runtime.text. Programs without symbols are as a rule without C, too,
// and begin their code with Go's.
func (f *File) goText() uint64 {
	if v, ok := f.FindSymbol(elf.SHT_SYMTAB, "runtime.text"); ok {
		return v
	}
	if s := f.Section(".text"); s != nil {
		return s.Addr
	}
	return 0
}
