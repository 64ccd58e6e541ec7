// Package elfcore reads and writes Linux ELF core dumps.
//
// A core is an ELF file of type ET_CORE. It has no sections; its program
// headers say everything:
//
//	ELF header            52 or 64 bytes
//	program header        PT_NOTE: registers and other facts, see below
//	program headers       PT_LOAD: one a mapping, ascending by address
//	[section header 0]    only if there are 65,535 program headers or more
//	notes                 the contents of PT_NOTE
//	memory                the contents of the PT_LOADs, page aligned
//
// The first p_filesz bytes of a PT_LOAD are in the file; the rest up to
// p_memsz is memory that the process had and the core does not hold.
//
// Notes come in the kernel's order (fs/binfmt_elf.c): for the first thread
// PRSTATUS, PRPSINFO, SIGINFO, AUXV, FILE and its other register sets; for each
// further thread PRSTATUS and its other register sets. What procdump adds are
// two notes of the owner "procdump", which other readers skip: a JSON document
// (see [snapshot.WriteNote]) and the memory map (see [NT_PROCDUMP_MAPS]).
//
// [Layout] computes a core from a [snapshot.Process], so that its memory may be
// copied in any order; [Write] writes one to a stream. [Reader] reads cores of
// the kernel, systemd, gdb's gcore and this package, also damaged ones.
//
// Machines are amd64, i386 and arm64, all little endian. Other cores can be
// opened and their notes and memory read, but their registers are not known.
// Not supported: big-endian cores, and x32.
//
// Facts are from include/uapi/linux/elf.h, include/linux/elfcore.h,
// include/linux/elfcore-compat.h, elf(5) and core(5).
package elfcore

import (
	"debug/elf"
	"errors"
	"fmt"

	"procdump/arch"
	"procdump/snapshot"
)

// Note types that are no register sets (those are in package arch).
const (
	NT_PRPSINFO = uint32(elf.NT_PRPSINFO) // struct elf_prpsinfo
	NT_AUXV     = 6                       // the auxiliary vector
	NT_SIGINFO  = 0x53494749              // siginfo_t, "SIGI"
	NT_FILE     = 0x46494c45              // mapped files, "FILE"

	// NT_PROCDUMP_MAPS (owner "procdump") is the memory map as text, one line
	// a region: that of /proc/PID/maps and before the path, in hexadecimal, the
	// region's flags and its resident, private and swapped bytes. Its number is
	// none that gdb knows: gdb's BFD ignores owners that it does not know and
	// would take a type of 2 for floating-point registers.
	NT_PROCDUMP_MAPS = 0x50440002
)

// Owners (names) of notes.
const (
	OwnerCore     = "CORE"
	OwnerLinux    = "LINUX"
	OwnerProcdump = snapshot.InfoNoteName
)

// PN_XNUM in e_phnum says that the number of program headers is in sh_info of
// section header 0 (elf(5)).
const PN_XNUM = 0xffff

var (
	// ErrFormat is the root of errors about bytes that are no ELF core.
	ErrFormat = errors.New("elfcore: not a valid ELF core")
	// ErrTooLarge is returned where a 32-bit core would pass 4 GiB (or a
	// 64-bit one 8 EiB).
	ErrTooLarge = errors.New("elfcore: core too large for its format")
	// ErrChanged is returned where a Process no longer fits the Layout that was
	// made of it, or its memory changed while it was read.
	ErrChanged = errors.New("elfcore: process changed")
)

// FormatError tells which byte of a core is wrong. It matches ErrFormat.
type FormatError struct {
	Off  int64  // file offset in bytes
	What string // what is wrong
	Err  error  // cause, or nil
}

func (e *FormatError) Error() string {
	s := fmt.Sprintf("elfcore: %s at byte %#x", e.What, e.Off)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns ErrFormat and the cause.
func (e *FormatError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrFormat}
	}
	return []error{ErrFormat, e.Err}
}

// Sizes of on-disk structures.
const (
	ehdrSize32, ehdrSize64 = 52, 64
	phdrSize32, phdrSize64 = 32, 56
	shdrSize32, shdrSize64 = 40, 64

	siginfoSize     = 128
	defaultPageSize = 4096
)

// elfMachine is e_machine of a machine's cores.
func elfMachine(m arch.Machine) elf.Machine {
	switch m {
	case arch.AMD64:
		return elf.EM_X86_64
	case arch.I386:
		return elf.EM_386
	case arch.ARM64:
		return elf.EM_AARCH64
	}
	return elf.EM_NONE
}

// regsetOwner is the owner of the note that carries a register set.
func regsetOwner(typ uint32) string {
	if typ == arch.NT_PRSTATUS || typ == arch.NT_PRFPREG {
		return OwnerCore
	}
	return OwnerLinux
}

// alignUp rounds n up to a multiple of a, a power of two.
func alignUp[T int | int64 | uint64](n, a T) T { return (n + a - 1) &^ (a - 1) }
