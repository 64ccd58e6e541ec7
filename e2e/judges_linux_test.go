package e2e

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"procdump/victims"
)

// gcore writes a core with gdb's own writer.
func gcore(t testing.TB, pid int) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "core")
	gdb(t, []string{"-p", strconv.Itoa(pid)}, "generate-core-file "+out)
	return out
}

// TestJudgesAgree runs the judges of ELF cores on gdb's own core: where they
// differ there, a difference on a dump of procdump would say nothing of it.
func TestJudgesAgree(t *testing.T) {
	needJudges(t)
	for _, s := range stackVictims() {
		if s.live != nil {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			v := victims.StartSpec(t, s.spec(t))
			freeze(t, v)
			live := gdbLive(t, v.PID, v.Exe)
			wantChains(t, s, live)
			core := gcore(t, v.PID)
			compare(t, "gdb", live, gdbCore(t, v.Exe, core), rule{})
			compare(t, "lldb", live, lldbDump(t, core, v.Exe), s.lldb)
			compare(t, "eu-stack", live, euStack(t, core, v.Exe), s.eu)
		})
	}
}

// wantChains checks gdb's stacks of the live process against what the victim's
// source says.
func wantChains(t testing.TB, s stackVictim, live stacks) {
	t.Helper()
	if s.threads > 0 && len(live) != s.threads {
		t.Errorf("gdb sees %d live threads, the victim has %d", len(live), s.threads)
	}
	seen := map[string]bool{}
	for _, frames := range live {
		seen[chain(frames)] = true
	}
	for _, want := range s.chains {
		found := false
		for c := range seen {
			found = found || strings.Contains(c, want)
		}
		if !found {
			t.Errorf("no live thread has the calls %q", want)
		}
	}
}

// chain joins the names of a stack, innermost first.
func chain(frames []frame) string {
	names := make([]string, len(frames))
	for i, f := range frames {
		names[i] = f.name
	}
	return "<" + strings.Join(names, "<") + "<"
}

// threadChain is the chain of thread i of the victim "threads".
func threadChain(i int) string {
	directions := []string{"north", "east", "south", "west"}
	c := "<work<"
	for n := i; strings.Count(c, "step") < 5; n >>= 2 {
		c = fmt.Sprintf("<%s<step%s", directions[n&3], c)
	}
	return "<step" + c
}
