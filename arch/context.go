package arch

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The CONTEXT structures of minidumps, one per machine. They are described in
// Microsoft's winnt.h and, for the older arm64 form, in Breakpad's
// minidump_cpu_arm64.h:
//
//	machine  bytes  ContextFlags               written by
//	amd64    1232   0x100000 | parts           Windows, Breakpad, Crashpad, procdump
//	amd64    720    0x80100007                 LLDB up to 21 (no floating point)
//	amd64    736    0x80100007                 LLDB from 22 (and fs_base, gs_base)
//	i386     716    0x10000 | parts            all
//	arm64    912    0x400000 | parts           Windows, Crashpad, procdump
//	arm64    796    0x80000000 | parts (u64)   Breakpad
//
// A CONTEXT has no place for orig_rax (orig_eax), XSAVE components beyond SSE,
// the i386 TLS descriptors and arm64's TPIDR_EL0.
const (
	contextAMD64Size    = 1232
	contextAMD64MinSize = 720
	contextI386Size     = 716
	contextARM64Size    = 912
	contextARM64OldSize = 796
)

// ErrContext is the cause of an error from FromContext where the bytes are no
// CONTEXT of the machine.
var ErrContext = errors.New("not a context of this machine")

// ErrNoRegisters is returned by Context for a thread without general-purpose
// registers, for example one that could not be stopped.
var ErrNoRegisters = errors.New("thread has no registers")

// Context returns the registers as the CONTEXT structure of a minidump: 1232
// bytes on amd64, 716 on i386, 912 on arm64. Parts whose regset is missing are
// zero and not announced in ContextFlags.
func (r *Registers) Context() ([]byte, error) {
	size := r.Machine.GPSize()
	if size == 0 {
		return nil, fmt.Errorf("make context: machine %v: %w", r.Machine, errors.ErrUnsupported)
	}
	gp := r.Set(NT_PRSTATUS)
	if len(gp) < size {
		return nil, fmt.Errorf("make context: %w", ErrNoRegisters)
	}
	switch r.Machine {
	case I386:
		return r.contextI386(gp), nil
	case ARM64:
		return r.contextARM64(gp), nil
	}
	return r.contextAMD64(gp), nil
}

// FromContext returns the registers that a minidump's CONTEXT holds: the
// general-purpose ones (NT_PRSTATUS) and, where ContextFlags announces them,
// the floating-point ones (NT_PRFPREG, NT_PRXFPREG). Every form in the table
// above is understood; bytes after the structure are ignored. orig_rax, which
// a CONTEXT lacks, becomes -1: "not in a system call". The result shares no
// memory with b.
func FromContext(m Machine, b []byte) (Registers, error) {
	r, ok := Registers{}, false
	switch m {
	case AMD64:
		r, ok = fromContextAMD64(b)
	case I386:
		r, ok = fromContextI386(b)
	case ARM64:
		r, ok = fromContextARM64(b)
	default:
		return Registers{}, fmt.Errorf("read context: machine %v: %w", m, errors.ErrUnsupported)
	}
	if !ok {
		return Registers{}, fmt.Errorf("read %v context of %d bytes: %w", m, len(b), ErrContext)
	}
	return r, nil
}

// field says where a general-purpose register lies in a CONTEXT.
type field struct {
	name string // as in GPNames
	off  int    // byte offset in the CONTEXT
	size int    // bytes
}

// store copies the named registers of r into the CONTEXT b.
func (r *Registers) store(b []byte, fields []field) {
	for _, f := range fields {
		v, _ := r.GP(f.name)
		switch f.size {
		case 2:
			binary.LittleEndian.PutUint16(b[f.off:], uint16(v))
		case 4:
			binary.LittleEndian.PutUint32(b[f.off:], uint32(v))
		case 8:
			binary.LittleEndian.PutUint64(b[f.off:], v)
		}
	}
}

// load sets the named registers of r from the CONTEXT b.
func (r *Registers) load(b []byte, fields []field) {
	for _, f := range fields {
		switch f.size {
		case 2:
			r.SetGP(f.name, uint64(binary.LittleEndian.Uint16(b[f.off:])))
		case 4:
			r.SetGP(f.name, uint64(binary.LittleEndian.Uint32(b[f.off:])))
		case 8:
			r.SetGP(f.name, binary.LittleEndian.Uint64(b[f.off:]))
		}
	}
}
