package e2e

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"procdump/capture"
	"procdump/corepattern"
	"procdump/dumpkind"
	"procdump/elfcore"
	"procdump/internal/signals"
	"procdump/snapshot"
	"procdump/victims"
	"procdump/victims/need"
)

// crashHandler is the test's handler, installed in the kernel.
type crashHandler struct {
	corepattern.System
	folder  string // of the dumps
	restore func() // uninstalls it, once
}

// installHandler installs a handler until the test's end. Crashes of all other
// programs go to it meanwhile.
func installHandler(t *testing.T, set corepattern.Settings) *crashHandler {
	t.Helper()
	need.Root(t)
	dir, err := os.MkdirTemp("/var/lib", "procdump-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(dir, "h")
	goProgram(t, exe, "handler", "-X main.state="+dir)
	release := guardKernel(t)
	h := &crashHandler{System: corepattern.System{State: dir, Sysctl: dir, Executable: exe}, folder: filepath.Join(dir, "dumps")}
	set.Folder = h.folder
	before := kernelSettings(t)
	// No test program of another package may hold a handler for long.
	if set.TimeLimit == 0 {
		set.TimeLimit = time.Minute
	}
	if _, err := h.Install(set, false); err != nil {
		t.Fatal(err)
	}
	h.restore = sync.OnceFunc(func() {
		if r, err := h.Uninstall(false); err != nil || !r.Restored {
			t.Errorf("uninstall: %+v, %v", r, err)
		}
		if after := kernelSettings(t); after != before {
			t.Errorf("kernel settings are %q, were %q", after, before)
		}
		release()
	})
	t.Cleanup(h.restore)
	return h
}

// goProgram builds a program of testdata as exe and returns that.
func goProgram(t testing.TB, exe, name, ldflags string) string {
	t.Helper()
	root, err := victims.ModuleDir()
	if err != nil {
		t.Fatal(err)
	}
	build := exec.Command(need.Tool(t, "go"), "build", "-o", exe, "-ldflags", ldflags, "./e2e/testdata/"+name)
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, msg)
	}
	if err := os.Chmod(exe, 0o755); err != nil {
		t.Fatal(err)
	}
	return exe
}

// mark makes the handler do something else besides.
func (h *crashHandler) mark(t *testing.T, what string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(h.State, what), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// dumps lists the dumps of programs called name.
func (h *crashHandler) dumps(t testing.TB, name string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(h.folder, name+"_*"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// log is the handler's log file.
func (h *crashHandler) log() string {
	b, _ := os.ReadFile(filepath.Join(h.folder, "procdump.log"))
	return string(b)
}

// one returns the only dump of programs called name; that its process's parent
// has seen it end means that it is there.
func (h *crashHandler) one(t testing.TB, name string) string {
	t.Helper()
	all := h.dumps(t, name)
	if len(all) != 1 {
		t.Fatalf("dumps of %s: %q, want one\n%s", name, all, h.log())
	}
	return all[0]
}

// crasher builds the crashing program under a name of its own.
func crasher(t testing.TB, name string, flags ...string) string {
	t.Helper()
	root, err := victims.ModuleDir()
	if err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(t.TempDir(), name)
	args := append([]string{"-std=gnu11", "-Wall", "-Wextra", "-Werror", "-g", "-O1", "-fno-inline", "-fno-optimize-sibling-calls",
		"-pthread", "-o", exe, filepath.Join(root, "e2e/testdata/crash.c")}, flags...)
	command(t, need.Tool(t, "gcc"), args...)
	return exe
}

// run runs a program to its end and returns how it ended.
func runToEnd(t testing.TB, env []string, name string, args ...string) syscall.WaitStatus {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Dir = t.TempDir()
	timer := time.AfterFunc(limit, func() { cmd.Process.Kill() })
	defer timer.Stop()
	cmd.Run()
	return cmd.ProcessState.Sys().(syscall.WaitStatus)
}

// readCore opens a dump.
func readCore(t testing.TB, path string) *snapshot.Process {
	t.Helper()
	p := readAnyCore(t, path)
	if p.Exception == nil {
		t.Fatalf("%s: no exception", path)
	}
	return p
}

// readAnyCore reads a dump of a process that need not have crashed.
func readAnyCore(t testing.TB, path string) *snapshot.Process {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	r, err := elfcore.NewReader(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	p, warnings := r.Process()
	for _, w := range warnings {
		t.Errorf("%s: %v", path, w)
	}
	if len(p.Threads) == 0 {
		t.Fatalf("%s: no threads", path)
	}
	return p
}

// TestHandlerIgnoresCoredumpFilter wants a full dump of a process whose core the
// kernel would leave nearly empty, and which it would let go before anybody
// reads it if it did not wait.
func TestHandlerIgnoresCoredumpFilter(t *testing.T) {
	exe := crasher(t, "cr-filter")
	h := installHandler(t, corepattern.Settings{Kinds: []dumpkind.Kind{dumpkind.Full}})
	runToEnd(t, nil, exe, "filter")
	b, err := os.ReadFile(h.one(t, "cr-filter"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, []byte("left out by the filter")) {
		t.Error("the dump lacks memory that the coredump_filter leaves out")
	}
	p := readCore(t, h.one(t, "cr-filter"))
	if p.Linker == nil && len(p.Modules) < 2 {
		t.Errorf("modules %v", p.Modules)
	}
}

// TestHandlerFormats reads what the other format and compression give.
func TestHandlerFormats(t *testing.T) {
	exe := crasher(t, "cr-format")
	h := installHandler(t, corepattern.Settings{Format: capture.FormatMinidump, Comment: "a comment"})
	runToEnd(t, nil, exe, "thread")
	if stack := command(t, breakpadTool(t, "minidump_stackwalk"), "-m", h.one(t, "cr-format")); !strings.Contains(stack, "Crash|SIGSEGV /SEGV_MAPERR|0x10|0") {
		t.Errorf("minidump_stackwalk says\n%s", cut(stack))
	}
	if _, err := h.Install(corepattern.Settings{Folder: h.folder, Name: "z-PROCESSNAME", Compress: true}, false); err != nil {
		t.Fatal(err)
	}
	runToEnd(t, nil, exe, "thread")
	plain := filepath.Join(t.TempDir(), "core")
	command(t, need.Tool(t, "zstd"), "-q", "-d", "-o", plain, filepath.Join(h.folder, "z-cr-format.core.zst"))
	readCore(t, plain)
}

// TestHandlerOwner wants the dump to be the crashed user's and nobody else's.
func TestHandlerOwner(t *testing.T) {
	exe := crasher(t, "cr-owner")
	h := installHandler(t, corepattern.Settings{})
	for dir := exe; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		os.Chmod(dir, 0o755)
	}
	cmd := exec.Command(exe)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4242, Gid: 4243}}
	cmd.Run()
	st, err := os.Stat(h.one(t, "cr-owner"))
	if err != nil {
		t.Fatal(err)
	}
	sys := st.Sys().(*syscall.Stat_t)
	if sys.Uid != 4242 || sys.Gid != 4243 || st.Mode() != 0o600 {
		t.Errorf("owner %d:%d, mode %v", sys.Uid, sys.Gid, st.Mode())
	}
	if p := readCore(t, h.one(t, "cr-owner")); p.UID != 4242 {
		t.Errorf("the dump says user %d", p.UID)
	}
}

// TestHandlerNamespace wants the PID and the thread IDs of the host for a
// process that has a PID namespace of its own.
func TestHandlerNamespace(t *testing.T) {
	unshare := need.Tool(t, "unshare")
	exe := crasher(t, "cr-space")
	h := installHandler(t, corepattern.Settings{})
	runToEnd(t, nil, unshare, "--pid", "--fork", "--mount-proc", "sh", "-c", exe+" thread; true")
	dump := h.one(t, "cr-space")
	p := readCore(t, dump)
	if n := p.Info.NSPID; len(n) != 2 || n[0] != p.PID || n[1] >= 10 {
		t.Errorf("PIDs %v of process %d", n, p.PID)
	}
	if !strings.Contains(dump, fmt.Sprintf("cr-space_%d_SIGSEGV.SEGV_MAPERR_", p.PID)) {
		t.Errorf("%s is the dump of process %d", dump, p.PID)
	}
	if p.Threads[0].Name != "crasher" || len(p.Threads) != 3 {
		t.Errorf("%d threads, %q first", len(p.Threads), p.Threads[0].Name)
	}
	for _, th := range p.Threads {
		if th.TID < p.PID || th.Name == "" {
			t.Errorf("thread %d %q of process %d", th.TID, th.Name, p.PID)
		}
	}
}

// TestHandlerUnderLoad crashes 50 processes at once: there are 50 dumps.
func TestHandlerUnderLoad(t *testing.T) {
	exe := crasher(t, "cr-load")
	h := installHandler(t, corepattern.Settings{Name: "PROCESSNAME_EXCEPTIONCODE_YYMMDD_HHMMSS"})
	const n = 50
	begin := time.Now()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if status := runToEnd(t, nil, exe, "thread"); status.Signal() != syscall.SIGSEGV || !status.CoreDump() {
				t.Errorf("ended with %#x", status)
			}
		})
	}
	wg.Wait()
	t.Logf("%d crashes dumped in %v", n, time.Since(begin))
	dumps := h.dumps(t, "cr-load")
	if len(dumps) != n {
		t.Fatalf("%d dumps, want %d\n%s", len(dumps), n, h.log())
	}
	pids := map[int]bool{}
	for _, d := range dumps {
		p := readCore(t, d)
		if p.Exception.Signal != signals.SEGV || p.Exception.Addr != 16 || len(p.Threads) != 3 {
			t.Errorf("%s: %+v, %d threads", d, p.Exception, len(p.Threads))
		}
		pids[p.PID] = true
	}
	if len(pids) != n {
		t.Errorf("dumps of %d processes, want %d", len(pids), n)
	}
}

// TestHandlerCrowd wants the 100 that crash among 1,000 processes that live
// 5 ms, and the others to end as they would.
func TestHandlerCrowd(t *testing.T) {
	exe := crasher(t, "cr-crowd")
	h := installHandler(t, corepattern.Settings{})
	begin := time.Now()
	out := command(t, exe, "crowd", "1000")
	t.Logf("%v", time.Since(begin))
	if strings.TrimSpace(out) != "100 crashed, 900 exited" {
		t.Errorf("parent saw %q", out)
	}
	dumps := h.dumps(t, "cr-crowd")
	if len(dumps) != 100 {
		t.Fatalf("%d dumps, want 100\n%s", len(dumps), h.log())
	}
	for _, d := range dumps {
		if p := readCore(t, d); p.Exception.Signal != signals.SEGV || p.Exception.Addr != 16 {
			t.Errorf("%s: %+v", d, p.Exception)
		}
	}
}

// TestHandlerCrash wants a crash of the handler to start no handler and to let
// the process end.
func TestHandlerCrash(t *testing.T) {
	exe := crasher(t, "cr-handler")
	h := installHandler(t, corepattern.Settings{})
	h.mark(t, "crash")
	if status := runToEnd(t, nil, exe); status.Signal() != syscall.SIGSEGV {
		t.Errorf("ended with %#x", status)
	}
	// Whatever starts for the handler's crash starts before the process ends, or
	// soon after.
	time.Sleep(200 * time.Millisecond)
	runs, err := os.ReadFile(filepath.Join(h.State, "runs"))
	if lines := strings.Fields(string(runs)); err != nil || !slices.Contains(lines, "cr-handler") || slices.Contains(lines, "h") {
		t.Errorf("handlers ran for %q, %v", lines, err)
	}
	if all := h.dumps(t, "*"); len(all) != 0 {
		t.Errorf("dumps %q", all)
	}
}

// TestHandlerSeesNoOrdinaryEnd wants no dump of processes that exit or that a
// signal without a core ends.
func TestHandlerSeesNoOrdinaryEnd(t *testing.T) {
	exe := crasher(t, "cr-end")
	h := installHandler(t, corepattern.Settings{})
	runToEnd(t, nil, exe, "kill")
	runToEnd(t, nil, "/bin/sh", "-c", "cp /bin/false ./cr-end; ./cr-end")
	if all := h.dumps(t, "cr-end"); len(all) != 0 {
		t.Errorf("dumps %q", all)
	}
	runToEnd(t, nil, exe, "fork")
	if p := readCore(t, h.one(t, "cr-end")); p.Exception.Addr != 32 {
		t.Errorf("exception %+v", p.Exception)
	}
}

// TestHandlerMiniOfLargeProcess wants a mini to cost little, however large the
// process is, and the kernel's stream not to be read for it.
func TestHandlerMiniOfLargeProcess(t *testing.T) {
	h := installHandler(t, corepattern.Settings{Name: "PROCESSNAME"})
	megabytes := 1024
	if need.Long() {
		megabytes = 8192
	}
	begin := time.Now()
	runToEnd(t, nil, need.Tool(t, "python3"), "-c", "import ctypes; x = bytearray(b'x') * ("+strconv.Itoa(megabytes)+"<<20); ctypes.string_at(42)")
	exe, err := filepath.EvalSymlinks(need.Tool(t, "python3"))
	if err != nil {
		t.Fatal(err)
	}
	dump := filepath.Join(h.folder, "python3.core")
	st, err := os.Stat(dump)
	if err != nil {
		t.Fatalf("%v\n%s", err, h.log())
	}
	t.Logf("%d MiB process: %d bytes dump, %v with making the process\n%s", megabytes, st.Size(), time.Since(begin), h.log())
	if st.Size() > 64<<20 {
		t.Errorf("the dump has %d bytes", st.Size())
	}
	f, err := elf.Open(dump)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if s := gdbCore(t, exe, dump); len(s) == 0 {
		t.Error("gdb sees no thread")
	}
}
