package elfcore

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"procdump/arch"
	"procdump/snapshot"
)

// realCore is a core of testdata/threads.c that another program wrote.
type realCore struct {
	exe, core string
	machine   arch.Machine
	crashed   bool
}

// buildThreads compiles testdata/threads.c.
func buildThreads(t *testing.T, m arch.Machine) string {
	t.Helper()
	need(t, "gcc")
	if runtime.GOARCH != "amd64" {
		t.Skip("the machine is no amd64")
	}
	exe := filepath.Join(t.TempDir(), "threads")
	args := []string{"-g", "-O0", "-pthread", "-o", exe, "testdata/threads.c"}
	if m == arch.I386 {
		args = append(args, "-m32")
	}
	if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		missing(t, "gcc -m32", fmt.Sprintf("%v: %s", err, out))
	}
	return exe
}

// gcore makes a core of a running process.
func gcore(t *testing.T, m arch.Machine) realCore {
	t.Helper()
	need(t, "gdb", "gcore")
	exe := buildThreads(t, m)
	cmd := exec.Command(exe)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("read %q: %v", line, err)
	}
	base := filepath.Join(t.TempDir(), "core")
	run(t, "gcore", "-o", base, strconv.Itoa(cmd.Process.Pid))
	return realCore{exe, fmt.Sprintf("%s.%d", base, cmd.Process.Pid), m, false}
}

// kernelCore lets the kernel dump a crashing process.
func kernelCore(t *testing.T, m arch.Machine) realCore {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("no Linux")
	}
	exe := buildThreads(t, m)
	plainCorePattern(t)
	dir := t.TempDir()
	cmd := exec.Command("sh", "-c", "ulimit -c unlimited && exec \"$0\" crash", exe)
	cmd.Dir = dir
	err := cmd.Run()
	if err == nil {
		t.Fatal("did not crash")
	}
	names, _ := filepath.Glob(filepath.Join(dir, "core*"))
	if len(names) != 1 {
		missing(t, "kernel core", fmt.Sprintf("%v, files %q", err, names))
	}
	return realCore{exe, names[0], m, true}
}

// plainCorePattern makes the kernel write cores into the current directory
// until the test's end.
func plainCorePattern(t *testing.T) {
	t.Helper()
	const file, ours = "/proc/sys/kernel/core_pattern", "core.elfcore-test"
	old, err := os.ReadFile(file)
	if err != nil {
		missing(t, "kernel core", err.Error())
	}
	if !strings.ContainsAny(string(old), "|/") && strings.HasPrefix(string(old), "core") {
		return
	}
	if err := os.WriteFile(file, []byte(ours), 0); err != nil {
		missing(t, "kernel core", err.Error())
	}
	t.Cleanup(func() {
		// Another program may have set it meanwhile: that one's stays.
		if now, _ := os.ReadFile(file); strings.TrimSpace(string(now)) != ours {
			return
		}
		if err := os.WriteFile(file, old, 0); err != nil {
			t.Errorf("restore core_pattern to %q: %v", old, err)
		}
	})
}

// openFile opens a core file; its warnings are failures.
func openFile(t *testing.T, name string) *snapshot.Process {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	p, warnings := r.Process()
	for _, w := range warnings {
		t.Errorf("warning: %v", w)
	}
	return p
}

// gdb runs commands on a core.
func gdb(t *testing.T, exe, core string, commands ...string) string {
	t.Helper()
	args := []string{"-nx", "-batch", "-ex", "set width 0", "-ex", "set pagination off"}
	for _, c := range commands {
		args = append(args, "-ex", c)
	}
	return run(t, "gdb", append(args, exe, core)...)
}

func TestRealCores(t *testing.T) {
	for _, m := range []arch.Machine{arch.AMD64, arch.I386} {
		for name, dump := range map[string]func(*testing.T, arch.Machine) realCore{"gcore": gcore, "kernel": kernelCore} {
			t.Run(fmt.Sprintf("%v/%s", m, name), func(t *testing.T) {
				c := dump(t, m)
				need(t, "gdb")
				p := openFile(t, c.core)
				checkFacts(t, c, p)
				checkRegisters(t, c, p)
				checkBuffer(t, c, p)
				t.Run("modules", func(t *testing.T) { checkModules(t, c.core, p) })
				t.Run("rewritten", func(t *testing.T) { checkRewritten(t, c, p) })
			})
		}
	}
}

func checkFacts(t *testing.T, c realCore, p *snapshot.Process) {
	t.Helper()
	if p.Machine() != c.machine || p.Name != "threads" || p.Exe != c.exe || len(p.Threads) != 3 || p.PPID <= 0 || p.UID != uint32(os.Getuid()) {
		t.Errorf("machine %v, name %q, exe %q, %d threads, parent %d, user %d", p.Machine(), p.Name, p.Exe, len(p.Threads), p.PPID, p.UID)
	}
	for _, th := range p.Threads {
		if i := p.FindRegion(th.Registers.PC()); i < 0 || p.Regions[i].Perm&snapshot.Execute == 0 {
			t.Errorf("thread %d: program counter %#x is in no executable region", th.TID, th.Registers.PC())
		}
		noTLS := c.machine == arch.I386 && !c.crashed // gdb writes no NT_386_TLS
		if !th.Stack.Contains(th.Registers.SP()) || (th.Registers.TLS() == 0) != noTLS {
			t.Errorf("thread %d: stack %v, sp %#x, TLS %#x", th.TID, th.Stack, th.Registers.SP(), th.Registers.TLS())
		}
	}
	if !c.crashed {
		if p.Exception != nil {
			t.Errorf("exception %+v of a process that lives", p.Exception)
		}
		return
	}
	e := p.Exception
	if e == nil || e.Signal != int(syscall.SIGSEGV) || e.Code != 1 || e.Addr != 16 || e.TID != p.Threads[0].TID || e.TID == p.PID {
		t.Errorf("exception %+v", e)
	}
	if p.Threads[0].Signal != 11 || p.Threads[1].Signal != 0 {
		t.Errorf("signals %d, %d", p.Threads[0].Signal, p.Threads[1].Signal)
	}
}

// checkRegisters compares the general-purpose registers with those that gdb
// prints.
func checkRegisters(t *testing.T, c realCore, p *snapshot.Process) {
	t.Helper()
	names := c.machine.GPNames()
	format, values := "regs", ""
	for _, n := range names {
		format += " %lx"
		values += ", $" + n
	}
	if c.machine == arch.I386 {
		format = strings.ReplaceAll(format, "%lx", "%x")
	}
	out := gdb(t, c.exe, c.core, fmt.Sprintf("thread apply all printf \"%s\\n\"%s", format, values))
	seen := map[int]string{}
	tid := 0
	for line := range strings.Lines(out) {
		if m := regexp.MustCompile(`^Thread .*\(LWP (\d+)\)`).FindStringSubmatch(line); m != nil {
			tid, _ = strconv.Atoi(m[1])
		} else if rest, ok := strings.CutPrefix(line, "regs "); ok {
			seen[tid] = strings.TrimSpace(rest)
		}
	}
	for _, th := range p.Threads {
		want := strings.Fields(seen[th.TID])
		if len(want) != len(names) {
			t.Fatalf("gdb prints %q of thread %d:\n%s", want, th.TID, out)
		}
		for i, n := range names {
			got, _ := th.Registers.GP(n)
			switch n {
			case "cs", "ss", "ds", "es", "fs", "gs", "eflags":
				got &= 0xffffffff // gdb shows 32 bits
			}
			if g := strconv.FormatUint(got, 16); g != want[i] {
				t.Errorf("thread %d: %s is %s, gdb says %s", th.TID, n, g, want[i])
			}
		}
	}
}

// checkBuffer compares memory with what the program put there and with what
// gdb reads of it.
func checkBuffer(t *testing.T, c realCore, p *snapshot.Process) {
	t.Helper()
	out := gdb(t, c.exe, c.core, "printf \"at %lx\\n\", (long)&buffer")
	m := regexp.MustCompile(`(?m)^at ([0-9a-f]+)$`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no address in %s", out)
	}
	addr, _ := strconv.ParseUint(m[1], 16, 64)
	got := make([]byte, 65536)
	if _, err := p.Memory.ReadMemory(got, addr); err != nil {
		t.Fatal(err)
	}
	for i, b := range got {
		if want := byte(uint(i)*7 + uint(i)>>8); b != want {
			t.Fatalf("buffer[%d] is %d, want %d", i, b, want)
		}
	}
	for _, th := range p.Threads {
		name := filepath.Join(t.TempDir(), "stack")
		end := min(th.Stack.End(), th.Stack.Addr+64<<10)
		gdb(t, c.exe, c.core, fmt.Sprintf("dump binary memory %s %#x %#x", name, th.Stack.Addr, end))
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if _, err := p.Memory.ReadMemory(got, th.Stack.Addr); err != nil || !bytes.Equal(got, want) {
			t.Errorf("thread %d: stack differs from what gdb reads (%v)", th.TID, err)
		}
	}
	var me *snapshot.MemoryError
	if _, err := p.Memory.ReadMemory(got, 16); !errors.As(err, &me) || me.Addr != 16 || !errors.Is(err, snapshot.ErrNotMapped) {
		t.Errorf("read of address 16: %v", err)
	}
}

// checkModules compares the modules with those that elfutils finds.
func checkModules(t *testing.T, core string, p *snapshot.Process) {
	need(t, "eu-unstrip")
	out := run(t, "eu-unstrip", "-n", "--core="+core)
	n := 0
	for _, m := range regexp.MustCompile(`(?m)^0x([0-9a-f]+)\+0x[0-9a-f]+ ([0-9a-f]{40})@\S+ (\S+) \S+ (\S+)$`).FindAllStringSubmatch(out, -1) {
		base, _ := strconv.ParseUint(m[1], 16, 64)
		found := false
		for _, mod := range p.Modules {
			if mod.Addr != base {
				continue
			}
			found = true
			if id := hex.EncodeToString(mod.BuildID); id != m[2] {
				t.Errorf("%s: build id %s, elfutils says %s", mod.Path, id, m[2])
			}
			// The kernel holds the first page of an image: libc's strings lie later.
			held := strings.HasPrefix(m[4], "ld-") || mod.SOName != ""
			if held && mod.SOName != m[4] && mod.Path != "linux-gate.so" {
				t.Errorf("%s: soname %q, elfutils says %s", mod.Path, mod.SOName, m[4])
			}
			if mod.Dynamic == 0 || mod.Bias != base {
				t.Errorf("%s at %#x: dynamic section %#x, bias %#x", mod.Path, base, mod.Dynamic, mod.Bias)
			}
		}
		if !found {
			t.Errorf("no module at %#x: elfutils says %s", base, m[0])
		}
		n++
	}
	if n < 3 || len(p.Modules) != n {
		t.Errorf("%d modules, elfutils finds %d:\n%s\n%+v", len(p.Modules), n, out, p.Modules)
	}
}

// checkRewritten writes a core that was read and compares what debuggers say
// of both.
func checkRewritten(t *testing.T, c realCore, p *snapshot.Process) {
	name := filepath.Join(t.TempDir(), "core")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := Write(f, p, heldRanges(t, p)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	sameAgain(t, openFile(t, name), p)

	commands := []string{"thread apply all bt", "thread apply all info all-registers", "info auxv", "info proc", "x/64xb &buffer", "info sharedlibrary", "p $_siginfo"}
	strip := func(s string) string {
		// gdb says which mappings lie beyond the ELF file; it knows that from
		// the core's segments, of which the two have different ones.
		var b strings.Builder
		for line := range strings.Lines(strings.ReplaceAll(s, name, c.core)) {
			if !strings.HasPrefix(line, "warning:") && strings.TrimSpace(line) != "" {
				b.WriteString(line)
			}
		}
		return b.String()
	}
	want, got := strip(gdb(t, c.exe, c.core, commands...)), strip(gdb(t, c.exe, name, commands...))
	if !strings.Contains(want, "innermost") || !strings.Contains(want, "worker") {
		t.Fatalf("gdb does not see the stacks:\n%s", want)
	}
	if got != want {
		t.Errorf("gdb on ours:\n%s\ngdb on the original:\n%s", firstDiff(got, want), firstDiff(want, got))
	}
	if _, err := exec.LookPath("eu-stack"); err == nil {
		out := run(t, "eu-stack", "--core="+name)
		if strings.Count(out, "innermost") != 2 || strings.Count(out, "TID ") != 3 {
			t.Errorf("eu-stack:\n%s", out)
		}
	}
}

// firstDiff returns a few lines of a round the first one that differs from b.
func firstDiff(a, b string) string {
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range as {
		if i >= len(bs) || as[i] != bs[i] {
			return strings.Join(as[i:min(len(as), i+5)], "\n")
		}
	}
	return ""
}
