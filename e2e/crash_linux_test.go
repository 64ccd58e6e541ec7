package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"procdump/corepattern"
	"procdump/dumpkind"
	"procdump/elfcore"
	"procdump/victims/need"
)

// crash is one way to crash and what the dump has to say of it.
type crash struct {
	name    string // of the program
	flags   []string
	args    []string
	env     []string
	program func(t *testing.T) []string // nil: the crashing C program
	signal  syscall.Signal
	reason  string // beginning of the reason
	chain   string // of the crashed thread's stack
	thread  string // its name, "" if it is the program's
	threads int    // 0: any
	stream  bool   // to be tried with the stream only, too
}

func crashes() []crash {
	const fault = "Unhandled exception: SIGSEGV.SEGV_MAPERR at 0x10"
	return []crash{
		{name: "cr-main", signal: syscall.SIGSEGV, reason: fault, chain: "<fault<descend<descend<descend<descend<main<", threads: 1},
		{stream: true, name: "cr-worker", args: []string{"thread"}, signal: syscall.SIGSEGV, reason: fault,
			chain: "<fault<descend<descend<descend<descend<descend<descend<descend<descend<worker<", thread: "crasher", threads: 3},
		{stream: true, name: "cr-leaderless", args: []string{"leaderless"}, signal: syscall.SIGSEGV, reason: fault, chain: "<descend<worker<", thread: "crasher"},
		{stream: true, name: "cr-abort", args: []string{"abort"}, signal: syscall.SIGABRT, reason: "Unhandled exception: SIGABRT.SI_TKILL", chain: "<main<", threads: 1},
		{name: "cr-overflow", args: []string{"overflow"}, signal: syscall.SIGSEGV, reason: "Unhandled exception: SIGSEGV.SEGV_", chain: "<overflow<overflow<overflow<"},
		{stream: true, name: "cr-toverflow", args: []string{"thread-overflow"}, signal: syscall.SIGSEGV, reason: "Unhandled exception: SIGSEGV.SEGV_ACCERR at 0x",
			chain: "<overflow<overflow<overflow<", thread: "crasher", threads: 3},
		{stream: true, name: "cr-i386", flags: []string{"-m32"}, args: []string{"thread"}, signal: syscall.SIGSEGV, reason: fault, chain: "<fault<descend<", thread: "crasher", threads: 3},
		{name: "cr-static", flags: []string{"-static"}, args: []string{"thread"}, signal: syscall.SIGSEGV, reason: fault, chain: "<fault<descend<", thread: "crasher", threads: 3},
		{stream: true, name: "gopanic", env: []string{"GOTRACEBACK=crash"}, signal: syscall.SIGABRT, reason: "Unhandled exception: SIGABRT.SI_TKILL",
			program: func(t *testing.T) []string {
				return []string{goProgram(t, filepath.Join(t.TempDir(), "gopanic"), "gopanic", "")}
			}, chain: "runtime.raise"},
		{name: "python3", signal: syscall.SIGSEGV, reason: "Unhandled exception: SIGSEGV.SEGV_MAPERR at 0x2a", program: func(t *testing.T) []string {
			return []string{need.Tool(t, "python3"), "-c", "import ctypes; ctypes.string_at(42)"}
		}},
	}
}

// command line of a crash.
func (c crash) command(t *testing.T) []string {
	if c.program != nil {
		return c.program(t)
	}
	return append([]string{crasher(t, c.name, c.flags...)}, c.args...)
}

// TestHandlerStacks compares, for each way to crash and each kind of dump, what
// gdb says of it and of the kernel's own core of the same crash.
func TestHandlerStacks(t *testing.T) {
	for _, c := range crashes() {
		t.Run(c.name, func(t *testing.T) { c.test(t, "tee") })
	}
}

// TestHandlerStacksFromStream does the same where the handler does not find the
// process any more, and has the kernel's core only.
func TestHandlerStacksFromStream(t *testing.T) {
	for _, c := range crashes() {
		if c.stream {
			t.Run(c.name, func(t *testing.T) { c.test(t, "stream") })
		}
	}
}

// test crashes once; mode says what the handler does with the kernel's core.
func (c crash) test(t *testing.T, mode string) {
	need.Tool(t, "gdb")
	argv := c.command(t)
	exe, err := filepath.EvalSymlinks(argv[0])
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(argv[0])
	h := installHandler(t, corepattern.Settings{Name: "PROCESSNAME_EXCEPTIONCODE", DontDump: true,
		Kinds: []dumpkind.Kind{dumpkind.Mini, dumpkind.MiniPlus, dumpkind.Full}})
	h.mark(t, mode)
	status := runToEnd(t, c.env, argv[0], argv[1:]...)
	if !status.Signaled() || status.Signal() != c.signal || !status.CoreDump() {
		t.Errorf("ended with %#x, want %v and a core", status, c.signal)
	}
	all := h.await(t, name, 3)
	h.restore()
	core := h.kernelCore(t, name)
	want := gdbCore(t, exe, core)
	// Runtimes have frames that gdb guesses; of a leader that has ended, which gdb
	// lists, the core has nothing; reports do not go to the end of stacks that ran over.
	if mode == "tee" && c.program == nil && !slices.Contains(c.args, "leaderless") && mostFrames(want) > 1000 {
		compare(t, "inspect of the kernel's core", want, inspectReport(t, core).stacks(t), rule{})
	}
	for _, dump := range all {
		if code := strings.Fields(c.reason)[2]; !strings.Contains(dump, code) {
			t.Errorf("%s: no %s in the name", dump, code)
		}
		c.check(t, dump, exe, want, mode == "stream")
	}
}

// await waits until there are n dumps of programs called name: a handler that
// let its process go may still be writing.
func (h *crashHandler) await(t *testing.T, name string, n int) []string {
	t.Helper()
	deadline := time.Now().Add(limit)
	for len(h.dumps(t, name)) < n {
		if time.Now().After(deadline) || strings.Contains(h.log(), "not dumped") {
			t.Fatalf("dumps of %s: %q, want %d\n%s", name, h.dumps(t, name), n, h.log())
		}
		time.Sleep(10 * time.Millisecond)
	}
	return h.dumps(t, name)
}

// kernelCore finds the kernel's core of the program called name among those
// that the handler kept.
func (h *crashHandler) kernelCore(t *testing.T, name string) string {
	t.Helper()
	cores, err := filepath.Glob(filepath.Join(h.State, "kernel.*.core"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range cores {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		st, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if r, err := elfcore.NewReader(f, st.Size()); err == nil {
			if p, _ := r.Process(); p.Name == name {
				return path
			}
		}
	}
	t.Fatalf("no core of %s among %q\n%s", name, cores, h.log())
	return ""
}

// check checks one dump of the crash against gdb's stacks of the kernel's core.
func (c crash) check(t *testing.T, dump, exe string, want stacks, stream bool) {
	t.Helper()
	p := readCore(t, dump)
	if !strings.HasPrefix(p.Info.Reason, c.reason) || p.Exception.Signal != int(c.signal) || p.Exception.TID != p.Threads[0].TID {
		t.Errorf("%s: reason %q, exception %+v, first thread %d", dump, p.Info.Reason, p.Exception, p.Threads[0].TID)
	}
	if c.threads > 0 && len(p.Threads) != c.threads {
		t.Errorf("%s: %d threads, want %d", dump, len(p.Threads), c.threads)
	}
	if c.thread != "" && !stream && p.Threads[0].Name != c.thread {
		t.Errorf("%s: thread %q crashed, want %q", dump, p.Threads[0].Name, c.thread)
	}
	got := gdbCore(t, exe, dump)
	if strings.Contains(dump, "_mini.") {
		compareFrames(t, dump, want, got, mostFrames(want))
	} else {
		compareFrames(t, dump, want, got, 1<<30)
	}
	if crashed := chain(got[p.Threads[0].TID]); !strings.Contains(crashed, c.chain) {
		t.Errorf("%s: crashed thread's stack is %q, want %q in it", dump, crashed, c.chain)
	}
}

// mostFrames is how many frames a mini dump has to show: a stack of 8 MiB is
// cut at its far end.
func mostFrames(s stacks) int {
	for _, frames := range s {
		if len(frames) > 1000 {
			return 100
		}
	}
	return 1 << 30
}

// compareFrames wants the same frames, innermost first, in all threads.
func compareFrames(t *testing.T, what string, want, got stacks, most int) {
	t.Helper()
	if len(want) != len(got) {
		t.Errorf("%s: %d threads, the kernel's core has %d", what, len(got), len(want))
	}
	for tid, w := range want {
		g := got[tid]
		w, g = w[:min(len(w), most)], g[:min(len(g), most)]
		same := slices.EqualFunc(w, g, func(a, b frame) bool { return a.pc == b.pc && a.name == b.name })
		if !same {
			t.Errorf("%s: thread %d:\n%s\nthe kernel's core has\n%s", what, tid, cut(chain(g)), cut(chain(w)))
		}
	}
}
