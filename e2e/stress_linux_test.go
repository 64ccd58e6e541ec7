package e2e

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"procdump/internal/sys/ptrace"
	"procdump/victims"
	"procdump/victims/need"
)

// TestThreadChurn dumps a process whose threads come and go: every dump
// succeeds and opens.
func TestThreadChurn(t *testing.T) {
	needJudges(t)
	v := victims.Start(t, "churn", "500")
	rounds := 10
	if need.Long() {
		rounds = 100
	}
	all := specs()
	for i := range rounds {
		d := all[i%len(all)]
		file := dump(t, v.PID, d)
		var seen stacks
		if d.format == "elf" {
			seen = gdbCore(t, v.Exe, file)
		} else {
			seen = stackwalk(t, file, images(t, v.PID))
		}
		if !hasChain(seen, "<main<") {
			t.Errorf("dump %d (%v): no thread is in main: %v", i, d, seen)
		}
		if !hasChain(seen, "<breed<") {
			t.Errorf("dump %d (%v): no thread is in breed", i, d)
		}
		os.Remove(file)
	}
	before := victims.Uint(t, v.Ask(t, "count"), "born")
	time.Sleep(200 * time.Millisecond)
	if after := victims.Uint(t, v.Ask(t, "count"), "born"); after <= before {
		t.Errorf("no thread was born after the dumps")
	}
	wantAlive(t, v)
}

func hasChain(s stacks, want string) bool {
	for _, frames := range s {
		if strings.Contains(chain(frames), want) {
			return true
		}
	}
	return false
}

// TestKilledAtAnyMoment kills procdump with SIGKILL at random moments of a full
// dump. The victim never stops and never computes wrongly.
func TestKilledAtAnyMoment(t *testing.T) {
	need.Root(t)
	for _, name := range []string{"heartbeat", "heartbeat@i386"} {
		for _, clones := range []string{"0", "1", "live"} {
			t.Run(name+" -r "+clones, func(t *testing.T) { killAtRandom(t, name, clones) })
		}
	}
}

// kills is how often procdump is killed, unless PROCDUMP_KILLS says it.
func kills(clones string) int {
	if n, err := strconv.Atoi(os.Getenv("PROCDUMP_KILLS")); err == nil {
		return n
	}
	switch {
	case !need.Long():
		return 20
	case clones == "0":
		return 200
	case clones == "live":
		return 25
	}
	return 75
}

// killAtRandom aims every second kill at the first stop, in which a clone or a
// userfaultfd is made.
func killAtRandom(t *testing.T, name, clones string) {
	v := victims.Start(t, name, "64")
	dir := t.TempDir()
	args := []string{"-ma", "-r", clones, "-o", strconv.Itoa(v.PID), filepath.Join(dir, "dump.core")}
	binary(t) // not to measure how long it is built
	start := time.Now()
	if r := procdump(t, args...); r.code != 0 {
		t.Fatal(r)
	}
	whole := time.Since(start)
	if clones == "live" {
		if m := readDump(t, filepath.Join(dir, "dump.core")).Info.Method; m != "pre-copy" {
			t.Fatalf("method %q", m)
		}
	}
	random := rand.New(rand.NewPCG(1, uint64(start.UnixNano())))
	last := v.Ask(t, "state")
	awaitState(t, v, 'S')
	own := stackPointer(v.PID)
	met, lived := map[phase]int{}, 0
	rounds := kills(clones)
	for i := range rounds {
		cmd := exec.Command(binary(t), args...)
		begin := time.Now()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if clones == "0" || i%2 > 0 {
			time.Sleep(time.Duration(random.Int64N(int64(whole))))
		} else {
			awaitPhase(t, v.PID, own, []phase{injected, standing}[i/2%2], cmd.Process.Pid)
			// Mostly far less than 4 ms: how long a phase lasts depends on the machine.
			ptrace.Nap(time.Duration(random.Int64N(1 + random.Int64N(int64(4*time.Millisecond)))))
		}
		now, after := phaseOf(t, v.PID, own), time.Since(begin)
		cmd.Process.Kill()
		cmd.Wait()
		if met[now]++; cmd.ProcessState.Success() {
			lived++
		}
		last = wantProgress(t, v, last)
		if clones == "live" {
			wantUntracked(t, v)
		}
		if t.Failed() {
			t.Fatalf("after kill %d, %v after procdump's start, in phase %d", i, after, now)
		}
	}
	wantNoCopy(t, v)
	wantAlone(t, v)
	wantAlive(t, v)
	t.Logf("%d kills: %d times while the victim stood, %d of them in an injection; %d times procdump was faster",
		rounds, met[standing]+met[injected], met[injected], lived)
}

// phase is what procdump does with a process whose first thread sleeps.
type phase int

const (
	free     phase = iota // nobody traces it
	standing              // it is traced
	injected              // its first thread does what it is told to
)

// phaseOf tells the phase of a process of which own is the stack pointer of the
// first thread.
func phaseOf(t testing.TB, pid int, own string) phase {
	t.Helper()
	sp := stackPointer(pid)
	switch {
	case statusField(t, pid, "TracerPid") == "0":
		return free
	case sp != "" && sp != own:
		return injected
	}
	return standing
}

// stackPointer is that of a process's first thread, or nothing while that runs.
func stackPointer(pid int) string {
	b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/syscall")
	// The last but one field (proc_pid_syscall(5)).
	if f := strings.Fields(string(b)); len(f) > 2 {
		return f[len(f)-2]
	}
	return ""
}

// awaitPhase waits until a process comes to a phase, or its first stop is over, or
// procdump ends.
func awaitPhase(t testing.TB, pid int, own string, want phase, procdump int) {
	t.Helper()
	for stopped := false; ; ptrace.Nap(20 * time.Microsecond) { // time.Sleep would take a millisecond
		switch now := phaseOf(t, pid, own); {
		case now >= want, now == free && stopped, strings.HasPrefix(statusField(t, procdump, "State"), "Z"):
			return
		case now == standing:
			stopped = true
		}
	}
}

// wantProgress checks that every thread of a heartbeat victim runs and that
// nothing went wrong since the last state.
func wantProgress(t testing.TB, v *victims.Victim, last map[string]string) map[string]string {
	t.Helper()
	now := v.Ask(t, "state")
	for deadline := time.Now().Add(victims.Timeout); ; now = v.Ask(t, "state") {
		if victims.Uint(t, now, "ticks") > victims.Uint(t, last, "ticks") && victims.Uint(t, now, "checks") > victims.Uint(t, last, "checks") {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("a thread stands still: %v, then %v", last, now)
			break
		}
		time.Sleep(time.Millisecond)
	}
	if now["errors"] != "0" {
		t.Errorf("the victim computed wrongly: %v", now)
	}
	if s := v.State(); s == 'T' || s == 't' || s == 'Z' {
		t.Errorf("the victim's state is %c", s)
	}
	return now
}

// wantAlone checks that no process was left beside the victim: it has no
// children, and nobody else runs its program.
func wantAlone(t testing.TB, v *victims.Victim) {
	t.Helper()
	pids, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range pids {
		status, err := os.ReadFile(p + "/stat")
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(status), ") ")
		f := strings.Fields(rest)
		if len(f) > 1 && f[1] == strconv.Itoa(v.PID) {
			t.Errorf("the victim has a child %s (%s)", filepath.Base(p), f[0])
		}
		if exe, _ := os.Readlink(p + "/exe"); exe == v.Exe && filepath.Base(p) != strconv.Itoa(v.PID) {
			t.Errorf("a twin of the victim is left: %s", filepath.Base(p))
		}
	}
}

// TestManySegments: more segments than an ELF header's count has room for.
func TestManySegments(t *testing.T) {
	need.Root(t)
	const sysctl = "/proc/sys/vm/max_map_count"
	old, err := os.ReadFile(sysctl)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(sysctl, []byte("262144"), 0o644); err != nil {
		need.Missing(t, "max_map_count", err.Error())
	}
	t.Cleanup(func() { os.WriteFile(sysctl, old, 0o644) })
	v := victims.Start(t, "mappings", "70000")
	addr := v.Uint(t, "addr")
	for _, d := range []spec{{"-ma", "elf"}, {"-mp", "elf"}, {"-mm", "elf"}, {"-ma", "minidump"}, {"-mp", "minidump"}, {"-mm", "minidump"}} {
		t.Run(d.String(), func(t *testing.T) {
			file := dump(t, v.PID, d)
			if d.format == "elf" {
				text := command(t, need.Tool(t, "readelf"), "-lW", file)
				if n := strings.Count(text, "\n  LOAD "); n < 70000 {
					t.Errorf("readelf sees %d loadable segments, want at least 70000", n)
				}
				if !hasChain(euStack(t, file, v.Exe), "<main<") {
					t.Error("eu-stack does not see main")
				}
			}
			if !hasChain(lldbDump(t, file, v.Exe), "<main<") {
				t.Error("lldb does not see main")
			}
			if d.kind == "-mm" {
				return
			}
			for _, i := range []uint64{0, 1, 35000, 65535, 69999} {
				b := lldbMemory(t, file, v.Exe, addr+i*4096, 4)
				if got := uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24; got != i+1 {
					t.Errorf("page %d starts with %d, want %d", i, got, i+1)
				}
			}
		})
	}
}
