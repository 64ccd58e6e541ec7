package windump

import (
	"encoding/binary"
	"fmt"
)

// DebuggerData is KDDEBUGGER_DATA64 (wdbgexts.h): where a debugger finds the
// lists of the kernel and the fields of its structures. 64-bit and 32-bit
// dumps have the same. Addresses of a 32-bit dump are sign-extended. A field that
// this version of Windows does not have yet is zero.
type DebuggerData struct {
	Size                uint32 // bytes
	KernBase            uint64
	PsLoadedModuleList  uint64
	PsActiveProcessHead uint64
	NtBuildLab          uint64 // address of the text that NtBuildLab returns
	KiProcessorBlock    uint64 // array of pointers to KPRCBs
	MmUnloadedDrivers   uint64 // pointer to the array of unloaded drivers
	MmLastUnloaded      uint64 // u32, how many were written to that array
	KiBugCheckData      uint64 // {code, four parameters}
	SavedContext        uint64

	OffsetThreadTEB          uint16
	OffsetThreadKernelStack  uint16
	OffsetThreadInitialStack uint16
	OffsetThreadProcess      uint16 // KTHREAD.ApcState.Process
	SizeProcess              uint16
	OffsetProcessPEB         uint16
	OffsetProcessParent      uint16 // InheritedFromUniqueProcessId
	OffsetProcessTables      uint16 // DirectoryTableBase
	SizePrcb                 uint16
	OffsetPrcbThread         uint16 // CurrentThread
	OffsetPrcbMHz            uint16
	OffsetPrcbVendor         uint16
	OffsetPrcbContext        uint16 // ProcessorState.ContextFrame, a CONTEXT
	OffsetPrcbNumber         uint16
	SizeThread               uint16
	OffsetPrcbContextPointer uint16 // Context, a pointer to a CONTEXT; Windows 7
}

// Offsets in KDDEBUGGER_DATA64.
const (
	kdbgTag        = 0x10
	kdbgSize       = 0x14
	kdbgMin        = 0x290 // bytes of Windows XP's
	kdbgMax        = 1 << 14
	kdbgContextPtr = 0x338
)

// DebuggerData returns the debugger data block. The error is ErrEncoded if
// Windows had it encoded, as it does while no debugger is attached.
func (r *Reader) DebuggerData() (*DebuggerData, error) {
	r.debugger.Do(func() { r.kdbg, r.kdbgErr = r.readDebuggerData() })
	return r.kdbg, r.kdbgErr
}

func (r *Reader) readDebuggerData() (*DebuggerData, error) {
	at := r.Header.KdDebuggerDataBlock
	if at == 0 {
		return nil, fmt.Errorf("%w: the header names no debugger data block", ErrNotThere)
	}
	b, err := readExactly(r, at, kdbgSize+4)
	if err != nil {
		return nil, fmt.Errorf("read debugger data block: %w", err)
	}
	if binary.LittleEndian.Uint32(b[kdbgTag:]) != magicKDBG {
		return nil, ErrEncoded
	}
	size := binary.LittleEndian.Uint32(b[kdbgSize:])
	if size < kdbgMin || size > kdbgMax {
		return nil, damaged(-1, "debugger data block of %d bytes", size)
	}
	if b, err = readExactly(r, at, int(size)); err != nil {
		return nil, fmt.Errorf("read debugger data block: %w", err)
	}
	return parseDebuggerData(b), nil
}

func parseDebuggerData(b []byte) *DebuggerData {
	u64 := func(off int) uint64 {
		if len(b) < off+8 {
			return 0
		}
		return binary.LittleEndian.Uint64(b[off:])
	}
	u16 := func(off int) uint16 {
		if len(b) < off+2 {
			return 0
		}
		return binary.LittleEndian.Uint16(b[off:])
	}
	return &DebuggerData{
		Size:                     uint32(len(b)),
		KernBase:                 u64(0x18),
		SavedContext:             u64(0x28),
		PsLoadedModuleList:       u64(0x48),
		PsActiveProcessHead:      u64(0x50),
		KiBugCheckData:           u64(0x88),
		NtBuildLab:               u64(0x208),
		KiProcessorBlock:         u64(0x218),
		MmUnloadedDrivers:        u64(0x220),
		MmLastUnloaded:           u64(0x228),
		OffsetThreadTEB:          u16(0x29a),
		OffsetThreadKernelStack:  u16(0x29c),
		OffsetThreadInitialStack: u16(0x29e),
		OffsetThreadProcess:      u16(0x2a0),
		SizeProcess:              u16(0x2a8),
		OffsetProcessPEB:         u16(0x2aa),
		OffsetProcessParent:      u16(0x2ac),
		OffsetProcessTables:      u16(0x2ae),
		SizePrcb:                 u16(0x2b0),
		OffsetPrcbThread:         u16(0x2b4),
		OffsetPrcbMHz:            u16(0x2b6),
		OffsetPrcbVendor:         u16(0x2ba),
		OffsetPrcbContext:        u16(0x2bc),
		OffsetPrcbNumber:         u16(0x2be),
		SizeThread:               u16(0x2c0),
		OffsetPrcbContextPointer: u16(kdbgContextPtr),
	}
}
