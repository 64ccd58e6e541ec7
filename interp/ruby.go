package interp

import (
	"debug/elf"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"procdump/image"
	"procdump/snapshot"
	"procdump/unwind"
)

// ruby walks the stacks of Ruby's virtual machine (YARV), of Ruby 3.1 and later.
// Each thread of Ruby's has an execution context, whose address is in the
// thread-local variable ruby_current_ec. It has a stack, at the upper end of
// which lie the control frames, the innermost at the lowest address
// (vm_core.h):
//
//	rb_execution_context_t: vm_stack, vm_stack_size (words), cfp, …
//	rb_control_frame_t:     pc, sp, iseq, self, ep, …
//
// A frame of a method in Ruby has instructions (iseq) and stands at one of them
// (pc); one of a method in C has neither, but the method's entry.
type ruby struct {
	memory
	p       *snapshot.Process
	lib     *image.Image
	version int // 3.1.7 is 0x30107
	rubyLayout
	loop  snapshot.Range // rb_vm_exec, which runs instructions until it meets a frame marked so
	slot  rubySlot       // where the context was found last
	ids   uint64         // the array of the names of methods; 0: it was not found
	idsOK bool           // it was looked for
	iseqs map[uint64]*rubyISeq
}

// rubyLayout is what differs between versions, in bytes.
type rubyLayout struct {
	frame                          uint64 // rb_control_frame_t
	lines, lineCount, linePosition uint64 // in rb_iseq_constant_body
	embedded                       uint64 // in RString
	operators                      uint64 // IDs up to this one are their own number
}

// rubySlot is where a thread has its ruby_current_ec: at an offset of the block
// that a word of its dynamic thread vector leads to.
type rubySlot struct{ entry, off uint64 }

const (
	frameMagic   = 0x7fff0001 // VM_FRAME_MAGIC_MASK
	frameC       = 0x55550001 // VM_FRAME_MAGIC_CFUNC
	frameFinish  = 0x20       // VM_FRAME_FLAG_FINISH: rb_vm_exec returns when it does
	maxRubyStack = 1 << 24    // words
	maxDTV       = 128        // words that are looked at of the thread vector
	maxTLS       = 4 << 10    // bytes that are looked at of the library's thread-local variables
	maxScripts   = 16 << 10   // functions of scripts on a stack
)

var (
	rubyFiles   = regexp.MustCompile(`^(libruby.*\.so.*|ruby[\d.]*)$`)
	rubyVersion = regexp.MustCompile(`^(\d+)\.(\d+)\.(\d+)`)
)

// newRuby returns a walker, or nil if the process does not run Ruby.
func newRuby(p *snapshot.Process, set *image.Set) (Walker, error) {
	for _, im := range imagesOf(set, rubyFiles) {
		found := symbolsOf(im, "ruby_version", "rb_vm_exec", "ruby_global_symbols")
		at, ok := found["ruby_version"]
		if !ok {
			continue // a program whose Ruby is in a library
		}
		r := &ruby{memory: newMemory(set), p: p, lib: im, loop: found["rb_vm_exec"], iseqs: map[uint64]*rubyISeq{}}
		name := r.cString(at.Addr)
		m := rubyVersion.FindStringSubmatch(name)
		if m == nil {
			return nil, fmt.Errorf("find the functions of Ruby: its version cannot be read")
		}
		for _, part := range m[1:] {
			n, _ := strconv.Atoi(part)
			r.version = r.version<<8 | n&0xff
		}
		if !r.layout() {
			return nil, fmt.Errorf("find the functions of Ruby: those of version %s are not known, but of 3.1 to 4.0", name)
		}
		if g := found["ruby_global_symbols"]; g.Addr != 0 {
			r.ids, r.idsOK = r.u64(g.Addr+symbolIDs), true
		}
		return r, nil
	}
	return nil, nil
}

// layout fills in what differs between versions and tells whether this one is
// known.
func (r *ruby) layout() bool {
	r.rubyLayout = rubyLayout{frame: 56, lines: 112, lineCount: 128, linePosition: 136, embedded: 24, operators: 169}
	switch v := r.version >> 8; {
	case v == 0x301:
		r.rubyLayout = rubyLayout{frame: 64, lines: 120, lineCount: 136, linePosition: 144, embedded: 16, operators: 169}
	case v == 0x302:
		r.frame = 64
	case v == 0x303:
	case v == 0x304:
		r.operators = 170
	case v == 0x305, v == 0x400:
		r.operators = 171
	default:
		return false
	}
	return true
}

func (r *ruby) Attach(p *snapshot.Process, set *image.Set) error {
	*r = ruby{memory: newMemory(set), p: p, lib: r.lib, version: r.version, rubyLayout: r.rubyLayout,
		loop: r.loop, slot: r.slot, ids: r.ids, idsOK: r.idsOK, iseqs: map[uint64]*rubyISeq{}}
	return nil
}

func (r *ruby) Close() {}

// Stack puts the functions in Ruby into a thread's stack.
func (r *ruby) Stack(t *snapshot.Thread, native *unwind.Stack) (unwind.Stack, error) {
	r.begin()
	c, ok := r.context(t.Registers.TLS())
	if !ok {
		return *native, r.end() // a thread of another library's
	}
	r.failed = false
	runs := r.walk(c)
	if err := r.end(); err != nil || len(runs) == 0 {
		return *native, err
	}
	return interleave(native, []snapshot.Range{r.loop}, runs), nil
}

// rubyContext is an execution context.
type rubyContext struct{ cfp, end uint64 }

// context finds a thread's execution context. The dynamic thread vector, which
// the second word of the thread's control block points to, has the addresses of
// all libraries' thread-local variables (ELF Handling for Thread-Local Storage,
// variant II). Where among them it is says no symbol of a stripped library: the
// one that looks like a context is it.
func (r *ruby) context(tcb uint64) (rubyContext, bool) {
	if tcb == 0 {
		return rubyContext{}, false
	}
	vector := r.u64(tcb + 8)
	if r.slot != (rubySlot{}) {
		if c, ok := r.contextAt(r.u64(r.u64(vector+r.slot.entry) + r.slot.off)); ok {
			return c, true
		}
	}
	size := uint64(0)
	if tls, ok := r.lib.Segment(elf.PT_TLS); ok {
		size = min(tls.Size, maxTLS)
	}
	for entry := uint64(8); entry < maxDTV*8; entry += 8 {
		r.failed = false
		block := r.u64(vector + entry)
		if r.failed {
			break
		}
		if block == 0 || block%8 != 0 {
			continue
		}
		for off := uint64(0); off+8 <= size && !r.failed; off += 8 {
			if c, ok := r.contextAt(r.u64(block + off)); ok {
				r.slot = rubySlot{entry, off}
				return c, true
			}
			r.failed = false
		}
	}
	return rubyContext{}, false
}

// contextAt returns the execution context at an address, if there is one.
func (r *ruby) contextAt(addr uint64) (rubyContext, bool) {
	if addr == 0 || addr%8 != 0 {
		return rubyContext{}, false
	}
	r.failed = false
	stack, words, cfp := r.u64(addr), r.u64(addr+8), r.u64(addr+16)
	if r.failed || stack == 0 || stack%8 != 0 || words < 64 || words > maxRubyStack || stack+words*8 < stack {
		return rubyContext{}, false
	}
	end := stack + words*8
	return rubyContext{cfp, end}, cfp > stack && cfp <= end && (end-cfp)%r.frame == 0
}

// walk returns the functions of a context, in runs that each have been called
// from C.
func (r *ruby) walk(c rubyContext) [][]*unwind.Script {
	var runs [][]*unwind.Script
	var run []*unwind.Script
	unplaced := 0 // methods in C since the last in Ruby; they stand where that has called them
	n := 0
	// The outermost frame is none of the program's (rb_ec_partial_backtrace_object).
	for cfp := c.cfp; cfp+2*r.frame <= c.end && n < maxScripts; cfp += r.frame {
		r.failed = false
		pc, iseq, ep := r.u64(cfp), r.u64(cfp+16), r.u64(cfp+32)
		flags := r.u64(ep)
		if r.failed {
			break
		}
		switch {
		case iseq != 0 && pc != 0:
			s := r.function(iseq, pc)
			for _, f := range run[len(run)-unplaced:] {
				f.File, f.Line = s.File, s.Line
			}
			run, unplaced, n = append(run, s), 0, n+1
		case flags&frameMagic == frameC:
			run = append(run, &unwind.Script{Language: "ruby", Function: r.method(ep)})
			unplaced, n = unplaced+1, n+1
		}
		if flags&frameFinish != 0 && len(run) > 0 {
			runs, run, unplaced = append(runs, run), nil, 0
		}
	}
	if len(run) > 0 {
		runs = append(runs, run)
	}
	return runs
}

// function is what a frame with instructions runs.
func (r *ruby) function(iseq, pc uint64) *unwind.Script {
	q := r.iseqs[iseq]
	if q == nil {
		q = r.readISeq(iseq)
		r.iseqs[iseq] = q
	}
	s := &unwind.Script{Language: "ruby", Function: q.label, File: q.file, Line: q.line(r, pc)}
	if strings.TrimSpace(s.Function) == "" {
		s.Function = "<unknown>"
	}
	return s
}
