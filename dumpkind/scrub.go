package dumpkind

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sort"
	"strings"

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

// scrub makes a triage dump of a copy of stacks and link structures. It keeps
// the words of stacks that are small integers, or addresses of stacks or code,
// and what safe lists; everything else is overwritten. It removes the
// environment, the command line's values, open files, vector registers, and
// user names in paths.
func scrub(p *snapshot.Process, img *snapshot.MemoryImage) {
	s := &scrubber{p: p, word: p.Machine().PointerSize(), keep: safe(p, img)}
	for i := range p.Regions {
		if g := &p.Regions[i]; g.Perm&snapshot.Execute != 0 {
			s.code = append(s.code, g.Range)
		}
	}
	var used []snapshot.Range
	for i := range p.Threads {
		st := p.Threads[i].Stack
		used = append(used, st)
		if k := p.FindRegion(st.Addr); k >= 0 {
			s.stacks = append(s.stacks, p.Regions[k].Range)
		}
		if g, old := interrupted(p, &p.Threads[i], img); g != nil {
			s.stacks = append(s.stacks, g.Range)
			used = append(used, old)
		}
	}
	s.stacks = snapshot.MergeRanges(s.stacks, 0)
	s.used = snapshot.MergeRanges(used, 0)
	for _, r := range img.Ranges() {
		s.memory(img.Bytes(r.Addr), r.Addr)
	}
	s.threads()
	s.metadata(img)
}

type scrubber struct {
	p                        *snapshot.Process
	word                     int
	keep, code, stacks, used []snapshot.Range
}

// memory overwrites one copied piece.
func (s *scrubber) memory(b []byte, addr uint64) {
	w := uint64(s.word)
	for off := uint64(0); off < uint64(len(b)); off += w {
		at := addr + off
		cell := b[off:min(off+w, uint64(len(b)))]
		switch {
		case s.kept(cell, at):
		case !inAny(s.used, at) && inAny(s.stacks, at):
			clear(cell) // below the stack pointer
		case uint64(len(cell)) < w || !inAny(s.used, at) || !s.harmless(word(cell, s.word)):
			s.deface(cell)
		}
	}
}

// kept leaves a word alone that lies wholly in keep; of one that lies in it
// partly it overwrites the other bytes, and is done with it too.
func (s *scrubber) kept(cell []byte, at uint64) bool {
	i := sort.Search(len(s.keep), func(i int) bool { return s.keep[i].End() > at })
	if i == len(s.keep) || s.keep[i].Addr >= at+uint64(len(cell)) {
		return false
	}
	for k := range cell {
		if !inAny(s.keep, at+uint64(k)) {
			cell[k] = 0
		}
	}
	return true
}

func (s *scrubber) deface(cell []byte) {
	var v [8]byte
	if s.word == 8 {
		binary.LittleEndian.PutUint64(v[:], defaced64)
	} else {
		binary.LittleEndian.PutUint32(v[:], defaced32)
	}
	copy(cell, v[:])
}

// harmless tells whether a word's value may be shown.
func (s *scrubber) harmless(v uint64) bool {
	signed := int64(v)
	if s.word == 4 {
		signed = int64(int32(v))
	}
	return signed >= -smallInt && signed <= smallInt || inAny(s.stacks, v) || inAny(s.code, v)
}

func inAny(rs []snapshot.Range, addr uint64) bool {
	i := sort.Search(len(rs), func(i int) bool { return rs[i].End() > addr })
	return i < len(rs) && rs[i].Contains(addr)
}

// controlRegisters are needed to unwind, or say nothing of the data.
var controlRegisters = map[string]bool{"rip": true, "eip": true, "pc": true, "rsp": true, "esp": true, "sp": true,
	"cs": true, "ss": true, "ds": true, "es": true, "fs": true, "gs": true, "eflags": true, "pstate": true,
	"fs_base": true, "gs_base": true}

// threads drops vector registers, which hold pieces of copied strings, and
// overwrites general ones as it does stack words.
func (s *scrubber) threads() {
	p := s.p
	p.Threads = slices.Clone(p.Threads)
	for i := range p.Threads {
		t := &p.Threads[i]
		r := arch.Registers{Machine: t.Registers.Machine}
		for _, set := range t.Registers.Sets {
			switch set.Type {
			case arch.NT_PRSTATUS, arch.NT_386_TLS, arch.NT_ARM_TLS:
				r.Put(set.Type, bytes.Clone(set.Data))
			case arch.NT_PRFPREG, arch.NT_PRXFPREG, arch.NT_X86_XSTATE:
				r.Put(set.Type, initialVectors(set, r.Machine))
			}
		}
		for k, name := range r.Machine.GPNames() {
			vals := r.Values()
			if k < len(vals) && !controlRegisters[name] && !s.harmless(vals[k]) {
				v := uint64(defaced64)
				if s.word == 4 {
					v = defaced32
				}
				r.SetGP(name, v)
			}
		}
		t.Registers, t.Siginfo = r, nil
		t.Syscall = "" // its arguments
	}
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
	const xcr0 = 464 // in the software-reserved bytes: which components there are
	if set.Type == arch.NT_X86_XSTATE && len(b) >= xcr0+8 {
		copy(b[xcr0:xcr0+8], set.Data[xcr0:])
	}
	return b
}

// hideUser overwrites user names in the paths of a text, one to a line at most.
// Lengths stay, and so does the last element of each path.
func hideUser(text []byte) []byte {
	out := bytes.Clone(text)
	var parents [2]string // the two elements before
	for start := 0; start < len(out); {
		n := bytes.IndexAny(out[start:], "/\\\n")
		if n < 0 {
			break
		}
		end := start + n
		if out[end] == '\n' {
			parents, start = [2]string{}, end+1
			continue
		}
		element := string(out[start:end])
		if parentOfUsers(parents) {
			copy(out[start:end], strings.Repeat("*", n))
		}
		parents, start = [2]string{parents[1], element}, end+1
	}
	return out
}

// parentOfUsers tells whether the folder with this path, of which the last two
// elements are known, has one folder for each user.
func parentOfUsers(path [2]string) bool {
	switch path[1] {
	case "home", "Users", "users":
		return true
	case "media": // /media/NAME, /run/media/NAME
		return path[0] == "run" || path[0] == "" || strings.HasSuffix(path[0], " ")
	}
	return false
}

func hideUserIn(path string) string { return string(hideUser([]byte(path))) }

// metadata removes from the model what is not process, threads and modules.
func (s *scrubber) metadata(img *snapshot.MemoryImage) {
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
	p.Regions = slices.Clone(p.Regions)
	for i := range p.Regions {
		p.Regions[i].Path = hideUserIn(p.Regions[i].Path)
	}
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
		for _, r := range l.Ranges {
			hideUserAt(img, r)
		}
		p.Linker = &l
	}
	p.Info.CommandLine = nil
	p.Info.Container = ""
}

// hideUserAt overwrites the user's name in memory if r holds a name with its
// NUL, and not one of the linker's structures.
func hideUserAt(img *snapshot.MemoryImage, r snapshot.Range) {
	if r.Size == 0 || r.Size > maxPath {
		return
	}
	b := make([]byte, r.Size)
	if _, err := img.ReadMemory(b, r.Addr); err != nil || bytes.IndexByte(b, 0) != len(b)-1 {
		return
	}
	for b = hideUser(b); len(b) > 0; {
		n := copy(img.Bytes(r.Addr), b)
		b, r.Addr = b[n:], r.Addr+uint64(n)
	}
}
