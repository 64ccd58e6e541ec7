package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// hook is a program at one place in the kernel.
type hook struct {
	spec    *ebpf.ProgramSpec
	scratch *ebpf.Map
	prog    *ebpf.Program
	link    link.Link // nil: it is not attached
}

// attachTo loads the program for one place in the kernel and attaches it. f is
// nil where the context is that of a system call.
func (t *tap) attachTo(name string, at ebpf.AttachType, f *inner, build builder) error {
	h, err := t.load(name, at, f, build)
	if err != nil {
		return err
	}
	t.hooks = append(t.hooks, h)
	return h.attach()
}

// load loads the program for one place in the kernel.
func (t *tap) load(name string, at ebpf.AttachType, f *inner, build builder) (_ *hook, err error) {
	h := new(hook)
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	// Each program has its own: the kernel runs a program once at a time on
	// a processor, and no other program writes there.
	h.scratch, err = ebpf.NewMap(&ebpf.MapSpec{Name: "pd_scratch", Type: ebpf.PerCPUArray, KeySize: 4,
		ValueSize: uint32(t.tapSpec.scratch), MaxEntries: 1})
	if err != nil {
		return nil, fmt.Errorf("create BPF map: %w", err)
	}
	a := &assembler{inner: f, kernel: t.kernel, ns: t.ns, watched: t.watched.FD(), state: t.state.FD(), ring: t.ring.FD(),
		scratch: h.scratch.FD(), limiter: t.limiter, number: len(t.hooks)}
	ins, err := build(a)
	if err != nil {
		return nil, err
	}
	h.spec = &ebpf.ProgramSpec{
		Name: "procdump", Type: ebpf.Tracing, AttachType: at, AttachTo: name,
		Instructions: ins, License: "Dual MIT/GPL",
	}
	return h, h.load()
}

func (h *hook) load() (err error) {
	h.prog, err = ebpf.NewProgram(h.spec)
	if err == nil {
		return nil
	}
	var verifier *ebpf.VerifierError
	if errors.As(err, &verifier) && len(verifier.Log) > 0 {
		return fmt.Errorf("load BPF program for %s: %w\n%-30v", h.spec.AttachTo, err, verifier)
	}
	return fmt.Errorf("load BPF program for %s: %w", h.spec.AttachTo, err)
}

func (h *hook) attach() (err error) {
	h.link, err = link.AttachTracing(link.TracingOptions{Program: h.prog, AttachType: h.spec.AttachType})
	if err != nil {
		h.link = nil
		return fmt.Errorf("attach BPF program to %s: %w", h.spec.AttachTo, err)
	}
	return nil
}

// attachAgain attaches a program that was attached before. Before Linux 5.13
// that can be done only once with a program: then it is loaded again.
func (h *hook) attachAgain() error {
	if h.link != nil || h.attach() == nil {
		return nil
	}
	before := h.prog
	if err := h.load(); err != nil {
		h.prog = before
		return err
	}
	_ = before.Close()
	return h.attach()
}

// detach keeps the program, so that it can be attached again.
func (h *hook) detach() {
	if h.link != nil {
		_ = h.link.Close()
		h.link = nil
	}
}

func (h *hook) close() {
	h.detach()
	if h.prog != nil {
		_ = h.prog.Close()
	}
	if h.scratch != nil {
		_ = h.scratch.Close()
	}
}
