package elfcore

import (
	"encoding/binary"
	"io"
	"strings"

	"procdump/arch"
	"procdump/snapshot"
)

// noteSize is how many bytes a note takes: three words (sizes and type), the
// owner with its NUL, and the desc, both padded to four bytes.
func noteSize(owner string, desc int) int64 {
	return noteHeaderSize + alignUp(int64(len(owner)+1), 4) + alignUp(int64(desc), 4)
}

// startNote writes a note up to its desc.
func (h *headWriter) startNote(owner string, typ uint32, desc int) {
	var b [noteHeaderSize]byte
	binary.LittleEndian.PutUint32(b[0:], uint32(len(owner)+1))
	binary.LittleEndian.PutUint32(b[4:], uint32(desc))
	binary.LittleEndian.PutUint32(b[8:], typ)
	h.Write(b[:])
	io.WriteString(h, owner)
	h.zerosTo(alignUp(h.n+1, 4)) // notes begin at a multiple of four
}

// note writes a note.
func (h *headWriter) note(owner string, typ uint32, desc []byte) {
	h.startNote(owner, typ, len(desc))
	h.Write(desc)
	h.zerosTo(alignUp(h.n, 4))
}

// notesSize is how many bytes writeNotes writes of the process as it is now.
func (l *Layout) notesSize() int64 {
	n := noteSize(OwnerProcdump, l.mapsSize) + noteSize(OwnerProcdump, l.infoSize)
	l.standardNotes(func(owner string, _ uint32, desc []byte) { n += noteSize(owner, len(desc)) })
	return n
}

// writeNotes writes all notes of the process as it is now.
func (l *Layout) writeNotes(h *headWriter) error {
	l.standardNotes(h.note)
	h.startNote(OwnerProcdump, NT_PROCDUMP_MAPS, l.mapsSize)
	writeMaps(h, l.p.Regions)
	h.zerosTo(alignUp(h.n, 4))
	h.startNote(OwnerProcdump, snapshot.InfoNote, l.infoSize)
	err := snapshot.WriteNote(h, l.p, l.infoSize)
	h.zerosTo(alignUp(h.n, 4))
	return err
}

// standardNotes calls note for each note that the kernel's cores have, too. It
// may use desc's memory again.
func (l *Layout) standardNotes(note func(owner string, typ uint32, desc []byte)) {
	p := l.p
	var prstatus []byte
	for i := range p.Threads {
		t := &p.Threads[i]
		status := l.prstatus(t)
		prstatus = status.append(prstatus[:0], l.machine)
		note(OwnerCore, arch.NT_PRSTATUS, prstatus)
		if i == 0 {
			l.processNotes(note)
		}
		for _, s := range t.Registers.Sets {
			if s.Type != arch.NT_PRSTATUS {
				note(regsetOwner(s.Type), s.Type, s.Data)
			}
		}
		if i > 0 && t.Siginfo != nil {
			note(OwnerCore, NT_SIGINFO, fixedSize(t.Siginfo, siginfoSize))
		}
	}
	if len(p.Threads) == 0 {
		l.processNotes(note)
	}
}

// processNotes calls note for those that stand among the first thread's.
func (l *Layout) processNotes(note func(owner string, typ uint32, desc []byte)) {
	p := l.p
	note(OwnerCore, NT_PRPSINFO, l.prpsinfo().Marshal(l.machine))
	if len(p.Threads) > 0 {
		note(OwnerCore, NT_SIGINFO, fixedSize(firstSiginfo(p), siginfoSize))
	}
	if len(p.Auxv) > 0 {
		note(OwnerCore, NT_AUXV, p.Auxv)
	}
	if files := mappedFiles(p.Regions, l.addrLimit()); len(files) > 0 {
		note(OwnerCore, NT_FILE, MarshalMappedFiles(l.machine, files, l.page))
	}
}

// prstatus gathers the facts of a thread. As in the kernel (fs/binfmt_elf.c,
// fill_prstatus) the leader's times are the whole process's, and the signal
// that killed the process stands in all threads: gdb looks at the last one.
func (l *Layout) prstatus(t *snapshot.Thread) PRStatus {
	p := l.p
	s := PRStatus{Cursig: t.Signal, Sigpend: t.Pending, Sighold: t.Blocked,
		PID: t.TID, PPID: p.PPID, PGRP: p.PGID, SID: p.SID,
		UTime: t.UserTime, STime: t.SystemTime, Reg: t.Registers.Set(arch.NT_PRSTATUS),
		FPValid: t.Registers.Set(arch.NT_PRFPREG) != nil}
	if t.TID == p.PID {
		s.UTime, s.STime = max(s.UTime, p.UserTime), max(s.STime, p.SystemTime)
	}
	if e := p.Exception; e != nil && e.Signal != 0 {
		s.Cursig = e.Signal
	}
	s.Signo = int32(s.Cursig)
	return s
}

func (l *Layout) prpsinfo() *PRPSInfo {
	p := l.p
	s := &PRPSInfo{Nice: int8(p.Nice), Flag: p.Flags, UID: p.UID, GID: p.GID,
		PID: p.PID, PPID: p.PPID, PGRP: p.PGID, SID: p.SID,
		FName: p.Name, PSArgs: strings.Join(p.Args, " ")}
	s.setState(p.State)
	return s
}

// firstSiginfo is the siginfo of the first thread; where the source had none
// it says what the exception says.
func firstSiginfo(p *snapshot.Process) []byte {
	t, e := &p.Threads[0], p.Exception
	if t.Siginfo != nil || e == nil || e.TID != t.TID || e.Signal == 0 {
		return t.Siginfo
	}
	d := wordBytes{make([]byte, siginfoSize), p.Machine().PointerSize()}
	d.putInt32(0, int32(e.Signal))
	d.putInt32(8, int32(e.Code))
	if hasFaultAddr(e.Signal, int32(e.Code)) {
		d.putWord(siginfoAddrOff(d.size), e.Addr)
	}
	return d.b
}

// fixedSize returns b cut or padded with zeros to n bytes.
func fixedSize(b []byte, n int) []byte {
	if len(b) == n {
		return b
	}
	out := make([]byte, n)
	copy(out, b)
	return out
}
