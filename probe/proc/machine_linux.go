package proc

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// machine is what is the same for all processes of a Root.
type machine struct {
	root string
	// procfs tells that the root is a proc file system of the running kernel,
	// with its special attributes, and not a folder of files.
	procfs bool
	// clocks tells that its PIDs are those of procdump's own PID namespace, in
	// which the kernel looks up the clocks of processes.
	clocks bool
	// fdSize tells that the size of a fd folder is the number of its entries.
	fdSize bool

	swapRead atomic.Int64 // when, by sinceStart, or 0
	swapUsed atomic.Bool
}

var machines sync.Map // Root → *machine

// start is the origin of the times that are kept as durations.
var start = time.Now()

// sinceStart is never 0.
func sinceStart(t time.Time) time.Duration {
	if d := t.Sub(start); d != 0 {
		return d
	}
	return 1
}

func (r Root) machine() *machine {
	if m, ok := machines.Load(r); ok {
		return m.(*machine)
	}
	m := &machine{root: string(r)}
	if m.root == "" {
		m.root = "/proc"
	}
	var fs syscall.Statfs_t
	const procMagic = 0x9fa0 // PROC_SUPER_MAGIC, linux/magic.h
	m.procfs = syscall.Statfs(m.root, &fs) == nil && fs.Type == procMagic
	if m.procfs {
		m.clocks = ownNamespace(m.root)
		m.fdSize = fdSizes(m.root)
	}
	shared, _ := machines.LoadOrStore(r, m)
	return shared.(*machine)
}

// ownNamespace tells whether a proc file system shows procdump's own PID
// namespace. NSpid lists procdump's PIDs in all namespaces from the one that is
// shown to its own: one PID if they are the same.
func ownNamespace(root string) bool {
	b, err := os.ReadFile(filepath.Join(root, "self/status"))
	if err != nil {
		return false
	}
	for line := range bytes.Lines(b) {
		if pids, ok := bytes.CutPrefix(line, []byte("NSpid:")); ok {
			return len(bytes.Fields(pids)) == 1
		}
	}
	return false // before Linux 4.1
}

// fdSizes asks for procdump's own open files, at least one of which is the
// folder that is being asked.
func fdSizes(root string) bool {
	f, err := os.Open(filepath.Join(root, "self/fd"))
	if err != nil {
		return false
	}
	defer f.Close()
	st, err := f.Stat()
	return err == nil && st.Size() > 0
}

// swapInterval is how long an answer to "does the machine use swap" holds.
const swapInterval = 5 * time.Second

// swaps tells whether anything of the machine's memory is in swap.
func (m *machine) swaps(now time.Duration) bool {
	last := m.swapRead.Load()
	if last != 0 && now-time.Duration(last) < swapInterval && now >= time.Duration(last) ||
		!m.swapRead.CompareAndSwap(last, int64(now)) {
		return m.swapUsed.Load()
	}
	b, err := os.ReadFile(filepath.Join(m.root, "meminfo"))
	if err == nil {
		total, _ := parseKB(b, "SwapTotal")
		free, _ := parseKB(b, "SwapFree")
		m.swapUsed.Store(total > free)
	}
	return m.swapUsed.Load()
}

// path of a file of a process.
func (m *machine) path(pid int32, name string) string {
	return strings.Join([]string{m.root, itoa(pid), name}, "/")
}
