package windump

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Process is what an EPROCESS says.
type Process struct {
	Addr               uint64 // virtual address; 0 for the EPROCESS that a small dump holds by itself
	PID                uint64
	Name               string // at most 14 characters of the image's name
	DirectoryTableBase uint64 // for Reader.Space
}

// processLayout says where the fields of an EPROCESS lie whose offsets are not
// in the debugger data block: relative to one that is there,
// InheritedFromUniqueProcessId (OffsetEprocessParentCID).
type processLayout struct {
	build uint32 // the first with it
	name  int    // ImageFileName, behind InheritedFromUniqueProcessId
	links int    // ActiveProcessLinks, before ImageFileName; UniqueProcessId is 8 bytes before it
}

// Distances in the EPROCESS of 64-bit Windows, the latest first. The first was
// checked with dumps of build 19041 (x64) and 22000 (arm64), the others are from
// public listings of kernel structures (vergiliusproject.com).
var processLayouts = []processLayout{
	{10586, 0x68, 0x160}, // Windows 10 1511 to 11
	{10240, 0x68, 0x158}, // Windows 10 1507
	{9200, 0x58, 0x150},  // Windows 8, 8.1
	{7600, 0x50, 0x158},  // Windows 7
	{6000, 0x48, 0x150},  // Windows Vista
}

// processOffsets returns where ImageFileName and ActiveProcessLinks are.
func (r *Reader) processOffsets(d *DebuggerData) (name, links int, err error) {
	for _, l := range processLayouts {
		if name = int(d.OffsetProcessParent) + l.name; r.layout.ptr == 8 && r.Header.MinorVersion >= l.build && name-l.links >= 8 {
			return name, name - l.links, nil
		}
	}
	return 0, 0, fmt.Errorf("%w: the layout of processes of %d-bit Windows, build %d, is not known", ErrNotThere, r.Header.Bits, r.Header.MinorVersion)
}

const processNameSize = 15 // bytes

// CrashedProcess returns the process in whose context the machine crashed.
func (r *Reader) CrashedProcess() (*Process, error) {
	d, err := r.DebuggerData()
	if err != nil {
		return nil, err
	}
	name, links, err := r.processOffsets(d)
	if err != nil {
		return nil, err
	}
	size := int(d.SizeProcess)
	if t := r.triage; t != nil {
		b, err := t.Process()
		if err != nil {
			return nil, err
		}
		return d.process(b, 0, name, links)
	}
	cpu, err := r.CrashedProcessor()
	if err != nil {
		return nil, err
	}
	at, err := r.pointer(cpu.CurrentThread + uint64(d.OffsetThreadProcess))
	if err != nil {
		return nil, fmt.Errorf("read thread: %w", err)
	}
	b, err := readExactly(r, at, size)
	if err != nil {
		return nil, fmt.Errorf("read process: %w", err)
	}
	return d.process(b, at, name, links)
}

// Processes returns the processes by PsActiveProcessHead. With an error it
// returns those before the damage. Small dumps do not hold the list.
func (r *Reader) Processes() ([]Process, error) {
	d, err := r.DebuggerData()
	if err != nil {
		return nil, err
	}
	name, links, err := r.processOffsets(d)
	if err != nil {
		return nil, err
	}
	var all []Process
	err = r.walk(r.Header.PsActiveProcessHead, maxProcesses, func(at uint64) error {
		base := at - uint64(links)
		b, err := readExactly(r, base, name+processNameSize)
		if err != nil {
			return err
		}
		p, err := d.process(b, base, name, links)
		if err != nil {
			return err
		}
		all = append(all, *p)
		return nil
	})
	if err != nil {
		err = fmt.Errorf("walk list of processes: %w", err)
	}
	return all, err
}

// process decodes an EPROCESS.
func (d *DebuggerData) process(b []byte, at uint64, name, links int) (*Process, error) {
	tables := int(d.OffsetProcessTables)
	if len(b) < name+processNameSize || len(b) < tables+8 {
		return nil, damaged(-1, "EPROCESS of %d bytes", len(b))
	}
	p := &Process{at, binary.LittleEndian.Uint64(b[links-8:]), processName(b[name:]), binary.LittleEndian.Uint64(b[tables:])}
	// Process IDs are multiples of 4.
	if p.Name == "" || p.PID%4 != 0 || p.PID > 1<<32 {
		return nil, damaged(-1, "no process at virtual address %#x", at)
	}
	return p, nil
}

// processName returns the text in an ImageFileName, "" if there cannot be one.
func processName(b []byte) string {
	name, _, ok := bytes.Cut(b[:processNameSize], []byte{0})
	if !ok {
		return ""
	}
	for _, c := range name {
		if c < ' ' || c == 0x7f {
			return ""
		}
	}
	return string(bytes.ToValidUTF8(name, []byte("?")))
}
