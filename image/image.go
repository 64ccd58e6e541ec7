// Package image finds the bytes of the programs and libraries that are mapped
// into a process: in the dump, or in the file on disk that was mapped, and what
// debuggers need besides in that file and in the separate files of its debug
// information.
//
// A dump seldom holds program text, for that can be read back from the file. A
// file counts only if it is the one that was mapped: its build id, or, where
// there is none, its size and time or its first bytes must fit.
//
// A Set and what it hands out are for one goroutine at a time. Nothing is read
// before somebody asks for it.
package image

import (
	"bytes"
	"cmp"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"procdump/image/breakpad"
	"procdump/image/pclntab"
	"procdump/image/pe"
	"procdump/internal/elfimage"
	"procdump/snapshot"
)

// DebugDir is the folder where distributions put separate debug information.
const DebugDir = "/usr/lib/debug"

// Options say where files are looked for.
type Options struct {
	// Roots are folders below which a module's path is tried, in this order;
	// "" is the machine's root. None: only the machine's root.
	Roots []string
	// DebugDirs are the folders of separate debug information. None: only
	// DebugDir.
	DebugDirs []string
	// Mapped is a folder of links to the files themselves that a process which
	// runs has mapped, named by their ranges of addresses: /proc/PID/map_files
	// (proc_pid_map_files(5)). It has those that are gone or were replaced. "": none.
	Mapped string
}

// maxWarnings bounds what a Set remembers to have missed.
const maxWarnings = 50

// Set is the images of one process.
type Set struct {
	p        *snapshot.Process
	o        Options
	images   []*Image // in the order of the process's modules
	order    []int    // indices of images by address
	pages    pageCache
	inMemory uint64   // bytes of images that are no files
	unpacked uint64   // bytes of mini debug information
	xzLeft   uint64   // bytes of dictionaries that may still be made for it
	steps    int      // of Go's tables that may still be read
	searched uint64   // bytes of variables
	symbols  []string // folders of symbol files
	fetcher  Fetcher
	// supplements are files of debug information that images share, by build id.
	supplements   map[string]*File
	sharedSymbols *breakpad.Shared    // of symbol files
	unsavedFiles  map[string]*os.File // by path in the process; nil: not to be had
	warnings      []string
}

// NewSet returns the images of a process. Close must be called.
func NewSet(p *snapshot.Process, o Options) *Set {
	if len(o.Roots) == 0 {
		o.Roots = []string{""}
	}
	if len(o.DebugDirs) == 0 {
		o.DebugDirs = []string{DebugDir}
	}
	s := &Set{p: p, o: o, sharedSymbols: breakpad.NewShared(), xzLeft: maxAllXZDict, steps: pclntab.MaxSteps}
	for i := range p.Modules {
		s.images = append(s.images, &Image{Module: &p.Modules[i], Index: i, set: s})
		s.order = append(s.order, i)
	}
	slices.SortFunc(s.order, func(a, b int) int { return cmp.Compare(p.Modules[a].Addr, p.Modules[b].Addr) })
	return s
}

// Close closes the files that were opened.
func (s *Set) Close() {
	for _, im := range s.images {
		for _, f := range im.files {
			f.close()
		}
		im.files = nil
	}
	s.closeUnsaved()
}

// Warnings lists what could not be had, each once.
func (s *Set) Warnings() []string {
	all := slices.Clone(s.warnings)
	for _, im := range s.images {
		if im.file.value == nil && im.peFile.value == nil && im.why != "" && im.fetched.value == nil && len(all) < maxWarnings {
			all = append(all, fmt.Sprintf("%s: %s", im.Module.Path, im.why))
		}
	}
	if s.sharedSymbols.Exhausted() {
		all = append(all, "the symbol files were asked for more than can be read in time: functions and frames that they know are missing")
	}
	if s.fetcher != nil {
		all = append(all, s.fetcher.Warnings()...)
	}
	return all
}

func (s *Set) warn(format string, args ...any) {
	if w := fmt.Sprintf(format, args...); len(s.warnings) < maxWarnings && !slices.Contains(s.warnings, w) {
		s.warnings = append(s.warnings, w)
	}
}

// Find returns the image that is mapped at an address, or nil.
func (s *Set) Find(addr uint64) *Image {
	i := sort.Search(len(s.order), func(i int) bool { return s.p.Modules[s.order[i]].Addr > addr }) - 1
	if i < 0 || !s.p.Modules[s.order[i]].Contains(addr) {
		return nil
	}
	return s.images[s.order[i]]
}

// All returns the images in the order of the process's modules.
func (s *Set) All() []*Image { return s.images }

// Image is one program or library.
type Image struct {
	Module *snapshot.Module
	Index  int // in the process's modules

	set    *Set
	files  []*File // to be closed
	header once[*header]
	file   once[*File] // of this machine
	why    string      // there is none
	debug  once[*File]
	mini   once[*File]
	sym    once[*breakpad.File]
	golang once[*goTable]
	pe     once[*pe.Image]
	peFile once[*pe.Image]
	// What a Fetcher had, once there is one.
	fetched, fetchedDebug once[*File]
	// goModule belongs to golang; nil: it was not found.
	goModule *GoModule
}

// once holds what is found out once, and may be nothing.
type once[T any] struct {
	done  bool
	value T
}

// get returns the value, by find if it was not asked for before. What find
// asks for in its turn meets the zero value.
func (o *once[T]) get(find func() T) T {
	if !o.done {
		o.done = true
		o.value = find()
	}
	return o.value
}

// header is what an image's program headers say.
type header struct {
	bias  uint64 // added to an address in the file it gives the one in memory
	entry uint64 // in memory
	progs []elf.ProgHeader
}

// headers reads them from memory or, where a dump has not got them, from the
// file; nil: there are none.
func (im *Image) headers() *header {
	return im.header.get(func() *header {
		if mem := im.set.p.Memory; mem != nil {
			if h, err := elfimage.Read(mem, im.Module.Addr); err == nil {
				return &header{h.Bias, h.Entry, h.Phdrs}
			}
		}
		f := im.File()
		if f == nil {
			return nil
		}
		h := &header{}
		found := false
		for _, p := range f.elf.Progs {
			if p.Type == elf.PT_LOAD && !found {
				h.bias, found = im.Module.Addr-(p.Vaddr-p.Off), true
			}
			h.progs = append(h.progs, p.ProgHeader)
		}
		h.entry = f.elf.Entry + h.bias
		return h
	})
}

// Bias returns what is added to an address of the image's file to get the one
// in memory; false: it is not known.
func (im *Image) Bias() (uint64, bool) {
	h := im.headers()
	if h == nil {
		return 0, false
	}
	return h.bias, true
}

// Entry returns where in memory a program or the dynamic linker begins; false: it
// is not known, or the image is neither.
func (im *Image) Entry() (uint64, bool) {
	h := im.headers()
	if h == nil || h.entry == h.bias {
		return 0, false
	}
	return h.entry, true
}

// Segment returns where in memory the first segment of that type lies.
func (im *Image) Segment(typ elf.ProgType) (snapshot.Range, bool) {
	h := im.headers()
	if h == nil {
		return snapshot.Range{}, false
	}
	for _, p := range h.progs {
		if p.Type == typ && p.Memsz > 0 {
			return snapshot.Range{Addr: p.Vaddr + h.bias, Size: p.Memsz}, true
		}
	}
	return snapshot.Range{}, false
}

// File returns the file that was mapped, or nil.
func (im *Image) File() *File {
	if f := im.here(); f != nil || !im.named() || im.set.fetcher == nil {
		return f
	}
	return im.fetched.get(func() *File { return im.fetch(im.Module.BuildID, "executable") })
}

// here returns the file that was mapped, if this machine has it, or else if it was
// fetched before.
func (im *Image) here() *File {
	if f := im.file.get(im.find); f != nil {
		return f
	}
	return im.fetched.value
}

// named tells whether the image is that of a file.
func (im *Image) named() bool { return strings.HasPrefix(im.Module.Path, "/") }

// find looks for the file that was mapped.
func (im *Image) find() *File {
	if im.windows() {
		return nil
	}
	if !im.named() {
		return im.inMemory()
	}
	for _, root := range im.set.o.Roots {
		var f *File
		path, err := below(root, im.Module.Path)
		if err == nil {
			f, err = openFile(path)
		}
		if err != nil {
			im.why = cmp.Or(im.why, err.Error())
			continue
		}
		if im.why = im.differs(f); im.why == "" {
			im.files = append(im.files, f)
			return f
		}
		f.close()
	}
	return im.mapped()
}

// mapped returns the file that a running process has mapped, which may have no name
// any longer.
func (im *Image) mapped() *File {
	if im.set.o.Mapped == "" {
		return nil
	}
	regions := im.set.p.Regions
	i := slices.IndexFunc(regions, func(g snapshot.Region) bool { return g.Addr == im.Module.Addr })
	if i < 0 {
		return nil
	}
	f, err := openFile(filepath.Join(im.set.o.Mapped, fmt.Sprintf("%x-%x", regions[i].Addr, regions[i].End())))
	if err != nil {
		return nil // why the file is not at its path tells more
	}
	if im.differs(f) != "" {
		f.close()
		return nil
	}
	im.why = ""
	im.files = append(im.files, f)
	return f
}

// Bounds of images that are no file's, in bytes: of one, and of all. A process
// has one, the vdso; a damaged dump may have any number.
const (
	maxInMemory    = 1 << 20
	maxAllInMemory = 8 << 20
)

// inMemory returns the file of an image that lies in memory as a whole, with
// its section headers: the vdso.
func (im *Image) inMemory() *File {
	m, mem := im.Module, im.set.p.Memory
	if mem == nil || m.Size > maxInMemory || im.set.inMemory+m.Size > maxAllInMemory {
		return nil
	}
	im.set.inMemory += m.Size
	b := make([]byte, m.Size)
	n, _ := mem.ReadMemory(b, m.Addr)
	f, err := newFile(bytes.NewReader(b[:n]))
	if err != nil {
		return nil
	}
	f.Path, f.size = m.Path, int64(n)
	return f
}

// differs says why a file is not the one that was mapped, or "".
func (im *Image) differs(f *File) string {
	m := im.Module
	switch {
	case m.BuildID != nil:
		// Of a file without a build id minidumps have the hash of its code in that
		// place.
		coded := f.BuildID == nil && bytes.Equal(m.BuildID, elfimage.TextHash(f.r))
		if !coded && !bytes.Equal(m.BuildID, f.BuildID) {
			return fmt.Sprintf("the file has another build id (%x) than what was mapped (%x)", f.BuildID, m.BuildID)
		}
		return ""
	case m.TextHash != nil:
		if !bytes.Equal(m.TextHash, elfimage.TextHash(f.r)) {
			return "the file has other code than what was mapped"
		}
		return ""
	case m.Deleted:
		return "the file that was mapped is gone"
	case m.ID.Size > 0 && (m.ID.Size != f.size || !m.ID.ModTime.Equal(f.modTime)):
		return "the file has changed since it was mapped"
	}
	head, have := make([]byte, 1024), make([]byte, 1024)
	n := 0
	if im.set.p.Memory != nil {
		n, _ = im.set.p.Memory.ReadMemory(have, m.Addr)
	}
	k, _ := f.r.ReadAt(head[:n], 0)
	if !bytes.Equal(head[:k], have[:k]) {
		return "the file begins otherwise than what was mapped"
	}
	if k == 0 && m.ID.Size == 0 {
		im.set.warn("%s: nothing in the dump tells whether it is the file that was mapped", m.Path)
	}
	return ""
}
