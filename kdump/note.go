package kdump

import (
	"encoding/binary"
	"slices"
	"strings"
)

// Note types and owners of kernel dumps.
const (
	NT_PRSTATUS = 1 // owner "CORE", one per CPU

	VMCoreInfoName = "VMCOREINFO" // owner of the VMCOREINFO note, type 0
	coreName       = "CORE"
)

// Types of notes that cores of processes have and those of kernels do not
// (include/uapi/linux/elf.h).
const (
	noteAuxv = 6          // NT_AUXV
	noteFile = 0x46494c45 // NT_FILE
)

// OfProcess tells whether an ELF core file is that of a process: it has the
// auxiliary vector of its program or the files that it mapped, which no kernel
// has.
func (d *Dump) OfProcess() bool {
	return len(d.VMCoreInfo) == 0 && slices.ContainsFunc(d.Notes, func(n Note) bool {
		return n.Name == coreName && (n.Type == noteAuxv || n.Type == noteFile)
	})
}

// noteAlign is what kernels align name and descriptor to, in 64-bit dumps as well.
const noteAlign = 4

// ParseNotes splits the contents of a PT_NOTE segment:
//
//	u32 namesz, u32 descsz, u32 type, name, pad to 4, desc, pad to 4
//
// It stops at the first note that is cut off. Descriptors alias b.
func ParseNotes(b []byte) []Note {
	var notes []Note
	for len(b) >= 12 {
		nameSize := uint64(binary.LittleEndian.Uint32(b))
		descSize := uint64(binary.LittleEndian.Uint32(b[4:]))
		typ := binary.LittleEndian.Uint32(b[8:])
		desc := 12 + (nameSize+noteAlign-1)&^(noteAlign-1)
		end := desc + descSize
		if nameSize == 0 && descSize == 0 || end > uint64(len(b)) {
			break
		}
		notes = append(notes, Note{
			Name: strings.TrimRight(string(b[12:12+nameSize]), "\x00"),
			Type: typ,
			Desc: b[desc:end:end],
		})
		b = b[min((end+noteAlign-1)&^(noteAlign-1), uint64(len(b))):]
	}
	return notes
}

// AppendNote appends a note in the form that ParseNotes reads.
func AppendNote(b []byte, n Note) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(n.Name)+1))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(n.Desc)))
	b = binary.LittleEndian.AppendUint32(b, n.Type)
	b = pad(append(append(b, n.Name...), 0))
	return pad(append(b, n.Desc...))
}

// pad fills up to a multiple of noteAlign. Notes begin aligned, so the length
// of what precedes them does not matter as long as it is a multiple too.
func pad(b []byte) []byte {
	for len(b)%noteAlign != 0 {
		b = append(b, 0)
	}
	return b
}

// SetNotes sorts notes into CPUs, VMCoreInfo and Notes.
func (d *Dump) SetNotes(notes []Note) {
	d.CPUs, d.VMCoreInfo, d.Notes = nil, nil, nil
	for _, n := range notes {
		switch {
		case n.Name == coreName && n.Type == NT_PRSTATUS:
			d.CPUs = append(d.CPUs, CPU{Number: len(d.CPUs), PRStatus: n.Desc})
		case n.Name == VMCoreInfoName && d.VMCoreInfo == nil:
			d.VMCoreInfo = n.Desc
		default:
			d.Notes = append(d.Notes, n)
		}
	}
}

// EncodeNotes is the opposite of SetNotes: the contents of a PT_NOTE segment,
// the CPUs first as the kernel writes them.
func (d *Dump) EncodeNotes() []byte {
	var b []byte
	for _, c := range d.CPUs {
		if c.PRStatus != nil {
			b = AppendNote(b, Note{coreName, NT_PRSTATUS, c.PRStatus})
		}
	}
	if d.VMCoreInfo != nil {
		b = AppendNote(b, Note{VMCoreInfoName, 0, d.VMCoreInfo})
	}
	for _, n := range d.Notes {
		b = AppendNote(b, n)
	}
	return b
}
