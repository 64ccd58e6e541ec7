// Package signals holds the names of Linux's signals and of the reasons
// (si_code) that come with them, and says what a signal does by default.
//
// Numbers are those of include/uapi/asm-generic/signal.h, which x86 and arm64
// share. Real-time signals are counted as glibc counts them and kill -l shows
// them: SIGRTMIN is 34, since the threads library keeps 32 and 33 for itself.
package signals

import (
	"fmt"
	"strconv"
	"strings"
)

// The signals that tell of a fault (signal(7)), and others that code asks for.
const (
	ILL  = 4
	TRAP = 5
	ABRT = 6
	BUS  = 7
	FPE  = 8
	KILL = 9
	SEGV = 11
	STOP = 19
	SYS  = 31
)

// Max is the largest signal number.
const Max = 64

const (
	rtMin = 34
	rtMax = Max
)

// names are the standard signals without "SIG", by number.
var names = [...]string{
	1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 5: "TRAP", 6: "ABRT", 7: "BUS", 8: "FPE",
	9: "KILL", 10: "USR1", 11: "SEGV", 12: "USR2", 13: "PIPE", 14: "ALRM", 15: "TERM", 16: "STKFLT",
	17: "CHLD", 18: "CONT", 19: "STOP", 20: "TSTP", 21: "TTIN", 22: "TTOU", 23: "URG", 24: "XCPU",
	25: "XFSZ", 26: "VTALRM", 27: "PROF", 28: "WINCH", 29: "IO", 30: "PWR", 31: "SYS",
}

// synonyms are other names that signal(7) gives.
var synonyms = map[string]int{"IOT": 6, "CLD": 17, "POLL": 29, "UNUSED": 31}

// Name returns a signal's name as kill -l has it: "SIGSEGV", "SIGRTMIN+3",
// "SIGRTMAX-2". A number without a name is "SIG32", one that is no signal
// "signal 99".
func Name(sig int) string {
	switch {
	case sig > 0 && sig < len(names):
		return "SIG" + names[sig]
	case sig < 1 || sig > Max:
		return fmt.Sprintf("signal %d", sig)
	case sig < rtMin:
		return fmt.Sprintf("SIG%d", sig)
	case sig == rtMin:
		return "SIGRTMIN"
	case sig == rtMax:
		return "SIGRTMAX"
	case sig < (rtMin+rtMax)/2+1:
		return fmt.Sprintf("SIGRTMIN+%d", sig-rtMin)
	}
	return fmt.Sprintf("SIGRTMAX-%d", rtMax-sig)
}

// Parse reads a signal: a number, or a name in any case, with or without
// "SIG": "11", "SIGSEGV", "segv", "SIGRTMIN+3", "RTMAX-2".
func Parse(text string) (int, error) {
	name := strings.ToUpper(strings.TrimSpace(text))
	if n, err := strconv.Atoi(name); err == nil {
		if n < 1 || n > Max {
			return 0, fmt.Errorf("parse signal %q: signals are 1 to %d", text, Max)
		}
		return n, nil
	}
	name = strings.TrimPrefix(name, "SIG")
	for n, s := range names {
		if s != "" && s == name {
			return n, nil
		}
	}
	if n, ok := synonyms[name]; ok {
		return n, nil
	}
	if n, err := strconv.Atoi(name); err == nil && n >= 1 && n <= Max { // SIG32
		return n, nil
	}
	if n, ok := realTime(name); ok {
		if n < rtMin || n > rtMax {
			return 0, fmt.Errorf("parse signal %q: there are SIGRTMIN to SIGRTMIN+%d", text, rtMax-rtMin)
		}
		return n, nil
	}
	return 0, fmt.Errorf("parse signal %q: no signal has this name; kill -l lists them", text)
}

// realTime reads "RTMIN", "RTMIN+3", "RTMAX-2".
func realTime(name string) (int, bool) {
	base, sign := rtMin, 1
	rest, ok := strings.CutPrefix(name, "RTMIN")
	if !ok {
		if rest, ok = strings.CutPrefix(name, "RTMAX"); !ok {
			return 0, false
		}
		base, sign = rtMax, -1
	}
	if rest == "" {
		return base, true
	}
	if rest[0] != "-+"[(sign+1)/2] {
		return 0, false
	}
	n, err := strconv.ParseUint(rest[1:], 10, 7)
	return base + sign*int(n), err == nil
}

// Terminates tells whether a signal that a process neither handles nor ignores
// ends it, with or without a core (signal(7)).
func Terminates(sig int) bool {
	switch sig {
	case 17, 23, 28: // CHLD, URG, WINCH: ignored
		return false
	case 18, STOP, 20, 21, 22: // CONT, STOP, TSTP, TTIN, TTOU
		return false
	}
	return sig >= 1 && sig <= Max
}
