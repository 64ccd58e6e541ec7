package inspect

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"procdump/image"
	"procdump/internal/signals"
	"procdump/snapshot"
)

// exception says what happened to the process; nil: nothing did.
func (c *Collected) exception(r *Report) *Exception {
	e := c.p.Exception
	if e == nil {
		return nil
	}
	x := &Exception{TID: e.TID}
	t := blamed(c.p)
	switch {
	case c.p.System.OS == "windows":
		x.Code, x.What = fmt.Sprintf("%#x", e.Code), windowsFault(c.p, e)
		a := Address(e.Addr)
		x.Address = &a
	default:
		x.Signal = signals.Name(e.Signal)
		x.Code = signals.Code(e.Signal, int32(e.Code))
		if signals.HasAddress(e.Signal, int32(e.Code)) {
			a := Address(e.Addr)
			x.Address = &a
		}
		if code := int32(e.Code); (e.Signal == signals.SEGV || e.Signal == signals.BUS) && code > 0 {
			x.Access = c.accessOf(t, e)
		}
		x.What = linuxFault(c.p, t, e, x.Access)
	}
	if e.Signal == signals.ABRT {
		x.Message = c.abortMessage()
	}
	if text := c.panicOf(e.TID); x.Message == "" && text != "" {
		x.Message = "panic: " + text
	}
	if len(r.Groups) > 0 && r.Groups[0].Threads[0].Blamed {
		frames := r.Groups[0].Frames
		x.Frame = where(frames, e.Signal == signals.ABRT)
		if e.Signal == signals.ABRT && slices.ContainsFunc(frames, func(f Frame) bool { return f.Function == "std::terminate" }) {
			x.What = "the program was ended by std::terminate"
			if slices.ContainsFunc(frames, func(f Frame) bool { return f.Function == "__cxa_throw" }) {
				x.What = "an exception of C++ that nobody caught"
			}
			if x.Thrown = c.thrown(frames); x.Thrown != nil {
				x.What = "an exception of C++ that nobody caught, " + x.Thrown.text()
			}
		}
		if what := rustPanic(frames); what != "" && x.Message == "" {
			x.What = what
		}
		if c.p.System.OS != "windows" && strings.HasPrefix(x.What, overflow) {
			x.What += c.recursion(frames)
		}
	}
	return x
}

// blamed is the thread that the dump is about, nil if there is none.
func blamed(p *snapshot.Process) *snapshot.Thread {
	for i := range p.Threads {
		if e := p.Exception; e == nil || p.Threads[i].TID == e.TID {
			return &p.Threads[i]
		}
	}
	return nil
}

// endings are the functions by which programs end themselves or report a fault;
// what called them is where it happened. A "*" stands for any end.
var endings = []string{
	// glibc
	"raise", "gsignal", "pthread_kill*", "*pthread_kill_implementation", "*pthread_kill_internal", "abort", "*libc_message*", "malloc_printerr*",
	"*assert_fail*", "*fortify_fail*", "*chk_fail*", "*stack_chk_fail*", "kill", "tgkill", "_int_free*", "_int_malloc*", "cfree*", "unlink_chunk*",
	// C++ and Rust
	"__gnu_cxx::__verbose_terminate_handler", "__cxxabiv1::__terminate", "std::terminate", "std::__terminate", "__cxa_throw", "__cxa_rethrow", "__cxa_pure_virtual",
	"_Unwind_*", "__gxx_personality_v0", "__cxa_call_terminate", "std::panicking::*", "core::panicking::*", "rust_begin_unwind", "rust_panic*", "__rustc::*",
	"std::sys::*", "core::result::unwrap_failed", "core::option::expect_failed", "core::option::unwrap_failed", "std::process::abort", "panic_abort::*", "__rust_*",
	// Go
	"runtime.raise*", "runtime.dieFromSignal", "runtime.crash", "runtime.fatalpanic*", "runtime.gopanic", "runtime.sigpanic", "runtime.panicmem*",
	"runtime.throw*", "runtime.fatalthrow*", "runtime.goPanic*", "runtime.panicdivide", "runtime.sigfwdgo", "runtime.sighandler", "runtime.sigtrampgo",
	"runtime.sigtramp", "runtime.sigreturn__sigaction", "runtime.raisebadsignal", "runtime.panic*", "runtime.systemstack", "runtime.dopanic*",
}

func isEnding(name string) bool {
	name = strings.TrimPrefix(name, "__GI_") // glibc's name of its own for a function
	for _, e := range endings {
		front, back := strings.HasSuffix(e, "*"), strings.HasPrefix(e, "*")
		core := strings.Trim(e, "*")
		switch {
		case front && back && strings.Contains(name, core),
			front && strings.HasPrefix(name, core),
			back && strings.HasSuffix(name, core),
			name == core:
			return true
		}
	}
	return false
}

// libraries are those of C and C++, which programs end themselves by.
var libraries = []string{"libc.so", "libc-", "libstdc++.so", "libgcc_s.so", "libc++", "libpthread", "linux-gate.so"}

// where is the innermost frame that is not of the way to the end; a program
// that gave up went that way through the libraries of its language.
func where(frames []Frame, gaveUp bool) *Frame {
	for i := range frames {
		f := &frames[i]
		inLibrary := slices.ContainsFunc(libraries, func(l string) bool { return strings.HasPrefix(base(f.Module), l) })
		inLibrary = inLibrary || strings.HasPrefix(f.File, "/rustc/") // of Rust's, which are part of the program
		if gaveUp && inLibrary || f.Signal || isEnding(f.Function) || f.Function == "" && i+1 < len(frames) && f.Module == "" {
			continue
		}
		return f
	}
	if len(frames) > 0 {
		return &frames[0]
	}
	return nil
}

// windowsFault says what an exception code means (ntstatus.h). Of an access
// violation the parameters are the kind of access and the address.
func windowsFault(p *snapshot.Process, e *snapshot.Exception) string {
	if e.Code == 0xc0000005 && len(e.Params) >= 2 {
		access := map[uint64]string{0: "read from", 1: "write to", 8: "call or jump to"}[e.Params[0]]
		if access == "" {
			access = "access to"
		}
		if a := e.Params[1]; a < lowest {
			return fmt.Sprintf("%s %#x: a null pointer plus %d", access, a, a)
		}
		return fmt.Sprintf("%s %#x", access, e.Params[1])
	}
	if s, ok := map[uint32]string{0xc0000005: "access violation", 0xc00000fd: "stack overflow", 0xc0000094: "integer division by zero",
		0xc000001d: "an instruction that the processor does not know", 0x80000003: "a breakpoint", 0xc0000374: "the heap is damaged",
		0xc0000409: "a stack buffer was overrun, or the program gave up at once", 0xe06d7363: "an exception of C++",
		0xc0000006: "a page could not be read", 0xc0000096: "a privileged instruction"}[e.Code]; ok {
		return s
	}
	return fmt.Sprintf("exception %#x", e.Code)
}

const maxMessage = 4096

// abortMessage is what glibc keeps of the text of a failed assertion or of what
// its allocator found (__abort_msg points to {u32 size, text}); "" if there is
// none or the dump does not hold it.
func (c *Collected) abortMessage() string {
	at, ok := c.libcVariable("__abort_msg")
	word := make([]byte, 8)
	w := c.p.Machine().PointerSize()
	if n, _ := c.set.ReadMemory(word[:w], at); !ok || n < w {
		return ""
	}
	p := binary.LittleEndian.Uint64(word)
	if p == 0 {
		return ""
	}
	text := make([]byte, maxMessage)
	n, _ := c.set.ReadMemory(text, p+4)
	s, _, _ := strings.Cut(string(text[:n]), "\x00")
	return strings.TrimSpace(strings.ToValidUTF8(s, "?"))
}

// libcVariable returns where a variable of the C library lies that its file
// names.
func (c *Collected) libcVariable(name string) (uint64, bool) {
	im := c.libc()
	if im == nil {
		return 0, false
	}
	f := im.File()
	bias, ok := im.Bias()
	if f == nil || !ok {
		return 0, false
	}
	v, ok := f.FindSymbol(elf.SHT_DYNSYM, name)
	if !ok {
		v, ok = f.FindSymbol(elf.SHT_SYMTAB, name)
	}
	return v + bias, ok
}

// libc is the C library's image, or that of a program that has it in itself; nil:
// there are no images.
func (c *Collected) libc() *image.Image {
	all := c.set.All()
	if len(all) == 0 {
		return nil
	}
	im := all[0]
	for _, other := range all {
		if n := base(other.Module.Path); strings.HasPrefix(n, "libc.so") || strings.HasPrefix(n, "libc-") {
			im = other
		}
	}
	return im
}
