//go:build !nointerp

package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"procdump/victims/need"
)

// scriptName is the last part of a function's name: languages write differently
// what it belongs to.
func scriptName(name string) string {
	if name[0] == '<' || strings.HasPrefix(name, "block ") {
		return name
	}
	return name[strings.LastIndexAny(name, ".:#")+1:]
}

// waitingScript starts a program that writes its own stack and then waits, and
// returns who called the function that waits: "function line".
func waitingScript(t testing.TB, args ...string) (pid int, frames []string) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() == "ready" {
			return cmd.Process.Pid, frames
		}
		if f, ok := strings.CutPrefix(lines.Text(), "frame "); ok {
			frames = append(frames, f)
		}
	}
	t.Fatalf("%q ended: %q", args, frames)
	return 0, nil
}

// inspectScripts compares the functions and lines of scripts, on the process and in
// its dump, with what the program itself says of its stack; the native frames with
// gdb's, where inspectRuntimes has no such program.
func inspectScripts(t *testing.T, a *agreement) {
	for language, args := range map[string][]string{
		"python": {"/usr/bin/python3", "testdata/scripts/deep.py"}, "php": {"php", "testdata/scripts/deep.php"},
		"ruby": {"ruby", "testdata/scripts/deep.rb"}, "perl": {"perl", "testdata/scripts/deep.pl"},
		"javascript": {"node", "testdata/scripts/deep.js"}, "java": {"java", "-XX:TieredStopAtLevel=1", "testdata/scripts/Deep.java"},
	} {
		t.Run(language, func(t *testing.T) {
			pid, want := waitingScript(t, append([]string{need.Tool(t, args[0])}, args[1:]...)...)
			if len(want) < 5 {
				t.Fatalf("the program says %q", want)
			}
			y, native := a.of(language+", script", "itself"), (*tally)(nil)
			live := stacks{}
			if language == "php" || language == "ruby" || language == "perl" {
				native = a.of(language, "gdb")
				exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
				if err != nil {
					t.Fatal(err)
				}
				live = gdbLive(t, pid, exe)
			}
			for _, target := range []string{strconv.Itoa(pid), dump(t, pid, spec{"-ma", "elf"}), dump(t, pid, spec{"-ma", "minidump"})} {
				r := inspectReport(t, target)
				if native != nil {
					native.compare(t, target, live, r.stacks(t))
				}
				found := false
				y.looks++
				var all [][]string
				for _, g := range r.Groups {
					var got []string
					for _, f := range g.Frames {
						if f.Language == language {
							got = append(got, fmt.Sprintf("%s %d", scriptName(f.Function), f.Line))
						}
					}
					i := slices.Index(got, want[0])
					if i > 0 && scriptName(strings.Fields(got[i-1])[0]) == "inner" && len(got)-i >= len(want) && slices.Equal(got[i:i+len(want)], want) {
						found = true
						count(y, "("+target+")", want, got[i:i+len(want)], sameText)
						// Native frames are there on both sides, and the stack is whole.
						if first, last := g.Frames[0], g.Frames[len(g.Frames)-1]; first.Language != "" || last.Language != "" || !g.Complete {
							t.Errorf("%s: from %+v to %+v, %q", target, first, last, g.End)
						}
					}
					if len(got) > 0 {
						all = append(all, got)
					}
				}
				if !found {
					count(y, "("+target+")", want, nil, sameText)
					t.Errorf("%s: no stack has\n %q, but\n %q\n %q", target, want, all, r.Warnings)
				}
			}
		})
	}
}
