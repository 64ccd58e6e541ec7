//go:build linux && amd64 && !nointerp

package interp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unsafe"

	"go.opentelemetry.io/ebpf-profiler/interpreter/interpreterconfig"
	"go.opentelemetry.io/ebpf-profiler/libpf"
	"go.opentelemetry.io/ebpf-profiler/log"
	"go.opentelemetry.io/ebpf-profiler/nativeunwind/elfunwindinfo"
	"go.opentelemetry.io/ebpf-profiler/processmanager"
	"go.opentelemetry.io/ebpf-profiler/reporter/samples"
	"go.opentelemetry.io/ebpf-profiler/support"

	"procdump/arch"
	"procdump/image"
	"procdump/interp/bpf"
	"procdump/snapshot"
	"procdump/unwind"
)

const (
	maxSteps    = 4 << 20   // instructions for a stack
	allSteps    = 512 << 20 // instructions for all stacks
	taskSize    = 4 << 10
	taskFSBase  = 64 // where the BPF programs are told that struct task_struct has the thread pointer
	contextSize = 4 << 10
	everything  = 0xffff // of the kinds of samples that the programs are asked for
)

// walker is the profiler's parts on one process.
type walker struct {
	target   *target
	machine  *bpf.Machine
	maps     *maps
	manager  *processmanager.ProcessManager
	cancel   context.CancelFunc
	task     uint64
	memory   []byte // of the task
	context  uint64
	regs     []byte        // in the context
	left     int           // steps
	patience time.Duration // with the profiler, for all stacks
	gone     error         // why nothing is asked of it any more
	frames   []libpf.Frame
}

// quiet keeps the profiler from writing to the standard error.
var quiet = sync.OnceFunc(func() { log.SetLogger(*slog.New(slog.DiscardHandler)) })

// profiles tells that this build has the profiler.
const profiles = true

// newProfiler returns a walker of a process with one of the runtimes.
func newProfiler(p *snapshot.Process, set *image.Set) (Walker, error) {
	if p.Machine() != arch.AMD64 {
		return nil, fmt.Errorf("find the functions of scripts: %w for %v programs", errors.ErrUnsupported, p.Machine())
	}
	ctx, cancel := context.WithCancel(context.Background())
	x := &walker{left: allSteps, patience: maxTime, cancel: cancel, target: &target{p: p, set: set, budget: newBudget()}}
	if err := x.ask(maxTime, func() error { return x.start(ctx) }); err != nil {
		cancel()
		return nil, err
	}
	return x, nil
}

// start loads the BPF programs and has the profiler find the runtimes.
func (x *walker) start(ctx context.Context) error {
	quiet()
	spec, err := support.LoadCollectionSpec()
	if err != nil {
		return fmt.Errorf("load BPF programs: %w", err)
	}
	for name, value := range map[string]any{"origin_id_sampling": uint16(everything), "tpbase_offset": uint64(taskFSBase), "inverse_pac_mask": ^uint64(0)} {
		v := spec.Variables[name]
		if v == nil {
			return fmt.Errorf("load BPF programs: no variable %s", name)
		}
		if err := v.Set(value); err != nil {
			return fmt.Errorf("load BPF programs: %w", err)
		}
	}
	if x.machine, err = bpf.New(spec); err != nil {
		return err
	}
	for _, v := range spec.Variables {
		if m := x.machine.Map(v.SectionName); m != nil && int(v.Offset)+len(v.Value) <= len(m.Bytes()) {
			copy(m.Bytes()[v.Offset:], v.Value)
		}
	}
	for name := range spec.Programs {
		for i, suffix := range tails {
			if strings.HasPrefix(name, "perf_") && strings.HasSuffix(name, "_"+suffix) {
				x.machine.Tail[i] = name
			}
		}
	}
	if x.task, x.memory, err = x.machine.Alloc(taskSize); err != nil {
		return err
	}
	if x.context, x.regs, err = x.machine.Alloc(contextSize); err != nil {
		return err
	}
	x.maps = &maps{machine: x.machine, bias: map[uint64]uint64{}}
	known := interpreterconfig.AllInterpreters()
	// These two are read without it: what it knows of Perl passes over
	// subroutines without a glob of their own and takes their lines for others';
	// what it knows of Ruby is stopped by functions in C, and by libraries without
	// symbols.
	known.Perl.Disabled, known.Ruby.Disabled = true, true
	x.manager, err = processmanager.New(ctx, processmanager.Config{
		InterpretersConfig: known, MonitorInterval: time.Hour, ExecutableUnloadDelay: time.Hour,
		EbpfHandler: x.maps, TraceReporter: x, StackDeltaProvider: elfunwindinfo.NewStackDeltaProvider(), FrameCacheSize: 4096,
		IncludeEnvVars: libpf.Set[string]{},
	})
	if err != nil {
		return fmt.Errorf("find runtimes: %w", err)
	}
	x.manager.SynchronizeProcess(x.target)
	return nil
}

// tails are how the names of the programs end that others go on with.
var tails = map[uint32]string{
	support.ProgUnwindStop: "stop", support.ProgUnwindNative: "native", support.ProgUnwindHotspot: "hotspot", support.ProgUnwindPerl: "perl",
	support.ProgUnwindPHP: "php", support.ProgUnwindPython: "python", support.ProgUnwindRuby: "ruby", support.ProgUnwindV8: "v8",
	support.ProgUnwindDotnet: "dotnet", support.ProgUnwindDotnet10: "dotnet10", support.ProgUnwindBEAM: "beam", support.ProgUnwindLuaJIT: "luajit",
}

// ReportTraceEvent takes the frames that a trace was found to have.
func (w *walker) ReportTraceEvent(t *libpf.Trace, _ *samples.TraceEventMeta) error {
	for _, f := range t.Frames {
		w.frames = append(w.frames, f.Value())
	}
	return nil
}

// entry is the program that begins a walk.
const entry = "native_tracer_entry"

// find runs the profiler's programs on a thread.
func (w *walker) find(t *snapshot.Thread) (s stack, err error) {
	gp := t.Registers.Set(arch.NT_PRSTATUS)
	fsbase, ok := t.Registers.GP("fs_base")
	if len(gp) < 21*8 || !ok {
		return s, errors.New("the dump holds no registers of this thread")
	}
	clear(w.memory)
	binary.LittleEndian.PutUint64(w.memory[taskFSBase:], fsbase)
	clear(w.regs)
	copy(w.regs, gp) // struct pt_regs has the order of struct user_regs_struct
	const ss, userDS = 20 * 8, 0x2b
	binary.LittleEndian.PutUint64(w.regs[ss:], userDS) // the programs tell by it that the thread was not in the kernel
	var out []byte
	env := &bpf.Env{Task: w.task, PIDTGID: pid<<32 | uint64(uint32(t.TID)), ReadUser: w.target.read, Output: func(p []byte) { out = append([]byte(nil), p...) }}
	w.machine.Steps = min(maxSteps, w.left)
	before := w.machine.Steps
	_, err = w.machine.Run(entry, w.context, env)
	w.left -= before - max(w.machine.Steps, 0)
	if err != nil {
		return s, err
	}
	full := make([]byte, unsafe.Sizeof(support.Trace{}))
	copy(full, out)
	trace := (*support.Trace)(unsafe.Pointer(&full[0]))
	data := trace.Frame_data[:min(int(trace.Frame_data_len), len(trace.Frame_data))]
	s.whole = len(data) > 0
	for len(data) > 0 {
		f := libpf.EbpfFrame(data)
		n := int(f.Length())
		if n == 0 || n > len(data) {
			break
		}
		f, data = f[:n], data[n:]
		switch {
		case f.Flags().Error() || f.Type().IsError():
			s.whole = false
		case f.Type().Interpreter() == libpf.Native && n >= 2:
			if bias, ok := w.maps.bias[f.Variable(0)]; ok {
				s.frames = append(s.frames, frame{pc: f.Data() + bias, returns: f.Flags().ReturnAddress()})
			}
		default:
			s.frames = append(s.frames, w.scripts(f, t.TID)...)
		}
	}
	return s, nil
}

// scripts names a frame of a script; it may be several functions of which some
// were inlined.
func (w *walker) scripts(f libpf.EbpfFrame, tid int) []frame {
	w.frames = w.frames[:0]
	t := &libpf.EbpfTrace{PID: pid, TID: libpf.PID(tid), NumFrames: 1}
	t.FrameData = append(t.FrameDataBuf[:0], f...)
	w.manager.HandleTrace(t, nil)
	var all []frame
	for _, g := range w.frames {
		name := function(g.Type.Interpreter(), g.FunctionName.String())
		if name == "" || g.Type.IsError() {
			continue
		}
		all = append(all, frame{script: &unwind.Script{Language: language(g.Type.Interpreter()), Function: name, File: g.SourceFile.String(), Line: int(g.SourceLine)}})
	}
	return all
}

// language is what people call the language of a runtime.
func language(i libpf.InterpreterType) string {
	switch i {
	case libpf.Python:
		return "python"
	case libpf.V8:
		return "javascript"
	case libpf.HotSpot:
		return "java"
	}
	return i.String()
}

// function is the name of a function, without the types of Java's; "" of code
// that a runtime generates for itself.
func function(i libpf.InterpreterType, name string) string {
	switch {
	case i == libpf.V8 && strings.HasPrefix(name, "V8::"), i == libpf.HotSpot && strings.HasPrefix(name, "StubRoutines"):
		return ""
	case i == libpf.HotSpot:
		name, _, _ = strings.Cut(name, "(")
		name = name[strings.LastIndexByte(name, ' ')+1:]
	}
	return name
}
