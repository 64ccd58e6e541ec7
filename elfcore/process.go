package elfcore

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"procdump/arch"
	"procdump/snapshot"
)

// maxWarnings bounds how many warnings Process returns.
const maxWarnings = 100

// Process returns what the core says of its process, and warnings: what was
// damaged, missing or guessed. The Process is never nil; where nothing is known
// its fields are zero. Its Memory reads from the Reader's io.ReaderAt.
//
// Cores of this package give back the Process that was written. In others the
// facts below are found as follows. Regions are the PT_LOADs, joined with
// NT_FILE; a mapped file that has no PT_LOAD (gcore leaves out program text)
// is a region with the permissions that its ELF image states, or none.
// Modules are the mapped files that are ELF images by their first bytes or, if
// the core does not hold these, by being executable; and the vdso. Exception is
// set if the first thread has a signal that kills. Thread.Signal is that of the
// first thread only, for the kernel and gdb stamp one signal on all.
func (r *Reader) Process() (*snapshot.Process, []error) {
	c := &collector{r: r, warnings: slices.Clone(r.warnings), permless: map[uint64]bool{}}
	p := &c.p
	p.System.Machine, p.System.OS, p.System.PageSize = r.machine, "linux", defaultPageSize
	p.Memory = r.mem
	if r.machine == arch.Unknown {
		c.warn(fmt.Errorf("machine %d not supported: no registers", r.Header.Machine))
	}
	for n, err := range r.Notes() {
		if err == nil {
			err = c.addNote(n)
		}
		if err != nil {
			c.warn(err)
		}
	}
	aux := parseAuxv(p.Auxv, r.machine)
	if page := aux[atPagesz]; page >= defaultPageSize && page <= 1<<20 && page&(page-1) == 0 {
		p.System.PageSize = int(page)
	}
	if c.maps == nil {
		var fileOnly []snapshot.Region
		p.Regions, fileOnly = joinRegions(r.Progs, c.files)
		for _, f := range fileOnly {
			c.permless[f.Addr] = true
		}
		nameRegions(p, aux)
	} else {
		p.Regions = c.maps
	}
	c.findModules(aux)
	c.finishThreads()
	if c.info != nil {
		if err := snapshot.DecodeNote(p, c.info); err != nil {
			c.warn(err)
			c.info = nil
		}
	}
	if c.info == nil {
		c.finishForeign()
	}
	return p, c.warnings
}

// collector gathers a Process from a core's notes.
type collector struct {
	r        *Reader
	p        snapshot.Process
	files    []MappedFile
	maps     []snapshot.Region // of NT_PROCDUMP_MAPS; nil: none
	info     []byte            // desc of the JSON note; nil: none
	permless map[uint64]bool   // addresses of regions whose permissions are not known
	leader   *PRStatus         // of the first thread
	hasPS    bool              // an NT_PRPSINFO was read
	warnings []error
}

func (c *collector) warn(err error) {
	switch {
	case len(c.warnings) < maxWarnings:
		c.warnings = append(c.warnings, err)
	case len(c.warnings) == maxWarnings:
		c.warnings = append(c.warnings, errors.New("more warnings left out"))
	}
}

func (c *collector) addNote(n Note) error {
	if n.Owner != OwnerCore && n.Owner != OwnerLinux && n.Owner != OwnerProcdump {
		return nil
	}
	desc, err := n.Desc()
	if err != nil {
		return err
	}
	switch n.Owner {
	case OwnerCore:
		err = c.addCoreNote(n.Type, desc)
	case OwnerLinux:
		c.addRegset(n.Type, desc)
	case OwnerProcdump:
		err = c.addOwnNote(n.Type, desc)
	}
	if err != nil {
		return &FormatError{n.Off, "bad note", err}
	}
	return nil
}

func (c *collector) addCoreNote(typ uint32, desc []byte) (err error) {
	switch typ {
	case arch.NT_PRSTATUS:
		return c.addThread(desc)
	case NT_PRPSINFO:
		return c.addPRPSInfo(desc)
	case arch.NT_PRFPREG:
		c.addRegset(typ, desc)
	case NT_SIGINFO:
		if t := c.thread(); t != nil && !allZero(desc) {
			t.Siginfo = desc
		}
	case NT_AUXV:
		c.p.Auxv = desc
	case NT_FILE:
		c.files, _, err = ParseMappedFiles(c.r.machine, desc)
	}
	return err
}

func (c *collector) addOwnNote(typ uint32, desc []byte) (err error) {
	switch typ {
	case snapshot.InfoNote:
		c.info = desc
	case NT_PROCDUMP_MAPS:
		if c.maps, err = parseMaps(desc); err != nil {
			c.maps = nil
		}
	}
	return err
}

// thread is the one that the notes are about at the moment, nil if none.
func (c *collector) thread() *snapshot.Thread {
	if n := len(c.p.Threads); n > 0 {
		return &c.p.Threads[n-1]
	}
	return nil
}

func (c *collector) addThread(desc []byte) error {
	if c.r.machine == arch.Unknown {
		return nil
	}
	s, err := ParsePRStatus(c.r.machine, desc)
	if err != nil {
		return err
	}
	t := snapshot.Thread{TID: s.PID, Signal: s.Cursig, Pending: s.Sigpend, Blocked: s.Sighold,
		UserTime: s.UTime, SystemTime: s.STime}
	t.Registers.Machine = c.r.machine
	t.Registers.Put(arch.NT_PRSTATUS, s.Reg)
	if c.leader == nil {
		c.leader = s
	}
	c.p.Threads = append(c.p.Threads, t)
	return nil
}

func (c *collector) addRegset(typ uint32, desc []byte) {
	if t := c.thread(); t != nil {
		t.Registers.Put(typ, desc)
	}
}

func (c *collector) addPRPSInfo(desc []byte) error {
	if c.r.machine == arch.Unknown || c.hasPS {
		return nil
	}
	s, err := ParsePRPSInfo(c.r.machine, desc)
	if err != nil {
		return err
	}
	p := &c.p
	c.hasPS = true
	p.State, p.Nice, p.Flags, p.UID, p.GID = s.SName, int(s.Nice), s.Flag, s.UID, s.GID
	p.PID, p.PPID, p.PGID, p.SID, p.Name = s.PID, s.PPID, s.PGRP, s.SID, s.FName
	// A command line that was cut to fit is better than none.
	p.Args = strings.Fields(s.PSArgs)
	return nil
}

// finishThreads fills what needs all threads and regions.
func (c *collector) finishThreads() {
	p := &c.p
	if !c.hasPS && c.leader != nil {
		p.PID, p.PPID, p.PGID, p.SID = c.leader.PID, c.leader.PPID, c.leader.PGRP, c.leader.SID
	}
	for i := range p.Threads {
		t := &p.Threads[i]
		if t.TID == p.PID {
			// The leader's times are the process's; its own are not known
			// while there are others (fs/binfmt_elf.c, fill_prstatus).
			p.UserTime, p.SystemTime = t.UserTime, t.SystemTime
			t.Name = p.Name
			if len(p.Threads) > 1 {
				t.UserTime, t.SystemTime = 0, 0
			}
		}
		t.Stack = stackOf(p, t)
	}
}

// stackOf is the used part of a thread's stack.
func stackOf(p *snapshot.Process, t *snapshot.Thread) snapshot.Range {
	sp := t.Registers.SP()
	i := p.FindRegion(sp)
	if i < 0 {
		return snapshot.Range{}
	}
	r := p.Regions[i].Range
	lo := max(r.Addr, sp-min(sp, p.Machine().RedZone()))
	return snapshot.Range{Addr: lo, Size: r.End() - lo}
}

// finishForeign fills what only cores of other tools leave open.
func (c *collector) finishForeign() {
	p := &c.p
	if len(p.Threads) == 0 {
		return
	}
	first, last := &p.Threads[0], &p.Threads[len(p.Threads)-1]
	same := !slices.ContainsFunc(p.Threads, func(t snapshot.Thread) bool { return t.Signal != first.Signal })
	for i := range p.Threads[1:] {
		if same {
			p.Threads[1+i].Signal = 0
		}
	}
	p.Exception = exceptionOf(c.r.machine, first)
	// The kernel writes the layout of XSAVE areas once, after all threads.
	if xl := last.Registers.Set(arch.NT_X86_XSAVE_LAYOUT); xl != nil {
		for i := range p.Threads {
			p.Threads[i].Registers.Put(arch.NT_X86_XSAVE_LAYOUT, xl)
		}
	}
}

func allZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// Auxiliary vector entries (getauxval(3)).
const (
	atPhdr        = 3
	atPagesz      = 6
	atEntry       = 9
	atRandom      = 25
	atSysinfoEhdr = 33
)

// parseAuxv reads the auxiliary vector up to AT_NULL.
func parseAuxv(b []byte, m arch.Machine) map[uint64]uint64 {
	aux := map[uint64]uint64{}
	d := wordBytes{b, m.PointerSize()}
	if d.size == 0 {
		return aux
	}
	const most = 1024 // the kernel writes some 20
	for off := 0; off+2*d.size <= len(b) && off < most*2*d.size; off += 2 * d.size {
		tag := d.word(off)
		if tag == 0 {
			break
		}
		aux[tag] = d.word(off + d.size)
	}
	return aux
}
