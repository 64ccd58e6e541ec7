package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"procdump/victims"
)

// muslWaits are the functions of musl that each of the ways in which the victim
// "threads" waits ends in, innermost first, and the victim's own. Calls at a
// function's end are jumps: epoll_wait has gone when epoll_pwait runs.
var muslWaits = [][]string{
	{"read", "wait_read"}, {"poll", "wait_poll"}, {"clock_nanosleep", "nanosleep", "wait_sleep"},
	{"__timedwait_cp", "pthread_cond_timedwait", "wait_cond"}, {"epoll_pwait", "wait_epoll"}, {"recvfrom", "wait_recv"},
	{"__timedwait_cp", "sem_timedwait", "wait_sem"},
}

// muslStack is the stack of a function's callees, that function and its callers
// as musl's source has it: all calls that may be cancelled go through one function,
// and the dynamic library has an inner one for it.
func muslStack(static bool, inner, outer []string) []string {
	entry := []string{"__syscall_cp_asm", "__syscall_cp_c"}
	if static {
		entry = entry[1:]
	}
	return slices.Concat(entry, inner, outer)
}

// muslThread is the stack of a thread of the victim "threads" by its name.
func muslThread(static bool, name string) []string {
	i, err := strconv.Atoi(strings.TrimPrefix(name, "t-"))
	if err != nil { // the main thread
		return muslStack(static, []string{"read", "hear", "serve", "main"}, []string{"libc_start_main_stage2", "_start"})
	}
	return muslStack(static, muslWaits[i%len(muslWaits)], append(strings.Split(strings.Trim(threadChain(i), "<"), "<"), "start", "__clone"))
}

// muslHandler is the stack of the victim "altstack".
func muslHandler(static bool, _ string) []string {
	return muslStack(static, []string{"read", "hear", "serve", "block_in_handler", "handler", "__restore_rt", "kill", "provoke", "outer", "main"},
		[]string{"libc_start_main_stage2", "_start"})
}

// inspectMusl compares stacks of programs with musl with those that their sources
// and musl's say. musl has no call frame information of its own code: gdb takes
// the first function for the outermost, or one word of the stack for a caller's
// address. It is compared up to there.
func inspectMusl(t *testing.T, a *agreement) {
	for _, s := range []struct {
		name, victim string
		args         []string
		threads      int
		want         func(static bool, thread string) []string
	}{
		{"musl", "threads@musl", []string{"10"}, 11, muslThread},
		{"musl static", "threads@musl-static", []string{"10"}, 11, muslThread},
		{"musl signal frame", "altstack@musl", nil, 1, muslHandler},
		{"musl static signal frame", "altstack@musl-static", nil, 1, muslHandler},
	} {
		t.Run(s.name, func(t *testing.T) {
			v := victims.StartSpec(t, victims.Spec{Name: s.victim, Args: s.args})
			freeze(t, v)
			static := strings.HasSuffix(s.victim, "static")
			want := map[int][]string{}
			live, lost := stacks{}, 0
			for tid, frames := range gdbLive(t, v.PID, v.Exe) {
				comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/comm", v.PID, tid))
				if err != nil {
					t.Fatal(err)
				}
				want[tid] = s.want(static, strings.TrimSpace(string(comm)))
				live[tid] = knownPart(frames)
				lost += len(frames) - len(live[tid])
			}
			if len(live) != s.threads {
				t.Errorf("gdb sees %d threads, want %d", len(live), s.threads)
			}
			byGDB, bySource := a.of(s.name, "gdb"), a.of(s.name, "its source")
			for who, target := range map[string]string{"the process": strconv.Itoa(v.PID), "-mm elf": dump(t, v.PID, spec{"-mm", "elf"}),
				"-ma minidump": dump(t, v.PID, spec{"-ma", "minidump"})} {
				got := inspectReport(t, target).stacks(t)
				awaitState(t, v, 'T')
				cut := stacks{}
				for tid, g := range got {
					cut[tid] = g[:min(len(g), len(live[tid]))]
				}
				byGDB.compare(t, "inspect of "+who, live, cut)
				byGDB.lost += lost
				bySource.looks++
				for tid, w := range want {
					count(bySource, fmt.Sprintf("(%s) thread %d", who, tid), named(w), got[tid], func(want, got frame) bool {
						return sameInMusl(want.name, got)
					})
				}
			}
			if bySource.equal != bySource.frames {
				t.Errorf("%d of %d frames are equal:\n%s", bySource.equal, bySource.frames, strings.Join(bySource.misses, "\n"))
			}
		})
	}
}

// named are frames of which only the functions are known.
func named(names []string) (all []frame) {
	for _, n := range names {
		all = append(all, frame{name: n})
	}
	return all
}

// sameInMusl tells whether a frame may be that of a function. The dynamic library
// has no names of functions that are only musl's.
func sameInMusl(want string, got frame) bool {
	if got.name == want || aliases(got.module, want, got.name) {
		return true
	}
	return strings.HasPrefix(filepath.Base(got.module), "libc.so") && symbolsOf(got.module)[want] == nil
}
