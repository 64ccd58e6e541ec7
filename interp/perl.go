package interp

import (
	"fmt"
	"regexp"
	"slices"

	"procdump/image"
	"procdump/snapshot"
	"procdump/unwind"
)

// perl walks the stacks of Perl 5.36 and later, with threads and without. What
// an interpreter runs is on stacks of contexts (cop.h): calls of subroutines,
// evals, loops. Each subroutine's context has the statement (COP) that called
// it, which is where the next one out stands. Another stack is begun where Perl
// calls Perl by itself: for a destructor, a signal, a tied variable.
//
//	PerlInterpreter: … curcop … curstackinfo
//	PERL_SI:         stack, cxstack, prev, next, i32 cxix, cxmax, cxsubix, type
type perl struct {
	memory
	pid     int
	program *image.Image
	symbols map[string]snapshot.Range
	loops   []snapshot.Range // the functions that run statements
	slot    uint64           // where a thread has its interpreter, of its control block
	names   map[uint64]string
	where   map[uint64]place
}

// place is where a statement stands.
type place struct {
	file string
	line int
}

const (
	curCOP       = 0xd0 // in PerlInterpreter (intrpvar.h)
	curStackInfo = 0xe0
	contextSize5 = 0x68 // of PERL_CONTEXT
	stackMain    = 1    // PERLSI_MAIN
	stackKinds   = 16
	maxContexts  = 1 << 22
	maxStacks    = 1 << 12
)

var (
	perlFiles = regexp.MustCompile(`^(perl[\d.]*|libperl.*\.so.*)$`)
	perlLoops = []string{"Perl_runops_standard", "Perl_runops_debug"}
)

// newPerl returns a walker, or nil if the process does not run Perl.
func newPerl(p *snapshot.Process, set *image.Set) (Walker, error) {
	for _, im := range imagesOf(set, perlFiles) {
		w := &perl{pid: p.PID, program: im}
		w.symbols = symbolsOf(im, append([]string{"PL_revision", "PL_version", "PL_subversion", "PL_thr_key", "PL_curinterp", "PL_curcop", "PL_curstackinfo"}, perlLoops...)...)
		if w.symbols["PL_revision"].Addr == 0 {
			continue // a program whose Perl is in a library
		}
		for _, name := range perlLoops {
			w.loops = append(w.loops, w.symbols[name])
		}
		w.Attach(p, set)
		revision, version := w.u8(w.symbols["PL_revision"].Addr), w.u8(w.symbols["PL_version"].Addr)
		if w.failed {
			return nil, fmt.Errorf("find the functions of Perl: its version cannot be read")
		}
		if revision != 5 || version < 36 || version > 42 {
			return nil, fmt.Errorf("find the functions of Perl: those of version %d.%d are not known, but of 5.36 to 5.42", revision, version)
		}
		return w, nil
	}
	return nil, nil
}

func (w *perl) Attach(p *snapshot.Process, set *image.Set) error {
	w.memory = newMemory(set)
	w.names, w.where = map[uint64]string{}, map[uint64]place{}
	return nil
}

func (w *perl) Close() {}

// Stack puts the subroutines in Perl into a thread's stack.
func (w *perl) Stack(t *snapshot.Thread, native *unwind.Stack) (unwind.Stack, error) {
	w.begin()
	info, cop, ok := w.interpreter(t)
	if !ok {
		return *native, w.end() // a thread of another library's
	}
	runs := w.walk(info, cop)
	if err := w.end(); err != nil || !slices.ContainsFunc(runs, func(r []*unwind.Script) bool { return len(r) > 0 }) {
		return *native, err
	}
	return interleave(native, w.loops, runs), nil
}

// interpreter finds what a thread's interpreter runs: the innermost stack and
// the statement. The interpreter is the thread's value of the key PL_thr_key,
// which glibc has in the thread's control block (nptl/descr.h), where says no
// symbol:
//
//	struct pthread_key_data {u64 seq; void *data} [32]
//
// Without threads there is one interpreter, whose parts are variables.
func (w *perl) interpreter(t *snapshot.Thread) (info, cop uint64, ok bool) {
	if info, cop := w.symbols["PL_curstackinfo"].Addr, w.symbols["PL_curcop"].Addr; info != 0 && cop != 0 {
		w.failed = false
		info, cop = w.u64(info), w.u64(cop)
		return info, cop, t.TID == w.pid && w.isStack(info)
	}
	tcb, keyAt := t.Registers.TLS(), w.symbols["PL_thr_key"].Addr
	if tcb == 0 || keyAt == 0 {
		return 0, 0, false
	}
	w.failed = false
	const keys = 32
	if key := uint64(w.u32(keyAt)); key < keys && !w.failed {
		const first, last = 0x200, 0x900 // bytes; glibc 2.36 has them at 0x310
		if w.slot != 0 {
			if info, cop, ok := w.interpreterAt(w.u64(tcb + w.slot)); ok {
				return info, cop, true
			}
		}
		for off := uint64(first); off < last; off += 8 {
			slot := off + key*16 + 8
			if info, cop, ok := w.interpreterAt(w.u64(tcb + slot)); ok {
				w.slot = slot
				return info, cop, true
			}
		}
	}
	if t.TID == w.pid { // of another C library
		w.failed = false
		return w.interpreterAt(w.u64(w.symbols["PL_curinterp"].Addr))
	}
	return 0, 0, false
}

// interpreterAt tells whether an interpreter is at an address, and what it runs.
func (w *perl) interpreterAt(addr uint64) (info, cop uint64, ok bool) {
	if addr == 0 || addr%8 != 0 {
		return 0, 0, false
	}
	w.failed = false
	info, cop = w.u64(addr+curStackInfo), w.u64(addr+curCOP)
	return info, cop, !w.failed && cop%8 == 0 && w.isStack(info)
}

// isStack tells whether a stack of contexts is at an address.
func (w *perl) isStack(info uint64) bool {
	if info == 0 || info%8 != 0 {
		return false
	}
	contexts, top, most, kind := w.u64(info+8), int32(w.u32(info+0x20)), int32(w.u32(info+0x24)), int32(w.u32(info+0x2c))
	return !w.failed && contexts != 0 && contexts%8 == 0 && top >= -1 && top <= most && most < maxContexts && kind > 0 && kind < stackKinds
}

// Kinds of contexts (cop.h).
const (
	kindMask    = 0xf // CXTYPEMASK
	kindSub     = 9   // CXt_SUB
	kindFormat  = 10  // CXt_FORMAT
	kindEval    = 11  // CXt_EVAL
	again       = 0x80
	tryBlock    = 0x80 // CXp_TRY, of an eval
	functionOf  = 0x48 // blk_sub.cv
	calledBy    = 0x10 // blk_oldcop
	goesOnAfter = 0x30 // blk_sub.retop; 0: C goes on
)

// walk returns the subroutines that run, in runs that each have been called from
// C, as the function caller has them.
func (w *perl) walk(info, cop uint64) [][]*unwind.Script {
	var runs [][]*unwind.Script
	var run []*unwind.Script
	add := func(name string) {
		at := w.placeOf(cop)
		run = append(run, &unwind.Script{Language: "perl", Function: name, File: at.file, Line: at.line})
	}
	n, closed := 0, false // scripts' functions; the last context ended a run
	for range maxStacks {
		w.failed = false
		if !w.isStack(info) {
			break
		}
		contexts := w.u64(info + 8)
		for i := int64(int32(w.u32(info + 0x20))); i >= 0 && n < maxScripts && w.short == nil; i-- {
			w.failed = false
			cx := contexts + uint64(i)*contextSize5
			kind, old, after := w.u8(cx), w.u64(cx+calledBy), w.u64(cx+goesOnAfter)
			if w.failed {
				break
			}
			switch kind & kindMask {
			case kindSub, kindFormat:
				if kind&again != 0 { // CXp_SUB_RE_FAKE: code in a regular expression, in the subroutine round it
					continue
				}
				add(w.subroutine(w.u64(cx + functionOf)))
				cop, n, closed = old, n+1, after == 0
				if closed {
					runs, run = append(runs, run), nil
				}
			case kindEval:
				name := "(eval)"
				if kind&tryBlock != 0 {
					name = "(try)"
				}
				add(name)
				cop, n, closed = old, n+1, false
			}
		}
		if w.failed = false; w.u32(info+0x2c) == stackMain {
			add("<main>")
			break
		}
		if !closed || len(run) > 0 {
			runs, run = append(runs, run), nil
		}
		info, closed = w.u64(info+0x10), false
	}
	return append(runs, run)
}
