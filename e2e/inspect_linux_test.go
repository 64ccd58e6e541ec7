package e2e

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"procdump/victims"
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
		}
		Frames   []inspectedFrame
		Complete bool
		End      string
	}
	Modules  []struct{ Path, BuildID string }
	Warnings []string
}

type inspectedFrame struct {
	PC, Function, Module, File, How string
	Line                            int
	Inlined, Signal, Guess          bool
}

// inspectReport runs procdump inspect on a dump or a PID.
func inspectReport(t testing.TB, target string) *inspected {
	t.Helper()
	r := procdump(t, "inspect", "-json", target)
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
			if f.Inlined {
				continue
			}
			pc, err := strconv.ParseUint(f.PC, 0, 64)
			if err != nil {
				t.Fatal(err)
			}
			name := normal(f.Function)
			if f.Signal {
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

// TestInspectStacks compares the stacks of procdump inspect, on dumps and on the
// process itself, with gdb's on the live process.
func TestInspectStacks(t *testing.T) {
	needJudges(t)
	for _, s := range stackVictims() {
		if s.live != nil {
			continue // gdb guesses, too
		}
		t.Run(s.name, func(t *testing.T) {
			v := victims.StartSpec(t, s.spec(t))
			freeze(t, v)
			live := gdbLive(t, v.PID, v.Exe)
			wantChains(t, s, live)
			compare(t, "inspect of the process", live, inspectReport(t, strconv.Itoa(v.PID)).stacks(t), rule{})
			awaitState(t, v, 'T')
			for _, d := range []spec{{"-mm", "elf"}, {"-mm", "minidump"}, {"-mp", "elf"}, {"-ma", "minidump"}} {
				compare(t, "inspect of "+d.String(), live, inspectReport(t, dump(t, v.PID, d)).stacks(t), rule{})
				awaitState(t, v, 'T')
			}
		})
	}
}

// switches are functions of Go's runtime below which another stack goes on, or
// none: gdb guesses there.
var switches = map[string]bool{"runtime.mcall": true, "runtime.systemstack": true, "runtime.asmcgocall": true, "runtime.goexit": true,
	"runtime.mstart": true, "runtime.rt0_go": true, "runtime.morestack": true}

// knownPart is a stack up to where gdb begins to guess.
func knownPart(frames []frame) []frame {
	for i, f := range frames {
		if f.name == unknown {
			return frames[:i]
		}
		if switches[strings.TrimSuffix(f.name, ".abi0")] {
			return frames[:i+1]
		}
	}
	return frames
}

// TestInspectRuntimes compares the stacks of programs with a runtime of their
// own, up to where gdb guesses: below code that was generated, and where Go
// changes stacks.
func TestInspectRuntimes(t *testing.T) {
	needJudges(t)
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
			want, all := stacks{}, 0
			for tid, frames := range gdbLive(t, v.PID, v.Exe) {
				want[tid] = knownPart(frames)
				all += len(want[tid])
			}
			for _, target := range []string{strconv.Itoa(v.PID), dump(t, v.PID, spec{"-mm", "elf"}), dump(t, v.PID, spec{"-ma", "minidump"})} {
				got := inspectReport(t, target).stacks(t)
				awaitState(t, v, 'T')
				sure, compared := stacks{}, stacks{}
				n := 0
				for tid, frames := range want {
					g := got[tid][:min(len(got[tid]), len(frames))]
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
				t.Logf("%s: %d of gdb's %d frames are sure", target, n, all)
				if n*100 < all*95 {
					t.Errorf("%s: only %d of gdb's %d frames are sure", target, n, all)
				}
			}
		})
	}
}
