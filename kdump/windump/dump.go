package windump

import (
	"fmt"

	"procdump/arch"
	"procdump/kdump"
)

// Dump returns the dump as kdump's model: its memory is the Reader. Windows has
// no VMCOREINFO and no notes; of its processors the registers are given in the
// form of Linux' NT_PRSTATUS. A dump without physical memory is an error that
// wraps ErrNotThere.
//
// RAM is what the header lists; where it does not, one run up to the last page
// that the dump knows about.
func (r *Reader) Dump() (*kdump.Dump, error) {
	if r.pages == nil {
		return nil, r.pagesErr
	}
	d := &kdump.Dump{
		Format:     fmt.Sprintf("%s, %s", Format, r.Header.Kind()),
		Arch:       r.Header.Machine(),
		PageSize:   pageSize,
		Runs:       r.Header.Runs,
		Time:       r.Header.SystemTime,
		Incomplete: r.truncated() || r.Header.Attributes&InsufficientDumpfileSize != 0,
		Uname:      kdump.Uname{Sysname: "Windows", Release: fmt.Sprintf("10.0.%d", r.Header.MinorVersion), Machine: r.Header.Machine().String()},
		Memory:     r,
	}
	if build, err := r.Build(); err == nil {
		d.Uname.Version = build
	}
	if r.Header.MinorVersion < build10 {
		d.Uname.Release = fmt.Sprintf("build %d", r.Header.MinorVersion)
	}
	if len(d.Runs) == 0 && r.pages.end() > 0 {
		d.Runs = []kdump.Run{{Addr: 0, Size: r.pages.end() << pageShift}}
	}
	d.CPUs = r.cpus()
	return d, nil
}

const build10 = 10240 // the first of Windows 10, whose version is 10.0 as that of Windows 11

// truncated tells whether the last page lies behind the end of the file.
func (r *Reader) truncated() bool {
	var last uint64
	switch x := r.pages.(type) {
	case runIndex:
		for _, run := range x {
			last = max(last, uint64(run.off)+run.count<<pageShift)
		}
	case *bitmapIndex:
		last = uint64(x.first) + x.ranks[len(x.ranks)-1]<<pageShift
	}
	return last > uint64(r.size)
}

// cpus returns the processors: the one of the header alone where the dump does
// not tell of others.
func (r *Reader) cpus() []kdump.CPU {
	var cpus []kdump.CPU
	all, _ := r.Processors()
	for _, p := range all {
		cpu := kdump.CPU{Number: p.Number}
		if p.RegistersErr == nil {
			cpu.PRStatus = prstatus(&p.Registers)
		}
		cpus = append(cpus, cpu)
	}
	if regs, err := r.Context(); err == nil && len(cpus) == 0 {
		cpus = append(cpus, kdump.CPU{PRStatus: prstatus(&regs)})
	}
	return cpus
}

// prstatus returns the registers as struct elf_prstatus, nil for machines
// whose 64-bit form it is not.
func prstatus(r *arch.Registers) []byte {
	if r.Machine.PointerSize() != 8 {
		return nil
	}
	b := kdump.BlankPRStatus(r.Machine, 0)
	kdump.SetPRStatusPID(r.Machine, b, 0)
	copy(kdump.PRStatusRegisters(r.Machine, b), r.Set(arch.NT_PRSTATUS))
	return b
}
