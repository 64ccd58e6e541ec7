// Package vmcore reads and writes kernel dumps that are ELF core files:
// /proc/vmcore of a crash kernel, /proc/kcore of a running one, makedumpfile
// -E, QEMU's dump-guest-memory.
//
//	ELF header       ET_CORE; little-endian, class 32 or 64
//	program headers  PT_NOTE: NT_PRSTATUS per CPU, VMCOREINFO
//	                 PT_LOAD per range: virtual and physical address; bytes
//	                 between p_filesz and p_memsz are zero
//	contents
//
// With 0xffff program headers or more, e_phnum is PN_XNUM and sh_info of
// section header 0 holds their number.
//
// What no program header covers is either no RAM or was left out. Files
// written here say which in a note of their own, owner "procdump", type
// NT_PROCDUMP_RAM: u32 version 1, u32 dump level, then {u64 address, u64 size}
// of each range of RAM. Other readers skip it.
//
// Specification: include/uapi/linux/elf.h, fs/proc/vmcore.c, fs/proc/kcore.c,
// qemu's dump/dump.c. Not read: big-endian files.
package vmcore

import (
	"encoding/binary"
	"fmt"

	"procdump/arch"
	"procdump/kdump"
)

// Values of ELF fields (include/uapi/linux/elf.h).
const (
	ELFCLASS32  = 1
	ELFCLASS64  = 2
	ELFDATA2LSB = 1
	ET_CORE     = 4
	EM_386      = 3
	EM_X86_64   = 62
	EM_AARCH64  = 183
	PT_LOAD     = 1
	PT_NOTE     = 4
	PF_X        = 1
	PF_W        = 2
	PF_R        = 4
	PN_XNUM     = 0xffff
)

// NT_PROCDUMP_RAM is the type of the note, owner "procdump", that lists the
// ranges of RAM. Types 1 and 2 of this owner belong to process dumps.
const NT_PROCDUMP_RAM = 0x10

const owner = "procdump"

// format is the format's name in errors.
const format = "ELF"

const magic = "\x7fELF"

func bad(off int64, what string, args ...any) error {
	return &kdump.FormatError{Format: format, Off: off, What: fmt.Sprintf(what, args...)}
}

// Match tells whether a file that begins with head is an ELF core file.
func Match(head []byte) bool {
	return len(head) >= 18 && string(head[:4]) == magic && head[16] == ET_CORE && head[17] == 0
}

func machine(em uint16) arch.Machine {
	switch em {
	case EM_X86_64:
		return arch.AMD64
	case EM_386:
		return arch.I386
	case EM_AARCH64:
		return arch.ARM64
	}
	return arch.Unknown
}

func elfMachine(m arch.Machine) uint16 {
	switch m {
	case arch.AMD64:
		return EM_X86_64
	case arch.I386:
		return EM_386
	case arch.ARM64:
		return EM_AARCH64
	}
	return 0
}

// plausible tells whether there can be such memory.
func plausible(r kdump.Run) bool {
	return r.Size > 0 && r.Addr < kdump.MaxPhysAddr && r.Size <= kdump.MaxPhysAddr-r.Addr
}

// ramNote returns the note that lists the ranges of RAM.
func ramNote(runs []kdump.Run, level int) kdump.Note {
	le := binary.LittleEndian
	b := le.AppendUint32(le.AppendUint32(nil, 1), uint32(level))
	for _, r := range runs {
		b = le.AppendUint64(le.AppendUint64(b, r.Addr), r.Size)
	}
	return kdump.Note{Name: owner, Type: NT_PROCDUMP_RAM, Desc: b}
}

// parseRAMNote is the opposite of ramNote.
func parseRAMNote(b []byte) (runs []kdump.Run, level int, ok bool) {
	le := binary.LittleEndian
	if len(b) < 8 || le.Uint32(b) != 1 {
		return nil, 0, false
	}
	level = int(int32(le.Uint32(b[4:])))
	for b = b[8:]; len(b) >= 16; b = b[16:] {
		if r := (kdump.Run{Addr: le.Uint64(b), Size: le.Uint64(b[8:])}); plausible(r) {
			runs = append(runs, r)
		}
	}
	return kdump.NormalizeRuns(runs), level, true
}
