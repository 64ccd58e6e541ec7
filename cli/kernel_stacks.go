package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"strings"

	"procdump/capture"
	"procdump/kernel/live"
	"procdump/snapshot"
)

// kernelTables is what the symbols and types of a kernel take, in bytes.
const kernelTables = 16 << 20

// openKernel opens the running kernel for the dumps that -mk writes, and reads
// its symbols and types, which takes a moment. Where the kernel's memory cannot
// be had there is the text alone.
func (r *run) openKernel() {
	if !r.o.KernelStacks || !live.InitialPIDs(live.DefaultRoot) {
		return
	}
	k, err := openKernelSide()
	if err != nil {
		if !errors.Is(err, fs.ErrPermission) && !errors.Is(err, errors.ErrUnsupported) {
			r.console.Warning(fmt.Sprintf("-mk writes no kernel dump: %v", err))
		}
		return
	}
	// What is missing there is told in each dump.
	_, _ = k.kernel.Symbols()
	_, _ = k.kernel.BTF()
	// They stay, and must not have garbage collected in the middle of a stop.
	debug.FreeOSMemory()
	debug.SetMemoryLimit(heapLimit + kernelTables)
	r.kernel = k
}

func (r *run) closeKernel() {
	if r.kernel != nil {
		r.kernel.Close()
	}
}

// readKernel reads the kernel's side of a process that is about to be stopped:
// afterwards it shows nothing but the stop.
func (s *session) readKernel(pid int) {
	if s.run.kernel == nil {
		return
	}
	b, _, err := s.run.kernel.dump(pid)
	if err != nil {
		s.console.Warning(fmt.Sprintf("-mk writes no kernel dump: %v", err))
		return
	}
	s.kernel = b
}

// kernelDump is the kernel dump that -mk writes beside a dump.
func (s *session) kernelDump(*snapshot.Process) (suffix string, content []byte) {
	return ".kernel.elf", s.kernel
}

// sidecar is the path of the nth file beside a dump, "" if it is not there.
func sidecar(r *capture.Result, n int) string {
	if n < len(r.Sidecars) {
		return r.Sidecars[n]
	}
	return ""
}

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
