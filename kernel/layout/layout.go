// Package layout understands the memory of a Linux kernel: it translates
// addresses and finds symbols, types, the log, modules and tasks in it, with
// nothing but that memory and VMCOREINFO.
//
// No debug information is needed. VMCOREINFO gives the page tables and, since
// Linux 6.0, the place of the kernel's own symbol table (kallsyms); kallsyms
// gives the place of the type data (BTF) that the kernel carries for BPF; and
// with symbols and types every structure is readable.
//
// Kernels from 4.18 on are known, on x86-64 with 4 and 5 level page tables and
// on arm64 with pages of 4, 16 and 64 KiB. What a kernel does not export makes
// the functions that need it return an error that names it; the others work
// on. The memory is not trusted: a damaged or forged dump leads to errors,
// never to a panic or an endless loop.
//
// Documentation/admin-guide/kdump/vmcoreinfo.rst lists what VMCOREINFO holds.
package layout

import (
	"errors"
	"fmt"

	"procdump/arch"
	"procdump/kdump"
)

// Memory is the physical memory that a kernel is read from.
type Memory = kdump.Memory

// ErrMissing is the root of all errors that say that a kernel does not export
// what a function needs.
var ErrMissing = errors.New("layout: the kernel does not export what is needed")

// MissingError names what a kernel lacks.
type MissingError struct {
	What string // "SYMBOL(prb)", "struct module (BTF)", …
	Why  string // since when it is there, or on which option it depends; may be empty
}

func (e *MissingError) Error() string {
	s := "layout: the kernel does not export " + e.What
	if e.Why != "" {
		s += " (" + e.Why + ")"
	}
	return s
}

// Is makes a MissingError match ErrMissing.
func (e *MissingError) Is(target error) bool { return target == ErrMissing }

// Kernel is a kernel in memory. It is not safe for concurrent use.
type Kernel struct {
	Info  *Info
	Space *Space
	// Machine is the instruction set.
	Machine arch.Machine

	dump    *kdump.Dump
	outside func(name string) (uint64, bool)

	symbols    *Symbols
	symbolsErr error

	btf     *BTF
	btfErr  error
	moduleB map[string]moduleBTF
}

type moduleBTF struct {
	btf *BTF
	err error
}

// Open prepares a dump, or a running kernel seen as one, for reading. It needs
// VMCOREINFO and reads only a few page table entries.
func Open(d *kdump.Dump) (*Kernel, error) {
	if len(d.VMCoreInfo) == 0 {
		return nil, &MissingError{What: "VMCOREINFO", Why: "the dump has no such note"}
	}
	k := &Kernel{Info: ParseInfo(d.VMCoreInfo), Machine: d.Arch, dump: d, moduleB: make(map[string]moduleBTF)}
	k.Space = &Space{mem: d.Memory, maxTables: d.Pages() + 1024}
	k.Space.setSegments(d.Segments)
	var err error
	switch d.Arch {
	case arch.AMD64:
		err = k.openAMD64()
	case arch.ARM64:
		err = k.openARM64()
	default:
		err = fmt.Errorf("layout: kernels of machine %v are not supported (amd64 and arm64 are)", d.Arch)
	}
	if err != nil {
		return nil, err
	}
	return k, nil
}

// Dump is what the kernel was opened from.
func (k *Kernel) Dump() *kdump.Dump { return k.dump }

// UseSymbols gives the kernel a second source of symbols, such as
// /proc/kallsyms: kernels before 6.0 do not tell where their own table is.
func (k *Kernel) UseSymbols(lookup func(name string) (uint64, bool)) { k.outside = lookup }

// UseBTF gives the kernel its type data, such as the content of
// /sys/kernel/btf/vmlinux, instead of having it searched in memory. The kernel
// keeps data.
func (k *Kernel) UseBTF(data []byte) error {
	b, err := ParseBTF(data, nil)
	if err != nil {
		return err
	}
	k.btf, k.btfErr = b, nil
	return nil
}

// Symbol returns the address of a symbol of the kernel (not of its modules):
// from VMCOREINFO, from UseSymbols, or from the kernel's own table.
func (k *Kernel) Symbol(name string) (uint64, error) {
	if a, ok := k.Info.Symbol(name); ok {
		return a, nil
	}
	if k.outside != nil {
		if a, ok := k.outside(name); ok {
			return a, nil
		}
	}
	s, err := k.Symbols()
	if err != nil {
		return 0, fmt.Errorf("find symbol %s: %w", name, err)
	}
	if a, ok := s.Lookup(name); ok {
		return a, nil
	}
	return 0, &MissingError{What: "symbol " + name, Why: "data has symbols with CONFIG_KALLSYMS_ALL only"}
}

// Symbols returns the kernel's own symbol table.
func (k *Kernel) Symbols() (*Symbols, error) {
	if k.symbols == nil && k.symbolsErr == nil {
		k.symbols, k.symbolsErr = k.readKallsyms()
	}
	return k.symbols, k.symbolsErr
}

// BTF returns the kernel's type data.
func (k *Kernel) BTF() (*BTF, error) {
	if k.btf == nil && k.btfErr == nil {
		k.btf, k.btfErr = k.readBTF()
	}
	return k.btf, k.btfErr
}

func (k *Kernel) readBTF() (*BTF, error) {
	start, err := k.Symbol("__start_BTF")
	if err != nil {
		return nil, fmt.Errorf("find type data: %w", err)
	}
	stop, err := k.Symbol("__stop_BTF")
	if err != nil {
		return nil, fmt.Errorf("find type data: %w", err)
	}
	if stop <= start || stop-start > maxBTF {
		return nil, fmt.Errorf("layout: type data from %#x to %#x: implausible", start, stop)
	}
	data, err := k.Space.Bytes(start, stop-start)
	if err != nil {
		return nil, fmt.Errorf("read type data: %w", err)
	}
	return ParseBTF(data, nil)
}

// Field returns a member of a structure of the kernel by its type data. The
// path may go through members ("core_layout.base") and through unions and
// structures without a name.
func (k *Kernel) Field(structure, path string) (Field, error) {
	b, err := k.BTF()
	if err != nil {
		return Field{}, err
	}
	return b.Field(structure, path)
}

// offset returns the offset of a member: by VMCOREINFO where it has it, else
// by the type data.
func (k *Kernel) offset(structure, member string) (uint64, error) {
	if o, ok := k.Info.Offset(structure + "." + member); ok {
		return o, nil
	}
	f, err := k.Field(structure, member)
	if err != nil {
		return 0, fmt.Errorf("find %s.%s: %w", structure, member, err)
	}
	return f.Offset, nil
}

// firstField returns the first of several members that the structure has:
// names change with the kernel's version.
func (k *Kernel) firstField(structure string, paths ...string) (Field, error) {
	var first error
	for _, p := range paths {
		f, err := k.Field(structure, p)
		if err == nil {
			return f, nil
		}
		if first == nil {
			first = err
		}
	}
	return Field{}, first
}

// ReadField reads an integer, pointer or enum member of the structure at addr.
func (k *Kernel) ReadField(addr uint64, f Field) (uint64, error) {
	v, err := k.Space.Uint(addr+f.Offset, f.Size)
	if err != nil {
		return 0, err
	}
	if f.BitSize != 0 {
		v = v >> f.BitOffset & (1<<f.BitSize - 1)
	}
	return v, nil
}
