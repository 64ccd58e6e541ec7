package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"procdump/victims"
	"procdump/victims/need"
)

// stackVictim is a victim whose backtraces are compared.
type stackVictim struct {
	name    string
	victim  string
	args    []string
	threads int      // how many it has; 0: not fixed
	chains  []string // that must be among the live stacks, "<callee<caller<"

	// What the judges may differ in from gdb on the live process.
	lldb, eu, breakpad rule
	// triage is for gdb and lldb on -mt dumps, where the words that they guess
	// from are overwritten.
	triage rule
	// live, if set, replaces gdb as the truth for judges other than gdb: the
	// same judge on the live process. For code that unwinders guess at.
	live func(t testing.TB, v *victims.Victim) (lldb, eu stacks)
	// settles: its runtime has work of its own, such as compiling, to end first.
	settles bool
}

func (s stackVictim) spec(t testing.TB) victims.Spec {
	return victims.Spec{Name: s.victim, Args: s.args}
}

// sameJudge takes lldb's and eu-stack's own view of the live process.
func sameJudge(t testing.TB, v *victims.Victim) (stacks, stacks) {
	return lldbLive(t, v.PID), euStackLive(t, v.PID)
}

func stackVictims() []stackVictim {
	tenChains := []string{threadChain(0), threadChain(5), threadChain(9)}
	// Breakpad stops at 1,024 frames.
	return []stackVictim{
		{name: "threads", victim: "threads", args: []string{"10"}, threads: 11, chains: tenChains},
		{name: "spin", victim: "threads", args: []string{"10", "spin"}, threads: 11, chains: []string{"<wait_spin" + threadChain(0)}},
		{name: "static", victim: "threads@static", args: []string{"10"}, threads: 11, chains: tenChains},
		{name: "static-pie", victim: "threads@static-pie", args: []string{"10"}, threads: 11, chains: tenChains},
		{name: "nopie", victim: "threads@nopie", args: []string{"10"}, threads: 11, chains: tenChains},
		{name: "i386", victim: "threads@i386", args: []string{"10"}, threads: 11, chains: tenChains,
			// Breakpad cannot express the frame of i386's main, which aligns its stack.
			breakpad: rule{sureOnly: true, atLeast: 4}},
		{name: "1000-threads", victim: "threads", args: []string{"1000"}, threads: 1001, chains: []string{threadChain(999)}},
		{name: "deep", victim: "deep", args: []string{"10000"}, threads: 1, chains: []string{"<bottom<down_even<down_odd<down_even<"},
			breakpad: rule{maxFrames: 1000}},
		{name: "altstack", victim: "altstack", threads: 1, chains: []string{"<block_in_handler<handler<__restore_rt<", "<provoke<outer<main<"},
			// Breakpad cannot express the unwinding through a signal frame.
			breakpad: rule{maxFrames: 5}},
		{name: "mappings", victim: "mappings", args: []string{"20000"}, threads: 1},
		{name: "cpp", victim: "cpp", threads: 5,
			chains: []string{"<victim::Tower<1>::climb<victim::Tower<2>::climb<", "<victim::Guard::~Guard<victim::thrower<victim::catcher<"}},
		{name: "go", victim: "goroutines", live: sameJudge, eu: rule{knownOnly: true}, breakpad: rule{sureOnly: true, maxFrames: 8}, triage: rule{maxFrames: 7, knownOnly: true}},
		{name: "python", victim: "python", threads: 4, live: sameJudge, breakpad: rule{sureOnly: true}, triage: rule{maxFrames: 3, knownOnly: true}},
		{name: "java", victim: "java", settles: true, live: sameJudge, breakpad: rule{sureOnly: true}, triage: rule{maxFrames: 3, knownOnly: true}},
		{name: "node", victim: "node", settles: true, live: sameJudge, breakpad: rule{sureOnly: true}, triage: rule{maxFrames: 3, knownOnly: true}},
	}
}

// TestBacktraces compares every judge's backtrace of every thread, for every
// victim, kind and format, with the live process.
func TestBacktraces(t *testing.T) {
	needJudges(t)
	for _, s := range stackVictims() {
		t.Run(s.name, func(t *testing.T) {
			v := victims.StartSpec(t, s.spec(t))
			compareAll(t, s, v, v.Exe)
		})
	}
}

// truth is what the judges must say of the dumps of one frozen victim.
type truth struct{ gdb, lldb, eu stacks }

// compareAll dumps a victim in every kind and format and compares. exe is the
// program's file, given to the judges.
func compareAll(t *testing.T, s stackVictim, v *victims.Victim, exe string) {
	t.Helper()
	if s.settles {
		settle(t, v)
	}
	freeze(t, v)
	live := gdbLive(t, v.PID, exe)
	wantChains(t, s, live)
	want := truth{live, live, live}
	if s.live != nil {
		want.lldb, want.eu = s.live(t, v)
	}
	freeze(t, v)
	libraries := imagesWith(t, v.PID, exe)
	for _, d := range specs() {
		t.Run(d.String(), func(t *testing.T) {
			file := dump(t, v.PID, d)
			// A thread let go of is in state R on its way back into the stop.
			awaitState(t, v, 'T')
			gdbRule, lldbRule, euRule := rule{}, s.lldb, s.eu
			if d.kind == "-mt" && s.triage != (rule{}) {
				gdbRule, lldbRule, euRule = s.triage, s.triage, s.triage
			}
			if d.format == "minidump" {
				compare(t, "lldb", want.lldb, lldbDump(t, file, exe), lldbRule)
				compare(t, "stackwalk", want.gdb, stackwalk(t, file, libraries), s.breakpad)
				return
			}
			compare(t, "gdb", want.gdb, gdbCore(t, exe, file), gdbRule)
			compare(t, "lldb", want.lldb, lldbDump(t, file, exe), lldbRule)
			compare(t, "eu-stack", want.eu, euStack(t, file, exe), euRule)
		})
	}
}

// settle waits until a victim has taken no CPU time for a while: then none of
// its threads has work left to do between one stop and the next.
func settle(t testing.TB, v *victims.Victim) {
	t.Helper()
	last, quiet := "", 0
	for deadline := time.Now().Add(victims.Timeout); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", v.PID))
		if err != nil {
			t.Fatal(err)
		}
		// utime and stime, fields 14 and 15 of proc_pid_stat(5).
		fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		now := fields[11] + " " + fields[12]
		if quiet++; now != last {
			last, quiet = now, 0
		}
		if quiet == 10 {
			return
		}
	}
	t.Fatalf("victim %d has work to do all the time", v.PID)
}

// imagesWith lists a process's images, with exe in the place of a deleted one.
func imagesWith(t testing.TB, pid int, exe string) []string {
	t.Helper()
	all := images(t, pid)
	for i, p := range all {
		if strings.HasSuffix(p, " (deleted)") {
			all[i] = exe
		}
	}
	return all
}

// TestDeletedExecutable: the program's file is gone, a copy is what the user has.
func TestDeletedExecutable(t *testing.T) {
	needJudges(t)
	exe, err := victims.Build("threads")
	if err != nil {
		t.Fatal(err)
	}
	gone := filepath.Join(t.TempDir(), "threads")
	copyFile(t, exe, gone)
	v := victims.StartSpec(t, victims.Spec{Name: "threads", Args: []string{"10"}, Exe: gone})
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	freeze(t, v)
	for _, d := range []spec{{"-mm", "elf"}, {"-mp", "elf"}, {"-ma", "elf"}, {"-mm", "minidump"}, {"-ma", "minidump"}} {
		t.Run(d.String(), func(t *testing.T) {
			live := gdbLive(t, v.PID, exe)
			file := dump(t, v.PID, d)
			libraries := imagesWith(t, v.PID, exe)
			if d.format == "elf" {
				compare(t, "gdb", live, gdbCore(t, exe, file), rule{})
				compare(t, "eu-stack", live, euStack(t, file, exe), rule{})
			} else {
				compare(t, "stackwalk", live, stackwalk(t, file, libraries), rule{})
			}
			compare(t, "lldb", live, lldbDump(t, file, exe), rule{})
		})
	}
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestMiniIsSmall holds the default kind to what the help promises.
func TestMiniIsSmall(t *testing.T) {
	need.Root(t)
	v := victims.Start(t, "threads", "10")
	for _, format := range []string{"elf", "minidump"} {
		for _, kind := range []string{"-mm", "-mt"} {
			file := dump(t, v.PID, spec{kind, format})
			st, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			if st.Size() > 1<<20 {
				t.Errorf("%s %s of 10 threads is %d bytes, want at most 1 MiB", kind, format, st.Size())
			}
		}
	}
}
