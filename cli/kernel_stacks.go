package cli

import (
	"fmt"
	"strings"

	"procdump/snapshot"
)

// kernelStacks is the text that -mk writes beside a dump: of each thread, what
// it does in the kernel, as it was just before the stop.
func kernelStacks(p *snapshot.Process) (suffix string, text []byte) {
	var b strings.Builder
	fmt.Fprintf(&b, "Kernel stacks of %s (%d), %s, Linux %s\n", p.Name, p.PID, p.Info.Time.Format("2006-01-02 15:04:05 -0700"), p.System.Release)
	b.WriteString("Read from /proc/PID/task/TID/{stack,wchan,syscall} just before the process was stopped.\n")
	for i := range p.Threads {
		t := &p.Threads[i]
		fmt.Fprintf(&b, "\nThread %d %q, state %s\n", t.TID, t.Name, stateText(t.State))
		if t.WaitChannel != "" && t.WaitChannel != "0" {
			fmt.Fprintf(&b, "  waits in  %s\n", t.WaitChannel)
		}
		if t.Syscall != "" {
			fmt.Fprintf(&b, "  syscall   %s\n", t.Syscall)
		}
		if t.KernelStack == "" {
			b.WriteString("  stack     not readable (it takes CAP_SYS_ADMIN, or the thread was running)\n")
			continue
		}
		for line := range strings.Lines(t.KernelStack) {
			fmt.Fprintf(&b, "  %s\n", strings.TrimSpace(line))
		}
	}
	return ".kernel.txt", []byte(b.String())
}

func stateText(s byte) string {
	names := map[byte]string{'R': "running", 'S': "sleeping", 'D': "uninterruptible sleep", 'T': "stopped", 't': "traced", 'I': "idle", 'Z': "ended"}
	if n, ok := names[s]; ok {
		return fmt.Sprintf("%c (%s)", s, n)
	}
	return "unknown"
}
