package windump

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"procdump/arch"
)

// Processor is what a KPRCB says.
type Processor struct {
	Number        int
	Prcb          uint64 // virtual address; 0 for the KPRCB that a small dump holds by itself
	CurrentThread uint64 // virtual address of the ETHREAD
	MHz           uint32
	Vendor        string // "GenuineIntel"; on arm64 the letter of the implementer, "Q" for Qualcomm
	// Registers are those that were saved when the processor was stopped for the
	// dump; RegistersErr says why there are none.
	Registers    arch.Registers
	RegistersErr error
}

// Processors returns the processors by KiProcessorBlock. In a small dump that
// does not hold all, it is the one that crashed. With an error it returns the
// processors before it.
func (r *Reader) Processors() ([]Processor, error) {
	d, err := r.DebuggerData()
	if err != nil {
		return nil, err
	}
	n := r.Header.NumberProcessors
	if n < 0 || n > maxProcessors {
		return nil, damaged(int64(r.layout.processors), "%d processors", uint32(n))
	}
	var all []Processor
	for i := range n {
		p, err := r.processor(d, i)
		if err != nil {
			if own, ownErr := r.triageProcessor(d); len(all) == 0 && ownErr == nil {
				return []Processor{own}, nil
			}
			return all, fmt.Errorf("read processor %d: %w", i, err)
		}
		all = append(all, p)
	}
	return all, nil
}

// processor reads processor i.
func (r *Reader) processor(d *DebuggerData, i int) (Processor, error) {
	prcb, err := r.pointer(d.KiProcessorBlock + uint64(i*r.layout.ptr))
	if err != nil {
		return Processor{}, err
	}
	p := Processor{Number: i, Prcb: prcb}
	if p.CurrentThread, err = r.pointer(prcb + uint64(d.OffsetPrcbThread)); err != nil {
		return Processor{}, err
	}
	if mhz, err := readPointer(r, prcb+uint64(d.OffsetPrcbMHz), 4); err == nil {
		p.MHz = uint32(mhz)
	}
	if b, err := readExactly(r, prcb+uint64(d.OffsetPrcbVendor), vendorSize); err == nil {
		p.Vendor = vendor(b)
	}
	p.Registers, p.RegistersErr = r.savedContext(d, prcb)
	return p, nil
}

const vendorSize = 13 // bytes

// vendor cuts the text of a VendorString.
func vendor(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	for _, c := range b {
		if c < ' ' || c > '~' {
			return ""
		}
	}
	return string(b)
}

// savedContext reads the CONTEXT that Windows saved of a processor: where the
// KPRCB points to, or, before Windows 7, in the KPRCB.
func (r *Reader) savedContext(d *DebuggerData, prcb uint64) (arch.Registers, error) {
	at := prcb + uint64(d.OffsetPrcbContext)
	if d.OffsetPrcbContextPointer != 0 {
		p, err := r.pointer(prcb + uint64(d.OffsetPrcbContextPointer))
		if err != nil {
			return arch.Registers{}, err
		}
		if p != 0 {
			at = p
		}
	}
	return r.ContextAt(at)
}

// ContextAt returns the registers of a CONTEXT at a virtual address.
func (r *Reader) ContextAt(addr uint64) (arch.Registers, error) {
	n := r.contextSize()
	if n == 0 {
		return arch.Registers{}, fmt.Errorf("%w: registers of machine %#x", ErrNotThere, r.Header.MachineImageType)
	}
	b, err := readExactly(r, addr, n)
	if err != nil {
		return arch.Registers{}, fmt.Errorf("read context: %w", err)
	}
	regs, err := r.registers(b)
	if err != nil {
		return arch.Registers{}, damaged(-1, "at virtual address %#x: %v", addr, err)
	}
	return regs, nil
}

// ExceptionAt returns the exception record at a virtual address.
func (r *Reader) ExceptionAt(addr uint64) (*Exception, error) {
	b, err := readExactly(r, addr, r.layout.exceptionSize)
	if err != nil {
		return nil, fmt.Errorf("read exception record: %w", err)
	}
	if e := r.exception(b); e != nil {
		return e, nil
	}
	return nil, damaged(-1, "no exception record at virtual address %#x", addr)
}

// triageProcessor reads the KPRCB that a small dump holds by its offset.
func (r *Reader) triageProcessor(d *DebuggerData) (Processor, error) {
	t, err := r.Triage()
	if err != nil {
		return Processor{}, err
	}
	b, err := t.Prcb()
	if err != nil {
		return Processor{}, err
	}
	ptr := r.layout.ptr
	last := max(int(d.OffsetPrcbThread)+ptr, int(d.OffsetPrcbMHz)+4, int(d.OffsetPrcbNumber)+4, int(d.OffsetPrcbVendor)+vendorSize)
	if len(b) < last {
		return Processor{}, damaged(int64(t.PrcbOffset), "KPRCB of %d bytes", len(b))
	}
	p := Processor{
		Number:        int(binary.LittleEndian.Uint32(b[d.OffsetPrcbNumber:])),
		CurrentThread: fields{b, ptr}.pointer(int(d.OffsetPrcbThread)),
		MHz:           binary.LittleEndian.Uint32(b[d.OffsetPrcbMHz:]),
		Vendor:        vendor(b[d.OffsetPrcbVendor:][:vendorSize]),
	}
	p.Registers, p.RegistersErr = r.Context()
	return p, nil
}

// maxKernelStack is more than the largest kernel stack, in bytes.
const maxKernelStack = 64 << 10

// CrashedProcessor returns the processor that crashed: the one that a small dump
// says, or the one whose stack the header's stack pointer is on.
func (r *Reader) CrashedProcessor() (*Processor, error) {
	d, err := r.DebuggerData()
	if err != nil {
		return nil, err
	}
	all, err := r.Processors()
	if own, err := r.triageProcessor(d); err == nil {
		for _, p := range all {
			if p.Number == own.Number {
				return &p, nil
			}
		}
		return &own, nil
	}
	regs, regsErr := r.Context()
	if regsErr != nil {
		return nil, regsErr
	}
	var crashed *Processor
	nearest := uint64(maxKernelStack)
	for i, p := range all {
		sp := p.Registers.SP()
		// The exception that the header shows is further up on the same stack.
		if distance := max(sp, regs.SP()) - min(sp, regs.SP()); p.RegistersErr == nil && distance < nearest {
			crashed, nearest = &all[i], distance
		}
	}
	switch {
	case crashed != nil:
		return crashed, nil
	case err == nil:
		err = fmt.Errorf("%w: no processor was on the stack of the crash", ErrNotThere)
	}
	return nil, err
}

// Build returns the kernel's build text, "19041.1.amd64fre.vb_release.191206-1406".
func (r *Reader) Build() (string, error) {
	d, err := r.DebuggerData()
	if err != nil {
		return "", err
	}
	const size = 128
	b := make([]byte, size)
	n, err := r.ReadVirt(b, d.NtBuildLab)
	text, _, found := bytes.Cut(b[:n], []byte{0})
	if !found && err != nil {
		return "", fmt.Errorf("read build: %w", err)
	}
	return string(bytes.ToValidUTF8(text, []byte("?"))), nil
}
