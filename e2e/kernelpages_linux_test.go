package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"procdump/kdump"
	"procdump/kdump/open"
	"procdump/kernel/layout"
)

// openKernelDump opens a dump with our own reader.
func openKernelDump(t testing.TB, file string) *kdump.Dump {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	d, err := open.Dump(f, st.Size())
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return d
}

// pagesIn is how many pages are in a dump.
func pagesIn(t testing.TB, file string) uint64 {
	t.Helper()
	var n uint64
	for r := range openKernelDump(t, file).Present() {
		n += r.Count
	}
	return n
}

// search returns where the bytes are in a dump, at multiples of 8.
func search(t testing.TB, d *kdump.Dump, want []byte) []uint64 {
	t.Helper()
	var found []uint64
	page := make([]byte, d.PageSize)
	for r := range d.Present() {
		for pfn := r.PFN; pfn < r.PFN+r.Count; pfn++ {
			addr := pfn * uint64(d.PageSize)
			if _, err := d.Memory.ReadPhys(page, addr); err != nil {
				t.Fatal(err)
			}
			for at := 0; ; at += 8 {
				i := bytes.Index(page[at:], want)
				if i < 0 {
					break
				}
				if at += i; at%8 == 0 {
					found = append(found, addr+uint64(at))
				}
			}
		}
	}
	return found
}

// wantLog has makedumpfile read the kernel's log out of a dump; log is its
// beginning, as dmesg(1) shows it. Makedumpfile of Debian knows neither zstd nor
// snappy: there our own reader does it.
func wantLog(t testing.TB, file, log string) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "log")
	text, err := output("makedumpfile", "--dump-dmesg", file, out)
	switch {
	case err == nil:
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		text = string(b)
	case strings.Contains(err.Error(), "compression unsupported"):
		text = ownLog(t, file)
	default:
		t.Fatalf("%v\n%s", err, text)
	}
	got, want := logLines(text), logLines(log)
	if len(want) < 50 {
		t.Fatalf("dmesg has %d lines", len(want))
	}
	for i := range want {
		if i == len(got) || got[i] != want[i] {
			t.Fatalf("line %d of %d of the log is %q, want %q", i, len(got), got[min(i, len(got)-1)], want[i])
		}
	}
}

// ownLog is the kernel's log as our own reader finds it in a dump.
func ownLog(t testing.TB, file string) string {
	t.Helper()
	k, err := layout.Open(openKernelDump(t, file))
	if err != nil {
		t.Fatal(err)
	}
	records, err := k.Log()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, r := range records {
		stamp := fmt.Sprintf("[%5d.%06d] ", r.Time/time.Second, r.Time%time.Second/time.Microsecond)
		b.WriteString(stamp + strings.ReplaceAll(r.Text, "\n", "\n"+strings.Repeat(" ", len(stamp))) + "\n")
	}
	return b.String()
}

func logLines(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		all = append(all, strings.TrimRight(line, " \n"))
	}
	return all
}

// wantKernel finds the tasks, modules and type data of the kernel in a dump. The
// folder shared has what the guest said.
func wantKernel(t testing.TB, shared, file string, pid int) {
	t.Helper()
	d := openKernelDump(t, file)
	if d.Uname.Nodename != "guest" || len(d.CPUs) != 2 {
		t.Errorf("kernel %+v, %d CPUs", d.Uname, len(d.CPUs))
	}
	k, err := layout.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	tasks := map[int]string{}
	if err := k.Tasks(func(task layout.Task) bool { tasks[task.PID] = task.Comm; return true }); err != nil {
		// The list of the dumper's own threads, for one, changes while it is
		// copied. The tasks below are older than that.
		t.Logf("tasks: %v", err)
	}
	if tasks[1] != "init" || tasks[2] != "kthreadd" || tasks[pid] != "pages" || len(tasks) < 20 {
		t.Errorf("tasks %v", tasks)
	}
	modules, err := k.Modules()
	if err != nil {
		t.Errorf("modules: %v", err)
	}
	for _, want := range []string{"kvm", "ext4", "virtio_blk"} {
		if !slices.ContainsFunc(modules, func(m layout.Module) bool { return m.Name == want }) {
			t.Errorf("no module %s among %d", want, len(modules))
		}
	}
	// Type data is in thousands of pages that never change.
	types, err := os.ReadFile(filepath.Join(shared, "btf"))
	if err != nil {
		t.Fatal(err)
	}
	start, err := k.Symbol("__start_BTF")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := k.Space.Bytes(start, uint64(len(types))); err != nil || !bytes.Equal(b, types) {
		t.Errorf("the kernel's type data differ from those of the running kernel: %v", err)
	}
}
