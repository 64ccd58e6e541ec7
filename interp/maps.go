//go:build linux && amd64 && !nointerp

package interp

import (
	"fmt"
	"math/bits"
	"unsafe"

	"github.com/cilium/ebpf"
	"go.opentelemetry.io/ebpf-profiler/host"
	"go.opentelemetry.io/ebpf-profiler/libpf"
	"go.opentelemetry.io/ebpf-profiler/lpm"
	"go.opentelemetry.io/ebpf-profiler/metrics"
	"go.opentelemetry.io/ebpf-profiler/nativeunwind/stackdeltatypes"
	"go.opentelemetry.io/ebpf-profiler/processmanager/ebpfapi"
	"go.opentelemetry.io/ebpf-profiler/support"
	"go.opentelemetry.io/ebpf-profiler/util"

	"procdump/interp/bpf"
)

// maps keeps what the profiler tells its BPF programs in the machine's maps, as
// it would in the kernel's (processmanager/ebpfapi.EbpfHandler).
type maps struct {
	machine *bpf.Machine
	bias    map[uint64]uint64 // of files, by their number: memory less file
}

// bytesOf are a value's bytes in memory.
func bytesOf[T any](p *T) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(p)), unsafe.Sizeof(*p)) }

func (m *maps) put(name string, key, value []byte) error {
	x := m.machine.Map(name)
	if x == nil {
		return fmt.Errorf("no BPF map %s", name)
	}
	return x.Put(key, value)
}

// procMaps are the maps of what is known of a process's runtime.
var procMaps = map[libpf.InterpreterType]string{
	libpf.Dotnet: "dotnet_procs", libpf.Perl: "perl_procs", libpf.PHP: "php_procs", libpf.Python: "py_procs", libpf.HotSpot: "hotspot_procs",
	libpf.Ruby: "ruby_procs", libpf.V8: "v8_procs", libpf.BEAM: "beam_procs", libpf.LuaJIT: "luajit_procs", libpf.Go: "go_procs",
}

func (m *maps) UpdateProcData(typ libpf.InterpreterType, pid libpf.PID, data unsafe.Pointer) error {
	x := m.machine.Map(procMaps[typ])
	if x == nil {
		return nil // of runtimes that have no frames
	}
	key := uint32(pid)
	return x.Put(bytesOf(&key), unsafe.Slice((*byte)(data), x.ValueSize()))
}

func (m *maps) UpdateInterpreterOffsets(program uint16, file host.FileID, ranges []util.Range) error {
	key, value, err := ebpfapi.InterpreterOffsetKeyValue(program, file, ranges)
	if err != nil {
		return err
	}
	return m.put("interpreter_offsets", bytesOf(&key), bytesOf(&value))
}

func (m *maps) UpdatePidInterpreterMapping(pid libpf.PID, prefix lpm.Prefix, program uint8, file host.FileID, bias uint64) error {
	b, err := support.EncodeBiasAndUnwindProgram(bias, program)
	if err != nil {
		return err
	}
	key := support.PIDPage{PrefixLen: support.BitWidthPID + prefix.Length, Pid: bits.ReverseBytes32(uint32(pid)), Page: bits.ReverseBytes64(prefix.Key)}
	value := support.PIDPageMappingInfo{File_id: uint64(file), Bias_and_unwind_program: b}
	return m.put("pid_page_to_mapping_info", bytesOf(&key), bytesOf(&value))
}

func (m *maps) UpdatePidPageMappingInfo(pid libpf.PID, prefix lpm.Prefix, file, bias uint64) error {
	// Node.js maps parts of its file again elsewhere, after the file itself.
	if _, ok := m.bias[file]; !ok {
		m.bias[file] = bias
	}
	return m.UpdatePidInterpreterMapping(pid, prefix, support.ProgUnwindNative, host.FileID(file), bias)
}

func (m *maps) UpdateUnwindInfo(i uint16, info stackdeltatypes.UnwindInfo) error {
	key := uint32(i)
	return m.put("unwind_info_array", bytesOf(&key), bytesOf(&info))
}

func (m *maps) UpdateExeIDToStackDeltas(file host.FileID, deltas []ebpfapi.StackDeltaEBPF) (uint16, error) {
	bucket := max(support.StackDeltaBucketSmallest, bits.Len(uint(max(len(deltas)-1, 0))))
	outer := m.machine.Map(fmt.Sprintf("exe_id_to_%d_stack_deltas", bucket))
	if outer == nil {
		return 0, fmt.Errorf("%d stack deltas are too many", len(deltas))
	}
	var one support.StackDelta
	size := int(unsafe.Sizeof(one))
	inner, err := m.machine.NewMap(ebpf.Array, 4, size, len(deltas))
	if err != nil {
		return 0, err
	}
	for i, d := range deltas {
		one = support.StackDelta{AddrLow: d.AddressLow, UnwindInfo: d.UnwindInfo}
		copy(inner.Bytes()[i*size:], bytesOf(&one))
	}
	key := uint64(file)
	outer.PutMap(bytesOf(&key), inner)
	return uint16(bucket), nil
}

func (m *maps) UpdateStackDeltaPages(file host.FileID, counts []uint16, mapID uint16, first uint64) error {
	begin := uint32(0)
	for i, n := range counts {
		key := support.StackDeltaPageKey{FileID: uint64(file), Page: first + uint64(i)<<support.StackDeltaPageBits}
		value := support.StackDeltaPageInfo{FirstDelta: begin, NumDeltas: n, MapID: mapID}
		begin += uint32(n)
		if err := m.put("stack_delta_page_to_info", bytesOf(&key), bytesOf(&value)); err != nil {
			return err
		}
	}
	return nil
}

// What follows takes away what is never taken away here.

func (m *maps) DeleteProcData(libpf.InterpreterType, libpf.PID) error            { return nil }
func (m *maps) DeletePidInterpreterMapping(libpf.PID, lpm.Prefix) error          { return nil }
func (m *maps) DeleteExeIDToStackDeltas(host.FileID, uint16) error               { return nil }
func (m *maps) DeleteStackDeltaPage(host.FileID, uint64) error                   { return nil }
func (m *maps) DeletePidPageMappingInfo(libpf.PID, []lpm.Prefix) (uint64, error) { return 0, nil }
func (m *maps) RemoveReportedPID(libpf.PID)                                      {}
func (m *maps) CollectMetrics() []metrics.Metric                                 { return nil }
func (m *maps) SupportsLPMTrieBatchOperations() bool                             { return false }
