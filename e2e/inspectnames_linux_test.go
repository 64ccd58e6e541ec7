package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"procdump/victims"
	"procdump/victims/need"
)

// explained builds the program that ends as it is told.
func explained(t testing.TB) string {
	t.Helper()
	need.Tool(t, "g++")
	out := filepath.Join(t.TempDir(), "explain")
	command(t, "g++", "-std=c++17", "-Wall", "-Werror", "-g", "-O2", "-fomit-frame-pointer", "-pthread", "-o", out, "testdata/explain.cc")
	return out
}

// TestInspectReasons has a program crash in many ways and reads what inspect
// says of its dumps.
func TestInspectReasons(t *testing.T) {
	need.Root(t)
	exe := explained(t)
	for _, c := range []struct{ way, want string }{
		{"null", `^Segmentation fault \(SIGSEGV\): write of 4 bytes to 0x0: a null pointer, in victim::store at explain\.cc:\d+$`},
		{"call", `^Segmentation fault \(SIGSEGV\): call or jump to 0x0: a null pointer, in victim::Ways<long>::go at explain\.cc:\d+$`},
		{"assert", `^Aborted \(SIGABRT\): .*Assertion .zero == 1 && "the world is as it should be".*, in victim::Ways<long>::go at explain\.cc:\d+$`},
		{"throw", `^Aborted \(SIGABRT\): an exception of C\+\+ that nobody caught, std::runtime_error: nobody catches this, in victim::thrower at explain\.cc:\d+$`},
		{"overflow", `^Segmentation fault \(SIGSEGV\): stack overflow: write of (1 byte|[48] bytes) to 0x[0-9a-f]+, below the thread's stack of \d+ KiB with more than 16384 frames, victim::endless calls itself, in victim::endless at explain\.cc:\d+$`},
		{"divide", `^Arithmetic error \(SIGFPE\): integer division by zero, in victim::Ways<long>::go at explain\.cc:\d+$`},
		{"readonly", `^Segmentation fault \(SIGSEGV\): write of 4 bytes to 0x[0-9a-f]+, memory that is read-only \(explain\), in victim::Ways<long>::go at explain\.cc:\d+$`},
		{"offset", `^Segmentation fault \(SIGSEGV\): read of 8 bytes from 0x8: a null pointer plus 8, in victim::chase at explain\.cc:\d+$`},
		{"freed", `^Segmentation fault \(SIGSEGV\): read of 1 byte from 0x[0-9a-f]+, where nothing is mapped any more, it seems: it is a hole of \d+ KiB among mappings, in victim::Ways<long>::go at explain\.cc:\d+$`},
		{"wild", `^Segmentation fault \(SIGSEGV\): read of 4 bytes from 0x4141414141414140, an address that no memory can have \(not canonical\), in victim::Ways<long>::go at explain\.cc:\d+$`},
		{"number", `^Aborted \(SIGABRT\): an exception of C\+\+ that nobody caught, int: 42, in victim::Ways<long>::go at explain\.cc:\d+$`},
		{"text", `^Aborted \(SIGABRT\): an exception of C\+\+ that nobody caught, char const\*: out of cheese, in victim::Ways<long>::go at explain\.cc:\d+$`},
		{"derived", `^Aborted \(SIGABRT\): an exception of C\+\+ that nobody caught, victim::Failure: it is derived, in victim::Ways<long>::go at explain\.cc:\d+$`},
		{"free", `^Aborted \(SIGABRT\): free\(\): double free detected in tcache 2, in victim::Ways<long>::go at explain\.cc:\d+$`},
	} {
		t.Run(c.way, func(t *testing.T) {
			for _, d := range []spec{{"-ma", "elf"}, {"-ma", "minidump"}} {
				r := procdump(t, append(d.args(), "-e", "-json", "-x", t.TempDir(), exe, c.way)...)
				if len(r.completed()) != 1 {
					t.Fatalf("no dump: %v", r)
				}
				got := inspectReport(t, r.completed()[0])
				if !regexp.MustCompile(c.want).MatchString(got.Reason) {
					t.Errorf("%v: %q, want %q", d, got.Reason, c.want)
				}
				if g := got.Groups[0]; !g.Threads[0].Blamed || c.way != "overflow" && !g.Complete {
					t.Errorf("%v: the first group is %+v", d, g)
				}
				if n := len(got.Groups[0].Threads); n != 1 || got.ThreadCount != 6 {
					t.Errorf("%v: the crash is that of %d threads of %d, want 1 of 6", d, n, got.ThreadCount)
				}
			}
		})
	}
}

// TestInspectGoPanic finds where a Go program panicked behind two of its signal
// handlers, the second of which its runtime made the kernel call.
func TestInspectGoPanic(t *testing.T) {
	need.Root(t)
	t.Setenv("GOTRACEBACK", "crash")
	for _, flags := range []string{"", "-s -w"} {
		exe := goProgram(t, filepath.Join(t.TempDir(), "gopanic"), "gopanic", flags)
		r := procdump(t, "-ma", "-e", "-json", "-x", t.TempDir(), exe)
		if len(r.completed()) != 1 {
			t.Fatalf("no dump: %v", r)
		}
		got := inspectReport(t, r.completed()[0])
		if !regexp.MustCompile(`^Aborted \(SIGABRT\): panic: runtime error: invalid memory address or nil pointer dereference, in main\.inner at [a-z]+\.go:7$`).MatchString(got.Reason) {
			t.Errorf("flags %q: %q", flags, got.Reason)
		}
		var names []string
		for _, f := range got.Groups[0].Frames {
			names = append(names, f.Function)
		}
		if calls := strings.Join(names, " "); !strings.Contains(calls, "runtime.sigpanic main.inner main.outer main.outer main.outer main.outer main.outer main.outer main.main") ||
			!got.Groups[0].Complete {
			t.Errorf("flags %q: %s", flags, calls)
		}
	}
}

// inlineScript prints each frame's function and line, those of inlined ones too.
const inlineScript = `python
frame = gdb.newest_frame()
while frame is not None:
    if frame.type() != gdb.TAILCALL_FRAME:
        sal = frame.find_sal()
        print("L|%s|%d" % (frame.name() or "", sal.line if sal.symtab else 0))
    frame = frame.older()
end`

// waiting starts a program that says "ready" and waits, and freezes it.
func waiting(t testing.TB, exe string) int {
	t.Helper()
	cmd := exec.Command(exe, "wait")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("%s said %q, %v", exe, line, err)
	}
	return cmd.Process.Pid
}

// lines are the innermost thread's functions and lines as inspect has them, down
// to main.
func (r *inspected) lines() []string {
	var all []string
	for _, f := range r.Groups[0].Frames {
		if f.Function == "main" {
			break
		}
		all = append(all, fmt.Sprintf("%s:%d", normal(f.Function), f.Line))
	}
	return all
}

// inspectInlined compares functions and lines, inlined ones among them, with gdb's,
// for an optimised program with debug information and for ones that have it beside
// them, only symbols, or nothing.
func inspectInlined(t *testing.T, a *agreement) {
	for _, tool := range []string{"objcopy", "strip", "nm", "xz"} {
		need.Tool(t, tool)
	}
	exe := explained(t)
	pid := waiting(t, exe)
	var want []string
	for _, line := range strings.Split(gdb(t, []string{"-p", strconv.Itoa(pid), exe}, "source "+scriptFile(t, inlineScript)), "\n") {
		if f := strings.Split(line, "|"); f[0] == "L" && len(f) == 3 {
			if f[1] == "main" { // gdb passes over lines that begin within a statement
				break
			}
			want = append(want, normal(f[1])+":"+f[2])
		}
	}
	if !strings.Contains(strings.Join(want, " "), "victim::wait_inlined:") {
		t.Fatalf("gdb shows no inlined function: %q", want)
	}
	same := func(t *testing.T, who string, got, want []string) {
		t.Helper()
		if fmt.Sprint(aliased(got)) != fmt.Sprint(aliased(want)) {
			t.Errorf("%s:\n got %q\nwant %q", who, got, want)
		}
	}
	live := gdbLive(t, pid, exe)
	frames, lines := a.of("C++, -O2, no frame pointer", "gdb"), a.of("C++, inlined functions", "gdb")
	for who, target := range map[string]string{"process": strconv.Itoa(pid), "mini dump": dump(t, pid, spec{"-mm", "elf"}),
		"minidump": dump(t, pid, spec{"-mm", "minidump"})} {
		r := inspectReport(t, target)
		same(t, who, r.lines(), want)
		lines.looks++
		count(lines, who, aliased(want), aliased(r.lines()), sameText)
		frames.compare(t, who, live, r.stacks(t))
	}

	dir := filepath.Dir(exe)
	debug := filepath.Join(dir, "explain.debug")
	command(t, "objcopy", "--only-keep-debug", exe, debug)
	linked := filepath.Join(dir, "linked")
	command(t, "strip", "-o", linked, exe)
	command(t, "objcopy", "--add-gnu-debuglink="+debug, linked)
	same(t, "separate debug information", inspectReport(t, strconv.Itoa(waiting(t, linked))).lines(), want)

	// Without lines there are no inlined functions either.
	var names []string
	for _, f := range want {
		name, _, _ := strings.Cut(f, ":"+f[strings.LastIndexByte(f, ':')+1:])
		if name != "victim::wait_inlined" {
			names = append(names, name+":0")
		}
	}
	onlySymbols := filepath.Join(dir, "symbols")
	command(t, "strip", "--strip-debug", "-o", onlySymbols, exe)
	same(t, ".symtab", unlined(inspectReport(t, strconv.Itoa(waiting(t, onlySymbols))).lines()), names)

	mini := filepath.Join(dir, "mini")
	command(t, "strip", "--strip-debug", "-o", mini+".symbols", exe)
	command(t, "objcopy", "--only-keep-debug", mini+".symbols", mini+".data")
	command(t, "xz", "-f", mini+".data")
	command(t, "strip", "-o", mini, exe)
	command(t, "objcopy", "--add-section", ".gnu_debugdata="+mini+".data.xz", mini)
	same(t, ".gnu_debugdata", unlined(inspectReport(t, strconv.Itoa(waiting(t, mini))).lines()), names)
}

// unlined takes the lines off, which the C library has if its debug information
// is installed.
func unlined(all []string) []string {
	var out []string
	for _, f := range all {
		out = append(out, f[:strings.LastIndexByte(f, ':')]+":0")
	}
	return out
}

// aliased brings the C library's names for one function together.
func aliased(all []string) []string {
	var out []string
	for _, f := range all {
		out = append(out, strings.TrimPrefix(strings.TrimPrefix(f, "__GI_"), "__libc_"))
	}
	return out
}

// TestInspectStripped unwinds a program without symbols: call frame information
// is no symbol and stays.
func TestInspectStripped(t *testing.T) {
	need.Root(t)
	need.Tool(t, "strip")
	exe, err := victims.Build("threads")
	if err != nil {
		t.Fatal(err)
	}
	bare := filepath.Join(t.TempDir(), "threads")
	command(t, "strip", "-o", bare, exe)
	v := victims.StartSpec(t, victims.Spec{Name: "threads", Args: []string{"3"}, Exe: bare})
	freeze(t, v)
	live := gdbLive(t, v.PID, bare)
	compare(t, "inspect", live, inspectReport(t, dump(t, v.PID, spec{"-mm", "elf"})).stacks(t), rule{})
}

// scriptFile writes a script of gdb.
func scriptFile(t testing.TB, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "script.gdb")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}
