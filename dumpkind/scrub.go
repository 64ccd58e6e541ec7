package dumpkind

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sort"

	"procdump/arch"
	"procdump/snapshot"
)

// Words that replace what a triage dump must not show (Breakpad's and
// Crashpad's value, so that readers know it).
const (
	defaced64 = 0x0defaced0defaced
	defaced32 = 0x0defaced
	// smallInt is the largest value of a word that tells nothing.
	smallInt = 4096
)

// scrub makes a triage dump of a selection of stacks and link structures. Its
// memory shows the words of stacks that are small integers, or addresses of
// stacks or code, and what safe lists; everything else is overwritten as it is
// read. The environment, the command line's values, open files, vector
// registers, and user names in paths are removed. left are the stacks that
// threads left for alternate ones. If only is set the process given to Select
// loses the vector registers.
func scrub(sel *Selection, left []leftStack, only bool) {
	p := sel.Process
	h := heldMemory{p.Memory, sel.Ranges}
	s := &scrubber{p: p, word: p.Machine().PointerSize(), keep: safe(p, h)}
	var code []snapshot.Range
	for i := range p.Regions {
		if g := &p.Regions[i]; g.Perm&snapshot.Execute != 0 {
			code = append(code, g.Range)
		}
	}
	s.used = make([]snapshot.Range, 0, len(p.Threads)+len(left))
	s.stacks = make([]snapshot.Range, 0, len(p.Threads)+len(left))
	for i := range p.Threads {
		st := p.Threads[i].Stack
		s.used = append(s.used, st)
		if k := p.FindRegion(st.Addr); k >= 0 {
			s.stacks = append(s.stacks, p.Regions[k].Range)
		}
	}
	for _, l := range left {
		s.stacks = append(s.stacks, l.region.Range)
		s.used = append(s.used, l.used)
	}
	s.stacks, s.used = snapshot.MergeRanges(s.stacks, 0), snapshot.MergeRanges(s.used, 0)
	s.shown = snapshot.MergeRanges(append(code, s.stacks...), 0)
	if p.Linker != nil {
		s.names(h)
	}
	s.threads(only)
	s.metadata()
	p.Memory = &scrubbed{p.Memory, s}
}

// scrubber knows what a triage dump may show. Its ranges ascend.
type scrubber struct {
	p      *snapshot.Process
	word   int
	keep   []snapshot.Range // shown as they are
	used   []snapshot.Range // parts of stacks in use
	stacks []snapshot.Range // all of these stacks' regions
	shown  []snapshot.Range // what words of stacks may point at: stacks and code
	hidden []hiddenName     // ascending
}

// hiddenName is a name in the linker's list, with the user's overwritten.
type hiddenName struct {
	addr uint64
	text []byte
}

func inAny(rs []snapshot.Range, addr uint64) bool {
	i := sort.Search(len(rs), func(i int) bool { return rs[i].End() > addr })
	return i < len(rs) && rs[i].Contains(addr)
}

// harmless tells whether a word's value may be shown.
func (s *scrubber) harmless(v uint64) bool { return s.small(v) || inAny(s.shown, v) }

// small tells whether a word is a small integer.
func (s *scrubber) small(v uint64) bool {
	signed := int64(v)
	if s.word == 4 {
		signed = int64(int32(v))
	}
	return signed >= -smallInt && signed <= smallInt
}

// controlRegisters are needed to unwind, or say nothing of the data.
var controlRegisters = map[string]bool{"rip": true, "eip": true, "pc": true, "rsp": true, "esp": true, "sp": true,
	"cs": true, "ss": true, "ds": true, "es": true, "fs": true, "gs": true, "eflags": true, "pstate": true,
	"fs_base": true, "gs_base": true}

// threads drops vector registers, which hold pieces of copied strings, and
// overwrites general ones as it does stack words.
func (s *scrubber) threads(only bool) {
	p := s.p
	p.Threads = slices.Clone(p.Threads)
	// The vector registers are the same in all threads: kilobytes each.
	type kind struct {
		machine   arch.Machine
		typ       uint32
		size      int
		component string
	}
	vectors := map[kind][]byte{}
	for i := range p.Threads {
		t := &p.Threads[i]
		r := arch.Registers{Machine: t.Registers.Machine, Sets: make([]arch.Regset, 0, len(t.Registers.Sets))}
		for k := range t.Registers.Sets {
			set := t.Registers.Sets[k]
			switch set.Type {
			case arch.NT_PRSTATUS:
				r.Put(set.Type, s.general(set.Data, r.Machine))
			case arch.NT_386_TLS, arch.NT_ARM_TLS:
				r.Put(set.Type, bytes.Clone(set.Data))
			case arch.NT_PRFPREG, arch.NT_PRXFPREG, arch.NT_X86_XSTATE:
				v := kind{r.Machine, set.Type, len(set.Data), string(components(set))}
				if vectors[v] == nil {
					vectors[v] = initialVectors(set, r.Machine)
				}
				r.Put(set.Type, vectors[v])
				if only {
					t.Registers.Sets[k].Data = nil
				}
			}
		}
		t.Registers, t.Siginfo = r, nil
		t.Syscall = "" // its arguments
	}
}

// general is a general-purpose register set with harmless values.
func (s *scrubber) general(gp []byte, m arch.Machine) []byte {
	gp = bytes.Clone(gp)
	w := m.PointerSize()
	for k, name := range m.GPNames() {
		if (k+1)*w > len(gp) {
			break
		}
		if cell := gp[k*w:][:w]; !s.harmless(word(cell, w)) && !controlRegisters[name] {
			deface(cell, w)
		}
	}
	return gp
}

// components is where an XSAVE area says which components it has (XCR0, which
// the kernel puts among the bytes reserved for software).
func components(set arch.Regset) []byte {
	const xcr0 = 464
	if set.Type == arch.NT_X86_XSTATE && len(set.Data) >= xcr0+8 {
		return set.Data[xcr0:][:8]
	}
	return nil
}

// initialVectors is a floating-point register set as it is in a new thread.
// Without one, lldb cannot tell the operating system of some cores.
func initialVectors(set arch.Regset, m arch.Machine) []byte {
	b := make([]byte, len(set.Data))
	fsave := m == arch.I386 && set.Type == arch.NT_PRFPREG
	switch {
	case m == arch.ARM64:
	case fsave && len(b) >= 12: // control, status and tag word (struct user_i387_ia32_struct)
		binary.LittleEndian.PutUint32(b, 0xffff037f)
		binary.LittleEndian.PutUint32(b[4:], 0xffff0000)
		binary.LittleEndian.PutUint32(b[8:], 0xffffffff)
	case !fsave && len(b) >= 28: // FXSAVE: FCW and MXCSR (Intel SDM vol. 1, 10.5.1)
		binary.LittleEndian.PutUint16(b, 0x37f)
		binary.LittleEndian.PutUint32(b[24:], 0x1f80)
	}
	copy(components(arch.Regset{Type: set.Type, Data: b}), components(set))
	return b
}

// metadata removes from the model what is not process, threads and modules.
func (s *scrubber) metadata() {
	p := s.p
	p.Environ, p.Files = nil, nil
	p.Args = nil
	if p.Name != "" {
		p.Args = []string{p.Name}
	}
	p.Exe = hideUserIn(p.Exe)
	p.Modules = slices.Clone(p.Modules)
	for i := range p.Modules {
		p.Modules[i].Path = hideUserIn(p.Modules[i].Path)
	}
	p.Regions = hideUserInRegions(p.Regions)
	texts := map[string][]byte{}
	for _, name := range []string{"limits", "cpuinfo", "lsb-release", "uptime"} {
		if t, ok := p.Texts[name]; ok {
			texts[name] = t
		}
	}
	if maps, ok := p.Texts["maps"]; ok {
		texts["maps"] = hideUser(maps)
	}
	p.Texts = texts
	if p.Linker != nil {
		l := *p.Linker
		l.Maps = slices.Clone(l.Maps)
		for i := range l.Maps {
			l.Maps[i].Name = hideUserIn(l.Maps[i].Name)
		}
		p.Linker = &l
	}
	p.Info.CommandLine = nil
	p.Info.Container = ""
}
