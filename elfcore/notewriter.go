package elfcore

import (
	"encoding/binary"
	"fmt"
	"strings"

	"procdump/arch"
	"procdump/snapshot"
)

// appendNote appends a note: three words (sizes and type), the owner with its
// NUL, and the desc, both padded to four bytes.
func appendNote(b []byte, owner string, typ uint32, desc []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(owner)+1))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(desc)))
	b = binary.LittleEndian.AppendUint32(b, typ)
	b = append(append(b, owner...), 0)
	b = pad4(b, len(owner)+1)
	return pad4(append(b, desc...), len(desc))
}

// pad4 appends zeros after n bytes to make them a multiple of four.
func pad4(b []byte, n int) []byte { return append(b, make([]byte, -n&3)...) }

// appendNotes appends all notes of the process as it is now.
func (l *Layout) appendNotes(b []byte) ([]byte, error) {
	p := l.p
	for i := range p.Threads {
		t := &p.Threads[i]
		b = appendNote(b, OwnerCore, arch.NT_PRSTATUS, l.prstatus(t).Marshal(l.machine))
		if i == 0 {
			b = l.appendProcessNotes(b)
		}
		for _, s := range t.Registers.Sets {
			if s.Type != arch.NT_PRSTATUS {
				b = appendNote(b, regsetOwner(s.Type), s.Type, s.Data)
			}
		}
		if i > 0 && t.Siginfo != nil {
			b = appendNote(b, OwnerCore, NT_SIGINFO, fixedSize(t.Siginfo, siginfoSize))
		}
	}
	if len(p.Threads) == 0 {
		b = l.appendProcessNotes(b)
	}
	b = appendNote(b, OwnerProcdump, NT_PROCDUMP_MAPS, marshalMaps(p.Regions))
	info, err := snapshot.EncodeNote(p, l.infoSize)
	if err != nil {
		return nil, fmt.Errorf("render head: %w", err)
	}
	return appendNote(b, OwnerProcdump, snapshot.InfoNote, info), nil
}

// appendProcessNotes appends the notes that stand among those of the first thread.
func (l *Layout) appendProcessNotes(b []byte) []byte {
	p := l.p
	b = appendNote(b, OwnerCore, NT_PRPSINFO, l.prpsinfo().Marshal(l.machine))
	if len(p.Threads) > 0 {
		b = appendNote(b, OwnerCore, NT_SIGINFO, fixedSize(firstSiginfo(p), siginfoSize))
	}
	if len(p.Auxv) > 0 {
		b = appendNote(b, OwnerCore, NT_AUXV, p.Auxv)
	}
	if files := mappedFiles(p.Regions, l.addrLimit()); len(files) > 0 {
		b = appendNote(b, OwnerCore, NT_FILE, MarshalMappedFiles(l.machine, files, l.page))
	}
	return b
}

// prstatus gathers the facts of a thread. As in the kernel (fs/binfmt_elf.c,
// fill_prstatus) the leader's times are the whole process's, and the signal
// that killed the process stands in all threads: gdb looks at the last one.
func (l *Layout) prstatus(t *snapshot.Thread) *PRStatus {
	p := l.p
	s := &PRStatus{Cursig: t.Signal, Sigpend: t.Pending, Sighold: t.Blocked,
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
