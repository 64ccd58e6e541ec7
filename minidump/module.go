package minidump

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"procdump/snapshot"
)

// Signatures of CodeView records.
const (
	codeViewELF  = 0x4270454c // Breakpad's "LEpB": the build id follows
	codeViewRSDS = 0x53445352 // "RSDS": GUID, u32 age, name of the PDB
)

// VS_FIXEDFILEINFO's first words.
const (
	fixedFileInfoSignature = 0xfeef04bd
	fixedFileInfoVersion   = 0x10000
)

// vdsoName is the vdso's name in dumps: Breakpad has called it so from i386 on.
const vdsoName = "linux-gate.so"

// Module is an entry of the ModuleList (MINIDUMP_MODULE).
type Module struct {
	Base     uint64
	Size     uint32 // bytes
	Checksum uint32
	Time     uint32 // PE: TimeDateStamp
	Name     string
	Version  [4]uint16 // of the file, most significant first; zero if unknown
	CodeView []byte    // the CodeView record; nil if none
}

// BuildID returns the module's GNU build id, the hash of its code if it has
// none, or, for a PE image, the GUID and
// age of its PDB as they are in the file (20 bytes); nil if there is none.
func (m *Module) BuildID() []byte {
	if len(m.CodeView) < 4 {
		return nil
	}
	switch id := m.CodeView[4:]; binary.LittleEndian.Uint32(m.CodeView) {
	case codeViewELF:
		return bytes.Clone(id)
	case codeViewRSDS:
		if len(id) >= 20 {
			return bytes.Clone(id[:20])
		}
	}
	return nil
}

func (h *head) modules(p *snapshot.Process) {
	mods, sizes := listedModules(p.Modules)
	names, records := make([]uint32, len(mods)), make([]Location, len(mods))
	for i, m := range mods {
		names[i] = h.str(moduleName(m, i == 0))
		// Breakpad and LLDB take the hash for the build id of a file without one.
		id := m.BuildID
		if len(id) == 0 {
			id = m.TextHash
		}
		if len(id) > 0 {
			id = id[:min(len(id), maxCodeView-4)]
			records[i] = h.blob(append(binary.LittleEndian.AppendUint32(nil, codeViewELF), id...))
		}
	}
	h.begin(ModuleListStream)
	h.u32(uint32(len(mods)))
	for i, m := range mods {
		h.u64(m.Addr)
		h.u32(sizes[i])
		h.zeros(8) // checksum and time of a PE image
		h.u32(names[i])
		h.fixedFileInfo(m, i == 0)
		h.location(records[i])
		h.location(Location{})
		h.zeros(16)
	}
	h.end()
}

// listedModules returns the modules that go into the list and their sizes
// there. Breakpad drops the whole list if two ranges overlap, so a module ends
// where the next one begins.
func listedModules(all []snapshot.Module) ([]*snapshot.Module, []uint32) {
	byAddr := make([]int, 0, len(all))
	for i, m := range all {
		if m.Size > 0 && m.Addr > 0 && m.End() > m.Addr {
			byAddr = append(byAddr, i)
		}
	}
	slices.SortStableFunc(byAddr, func(a, b int) int { return cmp.Compare(all[a].Addr, all[b].Addr) })
	size := make([]uint32, len(all)) // 0: left out
	for k, i := range byAddr {
		n := min(all[i].Size, math.MaxUint32)
		if k > 0 && all[byAddr[k-1]].Addr == all[i].Addr {
			byAddr[k] = byAddr[k-1] // two at one address: the first one stays
			continue
		}
		for _, j := range byAddr[k+1:] {
			if all[j].Addr > all[i].Addr {
				n = min(n, all[j].Addr-all[i].Addr)
				break
			}
		}
		size[i] = uint32(n)
	}
	var mods []*snapshot.Module
	var sizes []uint32
	for i := range all {
		if size[i] > 0 {
			mods, sizes = append(mods, &all[i]), append(sizes, size[i])
		}
	}
	return mods, sizes
}

// moduleName returns the name that symbol files go by: the path, its last
// element replaced by DT_SONAME as dump_syms does for a library. Too long a
// name loses its front: the last element is what readers search for.
func moduleName(m *snapshot.Module, main bool) string {
	name := strings.TrimSuffix(m.Path, " (deleted)")
	if name == vdsoName || name == "[vdso]" {
		return vdsoName
	}
	if so := path.Base(m.SOName); m.SOName != "" && !main {
		if dir, _ := path.Split(name); dir != "" {
			so = dir + so
		}
		name = so
	}
	if name == "" {
		name = fmt.Sprintf("module-%x", m.Addr)
	}
	if u := utf16.Encode([]rune(name)); len(u) > maxNameUnits {
		name = "…" + string(utf16.Decode(u[len(u)-maxNameUnits+1:]))
	}
	return name
}

func (h *head) fixedFileInfo(m *snapshot.Module, main bool) {
	const exe, dll = 1, 2
	v, kind := soVersion(cmp.Or(m.SOName, m.Path)), uint32(dll)
	if f := soVersion(m.Path); f[0] == v[0] {
		v = f // libc.so.6.1 says more than the SONAME libc.so.6
	}
	if main {
		kind = exe
	}
	hi, lo := uint32(v[0])<<16|uint32(v[1]), uint32(v[2])<<16|uint32(v[3])
	for _, w := range []uint32{fixedFileInfoSignature, fixedFileInfoVersion, hi, lo, hi, lo, 0x3f, 0, 0, kind, 0, 0, 0} {
		h.u32(w)
	}
}

// soVersion returns the numbers behind ".so." in a library's name.
func soVersion(name string) (v [4]uint16) {
	_, tail, ok := strings.Cut(path.Base(name), ".so.")
	if !ok {
		return v
	}
	for i, s := range strings.SplitN(tail, ".", 5) {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil || i == len(v) {
			break
		}
		v[i] = uint16(n)
	}
	return v
}

// Modules returns the entries of the ModuleList.
func (r *Reader) Modules() ([]Module, error) { return strict(r.modules()) }

func (r *Reader) modules() ([]Module, error) {
	l, err := r.list(ModuleListStream, moduleSize)
	if err != nil && l == nil {
		return nil, err
	}
	out, s := make([]Module, 0, l.n), r.strings()
	records := int(min(maxText, r.size))
	le := binary.LittleEndian
	for e := range l.entries() {
		m := Module{Base: le.Uint64(e), Size: le.Uint32(e[8:]), Checksum: le.Uint32(e[12:]), Time: le.Uint32(e[16:])}
		var serr, cerr error
		m.Name, serr = s.at(int64(le.Uint32(e[20:])))
		if le.Uint32(e[24:]) == fixedFileInfoSignature {
			m.Version = [4]uint16{le.Uint16(e[34:]), le.Uint16(e[32:]), le.Uint16(e[38:]), le.Uint16(e[36:])}
		}
		if cv := location(e[76:]); cv.Size > 0 {
			m.CodeView, cerr = strict(r.at(cv, min(maxCodeView, uint32(records)), "CodeView record"))
			records -= len(m.CodeView)
		}
		if err == nil {
			err = cmp.Or(wrap(serr, "module at %#x", m.Base), wrap(cerr, "module at %#x", m.Base))
		}
		out = append(out, m)
	}
	return out, err
}

// wrap puts what it is about before an error, and leaves nil alone.
func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}

// snapshot converts the entry.
func (m *Module) snapshot() snapshot.Module {
	return snapshot.Module{Range: snapshot.Range{Addr: m.Base, Size: uint64(m.Size)}, Path: m.Name, BuildID: m.BuildID(),
		ID: snapshot.FileID{Stamp: m.Time}}
}

// UnloadedModule is an entry of the UnloadedModuleList (MINIDUMP_UNLOADED_MODULE).
type UnloadedModule struct {
	Base                 uint64
	Size, Checksum, Time uint32
	Name                 string
}

// unloadedModules writes an empty list: Linux does not remember them.
func (h *head) unloadedModules() {
	h.begin(UnloadedModuleListStream)
	h.u32(12)
	h.u32(unloadedSize)
	h.u32(0)
	h.end()
}

// UnloadedModules returns the entries of the UnloadedModuleList.
func (r *Reader) UnloadedModules() ([]UnloadedModule, error) {
	l, err := r.list2(UnloadedModuleListStream, unloadedSize)
	if err != nil {
		return nil, err
	}
	out, s := make([]UnloadedModule, 0, l.n), r.strings()
	le := binary.LittleEndian
	for e := range l.entries() {
		name, err := s.at(int64(le.Uint32(e[20:])))
		if err != nil {
			return nil, err
		}
		out = append(out, UnloadedModule{le.Uint64(e), le.Uint32(e[8:]), le.Uint32(e[12:]), le.Uint32(e[16:]), name})
	}
	return out, nil
}
