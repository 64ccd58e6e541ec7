package layout

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Module is a loaded module of a kernel.
type Module struct {
	Addr uint64 // of its struct module
	Name string
	// State is 0 for a module in use, 1 while it is being loaded, 2 while it
	// is being unloaded, 3 while it is being prepared.
	State int
	// Areas are the module's memory, its code first; those of code that is
	// dropped after initialisation are not listed.
	Areas []ModuleArea
	// Taints are the flags by which the module taints the kernel.
	Taints uint64
	// Version and SrcVersion come from the module's own description.
	Version, SrcVersion string
}

// ModuleArea is a piece of a module's memory.
type ModuleArea struct {
	Addr, Size uint64
}

// Base is where the module's code begins.
func (m Module) Base() uint64 {
	if len(m.Areas) == 0 {
		return 0
	}
	return m.Areas[0].Addr
}

// Size is the number of bytes of all areas, as lsmod(8) prints it.
func (m Module) Size() uint64 {
	var n uint64
	for _, a := range m.Areas {
		n += a.Size
	}
	return n
}

// Contains tells whether addr lies in the module.
func (m Module) Contains(addr uint64) bool {
	for _, a := range m.Areas {
		if addr-a.Addr < a.Size {
			return true
		}
	}
	return false
}

const moduleUnformed = 3

// Modules lists the loaded modules, the newest first, as lsmod(8) does. With an
// error it may hold those that could be read.
func (k *Kernel) Modules() ([]Module, error) {
	head, err := k.Symbol("modules")
	if err != nil {
		return nil, err
	}
	list, err := k.Field("module", "list")
	if err != nil {
		return nil, err
	}
	name, err := k.Field("module", "name")
	if err != nil {
		return nil, err
	}
	var out []Module
	err = k.List(head, list.Offset, func(addr uint64) bool {
		m := Module{Addr: addr}
		s, err := k.Space.String(addr+name.Offset, int(min(name.Size, 64)))
		if err != nil {
			return true
		}
		m.Name = s
		k.describeModule(&m)
		if m.State != moduleUnformed {
			out = append(out, m)
		}
		return len(out) < 1<<16
	})
	if err != nil {
		err = fmt.Errorf("list modules: %w", err)
	}
	return out, err
}

// describeModule fills in what can be had beside the name.
func (k *Kernel) describeModule(m *Module) {
	read := func(path string) uint64 {
		f, err := k.Field("module", path)
		if err != nil {
			return 0
		}
		v, _ := k.ReadField(m.Addr, f)
		return v
	}
	text := func(path string) string {
		p := read(path)
		if p == 0 {
			return ""
		}
		s, _ := k.Space.String(p, 64)
		return s
	}
	m.State = int(read("state"))
	m.Taints = read("taints")
	m.Version, m.SrcVersion = text("version"), text("srcversion")
	m.Areas = k.moduleAreas(m.Addr)
}

// moduleAreas reads where a module lies: since 6.4 in up to seven areas
// (enum mod_mem_type, of which the last three are for initialisation), before
// in one.
func (k *Kernel) moduleAreas(addr uint64) []ModuleArea {
	var areas []ModuleArea
	add := func(base, size Field) {
		a, err := k.ReadField(addr, base)
		n, err2 := k.ReadField(addr, size)
		if err == nil && err2 == nil && a != 0 && n != 0 {
			areas = append(areas, ModuleArea{Addr: a, Size: n})
		}
	}
	const lasting = 4 // MOD_TEXT, MOD_DATA, MOD_RODATA, MOD_RO_AFTER_INIT
	if _, err := k.Field("module", "mem"); err == nil {
		for i := range lasting {
			base, err := k.Field("module", fmt.Sprintf("mem.%d.base", i))
			size, err2 := k.Field("module", fmt.Sprintf("mem.%d.size", i))
			if err == nil && err2 == nil {
				add(base, size)
			}
		}
		return areas
	}
	for _, layout := range []string{"core_layout", "data_layout"} {
		base, err := k.Field("module", layout+".base")
		size, err2 := k.Field("module", layout+".size")
		if err == nil && err2 == nil {
			add(base, size)
		}
	}
	return areas
}

// UnloadedModule is a module that tainted the kernel and was unloaded.
type UnloadedModule struct {
	Name   string
	Taints uint64
	Count  uint64
}

// UnloadedModules lists the modules that were unloaded after they had tainted
// the kernel; of others the kernel keeps no record. Since 5.18, with
// CONFIG_MODULE_UNLOAD_TAINT_TRACKING.
func (k *Kernel) UnloadedModules() ([]UnloadedModule, error) {
	head, err := k.Symbol("unloaded_tainted_modules")
	if err != nil {
		return nil, err
	}
	var f [4]Field
	for i, member := range []string{"list", "name", "taints", "count"} {
		if f[i], err = k.Field("mod_unload_taint", member); err != nil {
			return nil, err
		}
	}
	var out []UnloadedModule
	err = k.List(head, f[0].Offset, func(addr uint64) bool {
		name, _ := k.Space.String(addr+f[1].Offset, int(min(f[1].Size, 64)))
		taints, _ := k.ReadField(addr, f[2])
		count, _ := k.ReadField(addr, f[3])
		out = append(out, UnloadedModule{Name: name, Taints: taints, Count: count})
		return len(out) < 1<<16
	})
	return out, err
}

// elfSymSize is sizeof(Elf64_Sym).
const elfSymSize = 24

// ModuleSymbols reads the symbol table of a module.
func (k *Kernel) ModuleSymbols(m Module) (*Symbols, error) {
	f, err := k.firstField("module", "kallsyms", "core_kallsyms")
	if err != nil {
		return nil, err
	}
	var v [3]uint64
	table, err := k.ReadField(m.Addr, f)
	if f.Size != 8 { // embedded
		table, err = m.Addr+f.Offset, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", m.Name, err)
	}
	for i, member := range []string{"symtab", "num_symtab", "strtab"} {
		f, err := k.Field("mod_kallsyms", member)
		if err != nil {
			return nil, err
		}
		if v[i], err = k.ReadField(table, f); err != nil {
			return nil, fmt.Errorf("read symbol table of module %s: %w", m.Name, err)
		}
	}
	n := v[1]
	if n > maxSymbols {
		return nil, fmt.Errorf("layout: module %s has %d symbols: implausible", m.Name, n)
	}
	raw, err := k.Space.Bytes(v[0], n*elfSymSize)
	if err != nil {
		return nil, fmt.Errorf("read symbol table of module %s: %w", m.Name, err)
	}
	return k.moduleSymbols(raw, v[2], k.moduleSymbolTypes(table, n)), nil
}

// moduleSymbolTypes reads the letters of a module's symbols; nil where they
// cannot be had (before 5.2 they are in st_info).
func (k *Kernel) moduleSymbolTypes(table, n uint64) []byte {
	f, err := k.Field("mod_kallsyms", "typetab")
	if err != nil {
		return nil
	}
	p, err := k.ReadField(table, f)
	if err != nil {
		return nil
	}
	b, err := k.Space.Bytes(p, n)
	if err != nil {
		return nil
	}
	return b
}

func (k *Kernel) moduleSymbols(raw []byte, strings uint64, types []byte) *Symbols {
	le := binary.LittleEndian
	// Read the strings at once: all of them lie before the last one's end.
	var last uint32
	for d := raw; len(d) >= elfSymSize; d = d[elfSymSize:] {
		last = max(last, le.Uint32(d))
	}
	var text []byte
	if last < 16<<20 {
		text = make([]byte, int(last)+maxSymbolName)
		got, _ := k.Space.ReadVirt(text, strings)
		text = text[:got]
	}
	s := newSymbols(len(raw) / elfSymSize)
	for i := 0; (i+1)*elfSymSize <= len(raw); i++ {
		d := raw[i*elfSymSize:]
		off := le.Uint32(d)
		if uint64(off) >= uint64(len(text)) {
			continue
		}
		name := text[off:]
		end := bytes.IndexByte(name, 0)
		if end <= 0 || end > maxSymbolName {
			continue
		}
		typ := d[4]
		if i < len(types) {
			typ = types[i]
		}
		s.add(le.Uint64(d[8:]), typ, name[:end])
	}
	s.sort()
	return s
}

// ModuleBTF reads the type data of a loaded module, which builds on that of the
// kernel. The kernel keeps it since 5.11 with CONFIG_DEBUG_INFO_BTF_MODULES.
func (k *Kernel) ModuleBTF(m Module) (*BTF, error) {
	if r, ok := k.moduleB[m.Name]; ok {
		return r.btf, r.err
	}
	b, err := k.readModuleBTF(m)
	if err != nil {
		err = fmt.Errorf("find type data of module %s: %w", m.Name, err)
	}
	k.moduleB[m.Name] = moduleBTF{b, err}
	return b, err
}

func (k *Kernel) readModuleBTF(m Module) (*BTF, error) {
	base, err := k.BTF()
	if err != nil {
		return nil, err
	}
	// module.btf_data is cleared when the module is loaded; the copy that
	// counts hangs in btf_modules.
	head, err := k.Symbol("btf_modules")
	if err != nil {
		return nil, err
	}
	var f [5]Field
	for i, member := range [][2]string{{"btf_module", "list"}, {"btf_module", "module"}, {"btf_module", "btf"}, {"btf", "data"}, {"btf", "data_size"}} {
		if f[i], err = k.Field(member[0], member[1]); err != nil {
			return nil, err
		}
	}
	var found uint64
	err = k.List(head, f[0].Offset, func(addr uint64) bool {
		owner, err := k.ReadField(addr, f[1])
		if err == nil && owner == m.Addr {
			found, _ = k.ReadField(addr, f[2])
		}
		return found == 0
	})
	if found == 0 {
		if err == nil {
			err = &MissingError{What: "type data of this module"}
		}
		return nil, err
	}
	data, err := k.ReadField(found, f[3])
	if err != nil {
		return nil, err
	}
	size, err := k.ReadField(found, f[4])
	if err != nil {
		return nil, err
	}
	if size > maxBTF {
		return nil, fmt.Errorf("layout: type data of %d bytes: implausible", size)
	}
	raw, err := k.Space.Bytes(data, size)
	if err != nil {
		return nil, err
	}
	return ParseBTF(raw, base)
}
