package windump

import "fmt"

// DumpType is the type of a dump as its header says it (DUMP_TYPE_*).
type DumpType uint32

// Types of dumps. Automatic is a setting of Windows; its files are of type
// BitmapKernel.
const (
	Full                DumpType = 1
	KernelSummary       DumpType = 2
	HeaderOnly          DumpType = 3
	Triage              DumpType = 4
	BitmapFull          DumpType = 5
	BitmapKernel        DumpType = 6
	Automatic           DumpType = 7
	RangesKernel        DumpType = 8
	RangesKernelAndUser DumpType = 9
	RangesComplete      DumpType = 10
)

// String names the type as Windows' settings do.
func (t DumpType) String() string {
	switch t {
	case Full:
		return "complete memory dump"
	case KernelSummary:
		return "kernel memory dump"
	case HeaderOnly:
		return "header-only dump"
	case Triage:
		return "small memory dump"
	case BitmapFull:
		return "complete memory dump (bitmap)"
	case BitmapKernel:
		return "kernel memory dump (bitmap)"
	case Automatic:
		return "automatic memory dump"
	case RangesKernel:
		return "kernel memory dump (page ranges)"
	case RangesKernelAndUser:
		return "kernel and user memory dump (page ranges)"
	case RangesComplete:
		return "complete memory dump (page ranges)"
	}
	return fmt.Sprintf("dump of unknown type %#x", uint32(t))
}
