package kdump

import (
	"encoding/binary"
	"strconv"
	"strings"
	"time"

	"procdump/arch"
)

// startKernelMap is where x86-64 maps the kernel image
// (Documentation/arch/x86/x86_64/mm.rst, __START_KERNEL_map).
const startKernelMap = 0xffffffff80000000

// MaxPageSize is the largest page size of a kernel that is read: arm64's 64 KiB.
const MaxPageSize = 64 << 10

// MaxPhysAddr is above every physical address: x86-64 and arm64 have 52 bits
// of them at most (MAX_PHYSMEM_BITS). Headers that tell of more are damaged.
const MaxPhysAddr = 1 << 52

// ValidPageSize tells whether n can be the page size of a kernel.
func ValidPageSize(n uint64) bool { return n >= 4096 && n <= MaxPageSize && n&(n-1) == 0 }

// infoInt is a decimal or 0x value of VMCOREINFO.
func (d *Dump) infoInt(key string) (int64, bool) {
	s, ok := d.Info(key)
	if !ok {
		return 0, false
	}
	v, err := strconv.ParseInt(s, 0, 64)
	return v, err == nil
}

// infoSymbol is the address of SYMBOL(name), written in hexadecimal without 0x.
func (d *Dump) infoSymbol(name string) (uint64, bool) {
	s, ok := d.Info("SYMBOL(" + name + ")")
	if !ok {
		return 0, false
	}
	v, err := strconv.ParseUint(s, 16, 64)
	return v, err == nil
}

// FillFromInfo sets what VMCOREINFO knows: PhysBase, and PageSize, Time and
// Uname if the format did not tell. Notes, Segments and Memory must be set.
func (d *Dump) FillFromInfo() {
	if v, ok := d.infoInt("PAGESIZE"); ok && d.PageSize == 0 && ValidPageSize(uint64(v)) {
		d.PageSize = int(v)
	}
	if d.PageSize == 0 {
		d.PageSize = 4096
	}
	if v, ok := d.infoInt("NUMBER(phys_base)"); ok {
		// QEMU 7.2 writes a header field that is wrong if the value is negative:
		// it takes the decimal number for a hexadecimal one.
		d.PhysBase = v
	}
	if v, ok := d.infoInt("CRASHTIME"); ok && d.Time.IsZero() {
		d.Time = time.Unix(v, 0)
	}
	if d.Uname == (Uname{}) {
		d.readUname()
	}
	if d.Uname.Release == "" {
		d.Uname.Release, _ = d.Info("OSRELEASE")
	}
}

// VirtToPhys translates a virtual address of the direct map or of the kernel
// image, by the segments and, on x86-64, by PhysBase. It walks no page tables.
func (d *Dump) VirtToPhys(va uint64) (addr uint64, ok bool) {
	for _, s := range d.Segments {
		if s.PhysAddr != NoPhysAddr && s.VirtAddr != 0 && va-s.VirtAddr < s.MemSize {
			return s.PhysAddr + (va - s.VirtAddr), true
		}
	}
	if d.Arch == arch.AMD64 && va >= startKernelMap {
		if _, ok := d.infoInt("NUMBER(phys_base)"); ok || d.PhysBase != 0 {
			return va - startKernelMap + uint64(d.PhysBase), true
		}
	}
	return 0, false
}

// utsField is the size of each of the six strings of struct new_utsname
// (include/uapi/linux/utsname.h, __NEW_UTS_LEN + 1).
const utsField = 65

// UnameSize is the size of struct new_utsname in bytes.
const UnameSize = 6 * utsField

// readUname reads init_uts_ns.name from the dumped memory.
func (d *Dump) readUname() {
	va, ok := d.infoSymbol("init_uts_ns")
	off, ok2 := d.infoInt("OFFSET(uts_namespace.name)")
	if !ok || !ok2 || d.Memory == nil {
		return
	}
	addr, ok := d.VirtToPhys(va + uint64(off))
	if !ok {
		return
	}
	b := make([]byte, UnameSize)
	if n, _ := d.Memory.ReadPhys(b, addr); n == len(b) {
		if u := DecodeUname(b); u.Sysname == "Linux" {
			d.Uname = u
		}
	}
}

// DecodeUname reads struct new_utsname; b has at least UnameSize bytes.
func DecodeUname(b []byte) Uname {
	var u Uname
	for i, s := range []*string{&u.Sysname, &u.Nodename, &u.Release, &u.Version, &u.Machine, &u.Domainname} {
		*s, _, _ = strings.Cut(string(b[i*utsField:(i+1)*utsField]), "\x00")
	}
	return u
}

// Encode returns struct new_utsname.
func (u Uname) Encode() []byte {
	b := make([]byte, UnameSize)
	for i, s := range []string{u.Sysname, u.Nodename, u.Release, u.Version, u.Machine, u.Domainname} {
		copy(b[i*utsField:(i+1)*utsField-1], s)
	}
	return b
}

// MachineOfUname is the machine that uname's machine field names.
func MachineOfUname(name string) arch.Machine {
	switch name {
	case "x86_64":
		return arch.AMD64
	case "i386", "i486", "i586", "i686":
		return arch.I386
	case "aarch64":
		return arch.ARM64
	}
	return arch.Unknown
}

// struct elf_prstatus (include/linux/elfcore.h): signal data, pr_pid and other
// numbers, times, the registers, and pr_fpvalid padded to a long.

// prstatusRegs is where pr_reg lies.
func prstatusRegs(m arch.Machine) int {
	if m.PointerSize() == 8 {
		return 112
	}
	return 72
}

// prstatusSize is the size of the structure, 0 of a machine that is not known.
func prstatusSize(m arch.Machine) int {
	if m.PointerSize() == 0 {
		return 0
	}
	return prstatusRegs(m) + m.GPSize() + m.PointerSize()
}

// PRStatusRegisters is the part of an NT_PRSTATUS descriptor that holds the
// general-purpose registers, in the order of arch.Machine.GPNames; nil if it is
// too short. It aliases the descriptor.
func PRStatusRegisters(m arch.Machine, desc []byte) []byte {
	from := prstatusRegs(m)
	end := from + m.GPSize()
	if m.PointerSize() == 0 || len(desc) < end {
		return nil
	}
	return desc[from:end:end]
}

// PRStatusPID is pr_pid of an NT_PRSTATUS descriptor that has registers.
func PRStatusPID(m arch.Machine, desc []byte) int {
	return int(int32(binary.LittleEndian.Uint32(desc[prPIDOffset(m):])))
}

// SetPRStatusPID sets it.
func SetPRStatusPID(m arch.Machine, desc []byte, pid int) {
	binary.LittleEndian.PutUint32(desc[prPIDOffset(m):], uint32(pid))
}

// prPIDOffset is where pr_pid lies in struct elf_prstatus.
func prPIDOffset(m arch.Machine) int {
	if m.PointerSize() == 8 {
		return 32
	}
	return 24
}

// FirstFreePID is above the number of every thread (PID_MAX_LIMIT,
// include/linux/threads.h).
const FirstFreePID = 1<<22 + 1

// BlankPRStatus is an NT_PRSTATUS descriptor with zero registers for a CPU
// whose registers are not known: drgn unwinds no stack from a dump without
// any, and reads them in CPU order. Gdb wants every pr_pid to differ and not
// to be zero; and drgn takes these registers for those of a task that has the
// number, which therefore must be no task's.
func BlankPRStatus(m arch.Machine, cpu int) []byte {
	b := make([]byte, prstatusSize(m))
	if len(b) > 0 {
		SetPRStatusPID(m, b, FirstFreePID+cpu)
	}
	return b
}
