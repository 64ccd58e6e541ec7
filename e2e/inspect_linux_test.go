package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"procdump/victims"
	"procdump/victims/need"
)

// inspected is what the tests look at of a report in JSON.
type inspected struct {
	Version     int
	Reason      string
	ThreadCount int
	Process     struct {
		PID  int
		Name string
	}
	Exception *struct {
		Signal, Code, What, Message string
		Frame                       *inspectedFrame
	}
	Groups []struct {
		Threads []struct {
			TID    int
			Blamed bool
			Wait   *struct {
				Text     string
				Deadlock bool
			}
		}
		Frames   []inspectedFrame
		Complete bool
		End      string
	}
	Deadlocks []struct {
		Threads []int
		Text    string
	}
	Goroutines *inspectedGoroutines
	Modules    []struct{ Path, BuildID string }
	Memory     struct{ Allocator *inspectedHeap }
	Warnings   []string
}

type inspectedFrame struct {
	PC, Function, Module, File, How string
	Line                            int
	Language                        string
	Inlined, Signal, Guess          bool
}

// inspectReport runs procdump inspect on a dump or a PID, with more switches.
func inspectReport(t testing.TB, target string, more ...string) *inspected {
	t.Helper()
	r := procdump(t, append([]string{"inspect", "-json", target}, more...)...)
	if r.code != 0 || r.stderr != "" {
		t.Fatalf("inspect %s: %v", target, r)
	}
	out := new(inspected)
	if err := json.Unmarshal([]byte(r.stdout), out); err != nil {
		t.Fatalf("inspect %s: %v\n%.2000s", target, err, r.stdout)
	}
	if out.Version != 1 {
		t.Errorf("report of version %d", out.Version)
	}
	return out
}

// stacks are the report's, in the form that judges are compared in.
func (r *inspected) stacks(t testing.TB) stacks {
	t.Helper()
	s := stacks{}
	for _, g := range r.Groups {
		var frames []frame
		for _, f := range g.Frames {
			if f.Inlined || f.Language != "" && f.Language != "javascript" {
				continue
			}
			pc, err := strconv.ParseUint(f.PC, 0, 64)
			if err != nil {
				t.Fatal(err)
			}
			name := normal(f.Function)
			if f.Language != "" {
				name = v8Function
			}
			if f.Signal && name == unknown {
				name = "__restore_rt"
			}
			frames = append(frames, frame{pc: pc, name: name, module: f.Module, sure: !f.Guess})
		}
		for _, th := range g.Threads {
			s[th.TID] = frames
		}
	}
	return s
}

// inspectStacks compares the stacks of procdump inspect, on dumps of procdump and
// of gdb and on the process itself, with gdb's on the live process.
func inspectStacks(t *testing.T, a *agreement) {
	all := append(stackVictims(), stackVictim{name: "altstack-i386", victim: "altstack@i386", threads: 1, chains: []string{"<provoke<outer<main<"}})
	for _, s := range all {
		if s.live != nil {
			continue // gdb guesses, too: inspectRuntimes
		}
		t.Run(s.name, func(t *testing.T) {
			v := victims.StartSpec(t, s.spec(t))
			freeze(t, v)
			live := gdbLive(t, v.PID, v.Exe)
			wantChains(t, s, live)
			y := a.of(s.name, "gdb")
			check := func(who, target string) {
				t.Helper()
				y.compare(t, "inspect of "+who, live, inspectReport(t, target).stacks(t))
				awaitState(t, v, 'T')
			}
			check("the process", strconv.Itoa(v.PID))
			for format, kinds := range map[string][]string{"elf": {"-mt", "-mm"}, "minidump": {"-mm", "-ma"}} {
				// One stop for both; of many or long stacks one kind, for TestBacktraces
				// shows that all of them hold the stacks.
				if s.threads > 100 || s.name == "deep" {
					kinds = kinds[1:]
				}
				r := procdump(t, append(kinds, "-format", format, "-json", strconv.Itoa(v.PID), t.TempDir())...)
				files := r.completed()
				if len(files) != len(kinds) {
					t.Fatalf("procdump %q: dumps %q; %v", kinds, files, r)
				}
				for i, file := range files {
					check(kinds[i]+" "+format, file)
				}
			}
			if s.name == "threads" || s.name == "i386" {
				check("gcore's", gcore(t, v.PID))
			}
		})
	}
}

// TestInspectCompressed reads a compressed dump without unpacking it.
func TestInspectCompressed(t *testing.T) {
	need.Root(t)
	v := victims.Start(t, "threads", "10")
	freeze(t, v)
	for _, d := range []spec{{"-ma", "elf"}, {"-ma", "minidump"}} {
		plain := inspectReport(t, dump(t, v.PID, d)).stacks(t)
		awaitState(t, v, 'T')
		out := filepath.Join(t.TempDir(), "dump"+d.ext())
		r := procdump(t, append(d.args(), "-z", "-json", strconv.Itoa(v.PID), out)...)
		if len(r.completed()) != 1 || filepath.Ext(r.completed()[0]) != ".zst" {
			t.Fatalf("no compressed dump: %v", r)
		}
		awaitState(t, v, 'T')
		compare(t, d.String(), plain, inspectReport(t, r.completed()[0]).stacks(t), rule{})
	}
}

// TestInspectLeavesRunning: a process that is inspected runs on, and its threads
// are traced by nobody.
func TestInspectLeavesRunning(t *testing.T) {
	v := victims.Start(t, "threads", "10", "spin")
	for range 5 {
		r := inspectReport(t, strconv.Itoa(v.PID))
		if r.ThreadCount != 11 || r.Exception != nil || r.Process.PID != v.PID {
			t.Fatalf("%+v", r)
		}
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", v.PID))
	if err != nil || len(tasks) != 11 {
		t.Fatalf("%d threads, %v", len(tasks), err)
	}
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(b), "\nTracerPid:\t0\n") || strings.Contains(string(b), "\nState:\tt") {
			t.Errorf("%s: %s", task, b)
		}
	}
	if r := procdump(t, "inspect", "999999999"); r.code != 3 || !strings.Contains(r.stderr, "no such process") {
		t.Errorf("no process: %v", r)
	}
}

// switches are functions of Go's runtime below which another stack goes on, or
// none: gdb guesses there.
var switches = map[string]bool{"runtime.mcall": true, "runtime.systemstack": true, "runtime.asmcgocall": true, "runtime.goexit": true,
	"runtime.mstart": true, "runtime.rt0_go": true, "runtime.morestack": true}

// v8Function is the native function that a function of a script, which V8 has not
// compiled, is run in. Its frame is that of the script's function.
const v8Function = "Builtins_InterpreterEntryTrampoline"

// knownPart is a stack up to where gdb begins to guess, without other code that
// V8 has generated: inspect shows the functions of scripts.
func knownPart(frames []frame) (out []frame) {
	for _, f := range frames {
		if f.name == unknown {
			break
		}
		if f.name == v8Function {
			f.pc = 0 // a script's function has no address
		} else if strings.HasPrefix(f.name, "Builtins_") {
			continue
		}
		out = append(out, f)
		if switches[strings.TrimSuffix(f.name, ".abi0")] {
			break
		}
	}
	return out
}

// inspectRuntimes compares the stacks of programs with a runtime of their own, up
// to where gdb guesses: below code that was generated, and where Go changes stacks.
func inspectRuntimes(t *testing.T, a *agreement) {
	for _, s := range stackVictims() {
		if s.live == nil {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			v := victims.StartSpec(t, s.spec(t))
			if s.settles {
				settle(t, v)
			}
			freeze(t, v)
			want, all, lost := stacks{}, 0, 0
			for tid, frames := range gdbLive(t, v.PID, v.Exe) {
				want[tid] = knownPart(frames)
				all += len(want[tid])
				lost += len(frames) - len(want[tid])
			}
			y := a.of(s.name, "gdb")
			for _, target := range []string{strconv.Itoa(v.PID), dump(t, v.PID, spec{"-mm", "elf"}), dump(t, v.PID, spec{"-ma", "minidump"})} {
				got := inspectReport(t, target).stacks(t)
				awaitState(t, v, 'T')
				sure, compared := stacks{}, stacks{}
				n := 0
				y.lost += lost
				for tid, frames := range want {
					g := got[tid][:min(len(got[tid]), len(frames))]
					got[tid] = g
					for i, f := range g {
						if !f.sure {
							g = g[:i]
							break
						}
					}
					sure[tid], compared[tid] = g, frames[:len(g)]
					n += len(g)
				}
				compare(t, "inspect of "+target, compared, sure, rule{})
				y.stacksOf(target, want, got)
				t.Logf("%s: %d of gdb's %d frames are sure", target, n, all)
				if n*100 < all*95 {
					t.Errorf("%s: only %d of gdb's %d frames are sure", target, n, all)
				}
			}
		})
	}
}

// TestInspectEnded says of a process that has ended how.
func TestInspectEnded(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	var r result
	for deadline := time.Now().Add(victims.Timeout); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if r = procdump(t, "inspect", strconv.Itoa(cmd.Process.Pid)); strings.Contains(r.stderr, "zombie") {
			break
		}
	}
	if r.code != 1 || !strings.Contains(r.stderr, "is a zombie: it has ended and its memory is gone (exit status 0)") {
		t.Errorf("exit code %d, %s", r.code, r.stderr)
	}
}
