package e2e

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	euThread = regexp.MustCompile(`^TID (\d+):`)
	euFrame  = regexp.MustCompile(`^#\d+\s+0x([0-9a-f]+)(?:\s+-\s+1)?(?: (.*))?$`)
)

// euStack is what elfutils says of an ELF core of the program.
func euStack(t testing.TB, core, exe string) stacks {
	t.Helper()
	return parseEUStack(t, "--core="+core, "--executable="+exe)
}

// euStackLive is what elfutils says of the live process.
func euStackLive(t testing.TB, pid int) stacks {
	t.Helper()
	return parseEUStack(t, "-p", strconv.Itoa(pid))
}

func parseEUStack(t testing.TB, args ...string) stacks {
	t.Helper()
	// It exits with 1 when it could not unwind a thread to its end; the
	// comparison sees that better.
	text, _ := output("eu-stack", append([]string{"-n", "0", "--activation"}, args...)...)
	s := stacks{}
	tid := 0
	for _, line := range strings.Split(text, "\n") {
		if m := euThread.FindStringSubmatch(line); m != nil {
			tid, _ = strconv.Atoi(m[1])
			s[tid] = nil
		} else if m := euFrame.FindStringSubmatch(line); m != nil && tid != 0 {
			pc, _ := strconv.ParseUint(m[1], 16, 64)
			s[tid] = append(s[tid], frame{pc: pc, name: normal(m[2]), sure: true})
		}
	}
	return s
}
