package inspect

import (
	"fmt"
	"strings"

	"procdump/snapshot"
)

// KindLive is what Info.Kind of a process says that was looked at as it ran.
const KindLive = "live"

// signalWords are what signals are called.
var signalWords = map[string]string{
	"SIGSEGV": "Segmentation fault", "SIGBUS": "Bus error", "SIGABRT": "Aborted", "SIGFPE": "Arithmetic error",
	"SIGILL": "Illegal instruction", "SIGTRAP": "Trap", "SIGSYS": "Bad system call", "SIGQUIT": "Quit", "SIGTERM": "Terminated", "SIGKILL": "Killed",
}

// reason says what happened in a sentence. lost tells that this is not known where
// there is no exception.
func reason(p *snapshot.Process, r *Report, lost bool) string {
	x := r.Exception
	if x == nil {
		return calm(p, r, lost)
	}
	name := x.Signal
	if name == "" {
		name = "Exception " + x.Code
	}
	if w := signalWords[x.Signal]; w != "" {
		name = fmt.Sprintf("%s (%s)", w, x.Signal)
	}
	what := x.What
	if x.Message != "" {
		what, _, _ = strings.Cut(x.Message, "\n")
	}
	s := name
	if what != "" {
		s += ": " + what
	}
	if f := x.Frame; f != nil {
		s += ", in " + place(f)
	}
	if len(r.Deadlocks) > 0 {
		s += "; " + deadlocked(r)
	}
	return s
}

// deadlocked says that threads wait for each other.
func deadlocked(r *Report) string {
	s := "deadlock: " + r.Deadlocks[0].Text
	if n := len(r.Deadlocks) - 1; n > 0 {
		s += "; and " + plural(n, "more deadlock")
	}
	return s
}

// place is a frame in a sentence.
func place(f *Frame) string {
	name := f.Function
	switch {
	case name == "" && f.Module != "" && f.ModuleOffset != nil:
		return fmt.Sprintf("%s+%#x", base(f.Module), uint64(*f.ModuleOffset))
	case name == "":
		return fmt.Sprintf("unknown code at %#x", uint64(f.PC))
	case f.File != "" && f.Line > 0:
		return fmt.Sprintf("%s at %s:%d", name, base(f.File), f.Line)
	case f.Module != "":
		return fmt.Sprintf("%s of %s", name, base(f.Module))
	}
	return name
}

// calm is the sentence for a process to which nothing happened, as far as is known.
func calm(p *snapshot.Process, r *Report, lost bool) string {
	threads := plural(r.ThreadCount, "thread")
	if len(r.Groups) < r.ThreadCount && len(r.Groups) > 0 {
		threads += fmt.Sprintf(" with %s", plural(len(r.Groups), "different stack"))
	}
	if len(r.Deadlocks) > 0 {
		threads += "; " + deadlocked(r)
	}
	if p.Info.Kind == KindLive {
		return fmt.Sprintf("%s (%d) is running: %s", r.Process.Name, r.Process.PID, threads)
	}
	if lost {
		return "The dump does not tell what happened: it is cut off or damaged, " + threads
	}
	s := "The process did not crash: it was dumped while it ran"
	if p.Info.Reason != "" {
		s += " (" + p.Info.Reason + ")"
	}
	return s + ", " + threads
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
