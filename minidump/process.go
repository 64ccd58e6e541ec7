package minidump

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"procdump/arch"
	"procdump/snapshot"
)

func putUint32(b []byte, v uint32) { binary.LittleEndian.PutUint32(b, v) }

// Process returns the process as the dump has it, and what could not be read
// of it: streams that are damaged, threads without registers. A stream that is
// not there is no error. The process's Memory reads from the dump's file.
func (r *Reader) Process() (*snapshot.Process, []error) {
	var errs []error
	warn := func(err error) {
		if err != nil && !errors.Is(err, ErrNoStream) {
			errs = append(errs, err)
		}
	}
	p := &snapshot.Process{Texts: map[string][]byte{}}
	if t := r.Header.Timestamp; t != 0 {
		p.Info.Time = time.Unix(int64(t), 0)
	}
	p.Info.PauseMicros = -1
	sys, err := r.SystemInfo()
	if err != nil {
		errs = append(errs, err) // without it there are no registers
		sys = &SystemInfo{Architecture: 0xffff}
	}
	sys.fill(&p.System)
	r.fillTexts(p, warn)
	r.fillModules(p, warn)
	r.fillThreads(p, sys, warn)
	linker, err := r.linker()
	warn(err)
	p.Linker = linker
	r.fillIdentity(p, warn)
	noted := r.fillNote(p, warn)
	r.fillException(p, sys, noted, warn)
	linkModules(p)
	_, err = r.memory64List()
	warn(err)
	_, err = r.memoryList()
	warn(err)
	warn(r.lacks())
	m := r.memory(p.Info.Unreadable)
	p.Regions = r.regions(p, m.segs, warn)
	p.Memory = m
	if !noted {
		widenModules(p)
	}
	return p, errs
}

func (r *Reader) fillTexts(p *snapshot.Process, warn func(error)) {
	get := func(t StreamType) []byte {
		b, _, err := r.stream(t)
		warn(err)
		return b
	}
	for _, t := range textNames {
		if b := get(t.typ); b != nil {
			p.Texts[t.name] = b
		}
	}
	p.Args = splitNUL(get(LinuxCmdLineStream))
	p.Environ = splitNUL(get(LinuxEnvironStream))
	p.Auxv = get(LinuxAuxvStream)
}

func (r *Reader) fillModules(p *snapshot.Process, warn func(error)) {
	mods, err := r.modules()
	warn(err)
	for i := range mods {
		m := &mods[i]
		if s := m.snapshot(); s.Size > 0 && s.End() > s.Addr {
			p.Modules = append(p.Modules, s)
		}
	}
	if len(p.Modules) > 0 {
		p.Exe = p.Modules[0].Path
	}
}

func (r *Reader) fillThreads(p *snapshot.Process, sys *SystemInfo, warn func(error)) {
	list, err := r.threads()
	warn(err)
	names, err := r.threadNames()
	warn(err)
	infos, err := r.threadInfos()
	warn(err)
	notes, err := r.notes()
	warn(err)
	byTID := map[uint32]*ThreadInfo{}
	for i := range infos {
		byTID[infos[i].ID] = &infos[i]
	}
	for i := range list {
		t := snapshot.Thread{TID: int(list[i].ID), Name: names[list[i].ID]}
		if s := list[i].Stack.Range; s.End() >= s.Addr {
			t.Stack = s
		}
		if n := byTID[list[i].ID]; n != nil {
			t.StartTime, t.UserTime, t.SystemTime = n.CreateTime, n.UserTime, n.KernelTime
		}
		regs, err := registers(&list[i], sys)
		if err == nil {
			t.Registers = regs
		}
		p.Threads = append(p.Threads, t)
	}
	fillNotes(p, notes)
	for i := range p.Threads {
		if t := &p.Threads[i]; t.Registers.Sets == nil {
			warn(fmt.Errorf("thread %d has no registers", t.TID))
		}
	}
}

// registers converts a thread's CONTEXT.
func registers(t *Thread, sys *SystemInfo) (arch.Registers, error) {
	m := sys.Machine()
	regs, err := arch.FromContext(m, t.Context)
	if err != nil {
		return regs, err
	}
	switch windows := sys.Platform == PlatformWindows; {
	case m == arch.AMD64 && windows:
		// Windows keeps no bases in a CONTEXT; gs points to the TEB.
		regs.SetGP("fs_base", 0)
		regs.SetGP("gs_base", t.TEB)
	case m == arch.AMD64:
		if v, _ := regs.GP("fs_base"); v == 0 {
			regs.SetGP("fs_base", t.TEB)
		}
	case m == arch.I386 && !windows:
		tlsDescriptors(&regs, t.TEB)
	case m == arch.ARM64 && t.TEB != 0:
		regs.Put(arch.NT_ARM_TLS, binary.LittleEndian.AppendUint64(nil, t.TEB))
	}
	return regs, nil
}

// fillNotes puts our own notes in place of what the standard streams say.
func fillNotes(p *snapshot.Process, n *Notes) {
	if n == nil {
		return
	}
	p.PGID, p.SID, p.Nice, p.Flags = n.PGID, n.SID, n.Nice, n.Flags
	p.UserTime, p.SystemTime = n.UserTime, n.SystemTime
	byTID := map[int]*ThreadNotes{}
	for i := range n.Threads {
		byTID[n.Threads[i].TID] = &n.Threads[i]
	}
	for i := range p.Threads {
		if t := byTID[p.Threads[i].TID]; t != nil {
			t.fill(&p.Threads[i], n.Machine)
		}
	}
}

// fillIdentity fills who the process is, in dumps of others from standard
// streams only.
func (r *Reader) fillIdentity(p *snapshot.Process, warn func(error)) {
	misc, err := r.MiscInfo()
	warn(err)
	if misc != nil {
		p.PID, p.StartTime = int(misc.PID), misc.StartTime
		if p.UserTime == 0 && p.SystemTime == 0 {
			p.UserTime, p.SystemTime = misc.UserTime, misc.KernelTime
		}
	}
	parseStatus(p, p.Texts["status"])
	if p.Name == "" && p.Exe != "" {
		p.Name = p.Exe
		if p.System.OS == "windows" {
			p.Name = strings.ReplaceAll(p.Exe, `\`, "/")
		}
		p.Name = path.Base(p.Name)
	}
	if c, err := r.Comment(); err == nil {
		p.Info.Comment = c
	} else {
		warn(err)
	}
}

// fillNote applies our own note, which knows more than the standard streams,
// and tells whether there is one. Without it the files are those of the
// HandleData stream.
func (r *Reader) fillNote(p *snapshot.Process, warn func(error)) bool {
	note, err := r.Stream(InfoStream)
	warn(err)
	if err == nil {
		args := p.Args // JSON changes bytes that are not UTF-8
		err = snapshot.DecodeNote(p, note)
		warn(err)
		if args != nil {
			p.Args = args
		}
		for i := range p.Threads {
			if s := &p.Threads[i].Stack; s.End() < s.Addr {
				*s = snapshot.Range{}
			}
		}
	}
	if err == nil {
		return true
	}
	if p.System.OS != "linux" {
		return false
	}
	handles, err := r.handles()
	warn(err)
	for _, h := range handles {
		p.Files = append(p.Files, snapshot.File{FD: int(h.Handle), Target: h.ObjectName, Mode: h.Attributes, Flags: h.Access})
	}
	return false
}

// fillException fills the exception, unless our note has told it, and puts the
// blamed thread first. On Windows that thread has gone on to write the dump: where
// it was is with the exception.
func (r *Reader) fillException(p *snapshot.Process, sys *SystemInfo, noted bool, warn func(error)) {
	e, err := r.Exception()
	if err != nil && !noted && !errors.Is(err, ErrNoStream) {
		err = &snapshot.ExceptionError{Err: err}
	}
	warn(err)
	var blamed uint32
	if e != nil {
		blamed = e.TID
		if !noted {
			p.Exception = e.snapshot(p.System.OS)
		}
	} else if b, err := r.BreakpadInfo(); err == nil {
		blamed = b.RequestingThread
	}
	for i, t := range p.Threads {
		if t.TID != int(blamed) {
			continue
		}
		if x := p.Exception; x != nil && t.Signal == 0 {
			t.Signal = x.Signal
		}
		if p.System.OS == "windows" && !noted && e != nil && e.Context != nil {
			teb, _ := t.Registers.GP("gs_base")
			if regs, err := registers(&Thread{Context: e.Context, TEB: teb}, sys); err == nil {
				t.Registers = regs
			}
		}
		copy(p.Threads[1:], p.Threads[:i])
		p.Threads[0] = t
		break
	}
}

// widenModules gives modules all mappings of their file: lldb states the size of
// the first one only.
func widenModules(p *snapshot.Process) {
	for i := range p.Modules {
		m := &p.Modules[i]
		k := p.FindRegion(m.Addr)
		if k < 0 || p.Regions[k].Addr != m.Addr || !strings.HasPrefix(p.Regions[k].Path, "/") {
			continue
		}
		first := &p.Regions[k]
		for off := first.Offset; k < len(p.Regions); k++ {
			g := &p.Regions[k]
			if g.Path != first.Path || g.Offset < off || g != first && g.Offset == first.Offset {
				break
			}
			off = g.Offset
			m.Size = max(m.Size, g.End()-m.Addr)
			g.Flags |= snapshot.Image
		}
	}
}

// linkModules fills what the dynamic linker knows of the modules.
func linkModules(p *snapshot.Process) {
	if p.Linker == nil {
		return
	}
	image := moduleIndex(p.Modules)
	for _, l := range p.Linker.Maps {
		if m := image.find(l.LD); m != nil && l.LD != 0 {
			m.Bias, m.Dynamic = l.Addr, l.LD
		}
	}
}
