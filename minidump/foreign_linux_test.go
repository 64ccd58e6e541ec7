package minidump

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"procdump/snapshot"
)

// The functions on the victim's stacks, innermost first.
var (
	mainFrames   = []string{"hold", "gamma_", "beta", "alpha", "main"}
	workerFrames = []string{"hold", "work_three", "work_two", "work_one"}
)

// TestForeignReaders lets Breakpad's tools and LLDB judge dumps of real processes.
func TestForeignReaders(t *testing.T) {
	for _, tc := range []struct {
		bits int
		full bool
	}{{64, false}, {64, true}, {32, false}, {32, true}} {
		t.Run(fmt.Sprintf("%d-bit full=%v", tc.bits, tc.full), func(t *testing.T) {
			v := startVictim(t, tc.bits, 0)
			rs := v.miniRanges()
			if tc.full {
				rs = v.fullRanges()
			}
			dump := filepath.Join(t.TempDir(), "victim.dmp")
			v.writeSparse(t, dump, rs, Options{Full: tc.full}, snapshot.Range{})
			t.Run("own", func(t *testing.T) { judgeOwn(t, v, dump, rs) })
			t.Run("stackwalk", func(t *testing.T) { judgeStackwalk(t, v, dump) })
			t.Run("minidump_dump", func(t *testing.T) { judgeDump(t, v, dump) })
			t.Run("lldb", func(t *testing.T) { judgeLLDB(t, v, dump, v.buf) })
		})
	}
}

// TestForeignReadersSparse: the memory passes 4 GiB, the file's size on disk
// must not, and readers must find the stacks and what lies far behind.
func TestForeignReadersSparse(t *testing.T) {
	const size = 5 << 30
	v := startVictim(t, 64, size)
	dump := filepath.Join(t.TempDir(), "victim.dmp")
	untouched := snapshot.Range{Addr: v.big, Size: size - 4096}
	rs := v.fullRanges()
	if err := Write(&bytes.Buffer{}, v.Process, rs, Options{}); err != ErrTooLarge {
		t.Errorf("Write without Full: got %v, want ErrTooLarge", err)
	}
	v.writeSparse(t, dump, rs, Options{Full: true}, untouched)
	st, err := os.Stat(dump)
	if err != nil {
		t.Fatal(err)
	}
	if used := st.Sys().(*syscall.Stat_t).Blocks * 512; st.Size() < size || used > 64<<20 {
		t.Errorf("file of %d bytes takes %d on disk", st.Size(), used)
	}
	t.Run("own", func(t *testing.T) { judgeOwn(t, v, dump, []snapshot.Range{{Addr: v.big + size - 4096, Size: 4096}}) })
	t.Run("stackwalk", func(t *testing.T) { judgeStackwalk(t, v, dump) })
	t.Run("lldb", func(t *testing.T) {
		judgeLLDB(t, v, dump, v.buf)
		judgeLLDB(t, v, dump, v.big+size-4096)
	})
}

func judgeOwn(t *testing.T, v *victim, dump string, rs []snapshot.Range) {
	f, err := os.Open(dump)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, _ := f.Stat()
	r, err := NewReader(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	p, errs := r.Process()
	if len(errs) > 0 {
		t.Error(errs)
	}
	equalProcess(t, p, v.Process)
	for _, r := range rs {
		want, got := make([]byte, r.Size), make([]byte, r.Size)
		v.Memory.ReadMemory(want, r.Addr)
		if _, err := p.Memory.ReadMemory(got, r.Addr); err != nil {
			t.Errorf("%v: %v", r, err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("%v: memory differs", r)
		}
	}
}

// run runs a tool and returns its standard output.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, out, stderr.String())
	}
	if t.Failed() {
		t.Log(stderr.String())
	}
	return string(out)
}

// symbolDir makes Breakpad symbols of the victim's own image.
func symbolDir(t *testing.T, v *victim) string {
	t.Helper()
	out := run(t, breakpad(t, "dump_syms"), v.exe)
	f := strings.Fields(strings.SplitN(out, "\n", 2)[0]) // MODULE Linux x86_64 ID NAME
	dir := t.TempDir()
	sub := filepath.Join(dir, f[4], f[3])
	if err := os.MkdirAll(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(sub, f[4]+".sym"), []byte(out), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

var walkFrame = regexp.MustCompile(`(?m)^ *\d+  (\S+)!(\w+)`)

func judgeStackwalk(t *testing.T, v *victim, dump string) {
	tool := breakpad(t, "minidump_stackwalk")
	out := run(t, tool, dump, symbolDir(t, v))
	var stacks [][]string
	for part := range strings.SplitSeq(out, "\nThread ") {
		var fns []string
		for _, m := range walkFrame.FindAllStringSubmatch(part, -1) {
			if strings.HasPrefix(m[1], "victim") {
				fns = append(fns, m[2])
			}
		}
		if fns != nil {
			stacks = append(stacks, fns)
		}
	}
	checkStacks(t, stacks, out)
	for _, want := range []string{"Operating system: Linux", "libc.so.6", "linux-gate.so", "DUMP_REQUESTED", v.Args[0][strings.LastIndex(v.Args[0], "/")+1:]} {
		if !strings.Contains(out, want) {
			t.Errorf("minidump_stackwalk does not say %q:\n%s", want, out)
		}
	}
}

// checkStacks wants the main thread's and three workers' frames.
func checkStacks(t *testing.T, stacks [][]string, out string) {
	t.Helper()
	var main, workers int
	for _, s := range stacks {
		switch {
		case slices.Equal(s, workerFrames):
			workers++
		case len(s) >= 5 && slices.Equal(s[:5], mainFrames):
			main++
		}
	}
	if main != 1 || workers != 3 {
		t.Errorf("stacks %v: %d of main, %d of workers\n%s", stacks, main, workers, out)
	}
}

func judgeDump(t *testing.T, v *victim, dump string) {
	cmd := exec.Command(breakpad(t, "minidump_dump"), dump)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		t.Errorf("minidump_dump: %v", err)
	}
	for line := range strings.SplitSeq(stderr.String(), "\n") {
		if strings.Contains(line, "ERROR") {
			t.Errorf("minidump_dump: %s", line)
		}
	}
	want := []string{
		fmt.Sprintf("thread_count = %d", len(v.Threads)),
		fmt.Sprintf("module_count = %d", len(v.Modules)),
		"MDRawThreadName", "worker-3", "MDRawSystemInfo", "MDException", "MDRawMiscInfo", "MDRawBreakpadInfo",
		"Stream MD_LINUX_CPU_INFO", "MARK=environment-mark", fmt.Sprintf("process_id                   = %d", v.PID),
		"MD_LINUX_DSO_DEBUG",
	}
	for _, w := range want {
		if !strings.Contains(out.String(), w) {
			t.Errorf("minidump_dump does not say %q", w)
		}
	}
	if t.Failed() {
		t.Logf("%s", out.String())
	}
}

var (
	lldbThread = regexp.MustCompile(`(?m)^[* ] thread #\d+`)
	lldbFrame  = regexp.MustCompile("(?m)frame #\\d+: \\S+ (\\S+?)`(\\w+)")
	lldbBytes  = regexp.MustCompile(`(?m)^0x[0-9a-f]+: ((?:0x[0-9a-f]{2} ?)+)`)
)

func judgeLLDB(t *testing.T, v *victim, dump string, addr uint64) {
	out := run(t, lldb(t), "--batch", "--no-lldbinit", "-c", dump, "-o", "thread list", "-o", "bt all", "-o", "image list",
		"-o", fmt.Sprintf("memory read --force -s1 -fx -c4096 %#x", addr))
	_, bt, _ := strings.Cut(out, "(lldb) bt all")
	bt, images, _ := strings.Cut(bt, "(lldb) image list")
	if !strings.Contains(out, fmt.Sprintf("Process %d", v.PID)) {
		t.Errorf("lldb: not process %d", v.PID)
	}
	var stacks [][]string
	at := lldbThread.FindAllStringIndex(bt, -1)
	for i, loc := range at {
		end := len(bt)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		var fns []string
		for _, m := range lldbFrame.FindAllStringSubmatch(bt[loc[0]:end], -1) {
			if strings.HasPrefix(m[1], "victim") {
				fns = append(fns, m[2])
			}
		}
		stacks = append(stacks, fns)
	}
	checkStacks(t, stacks, bt)
	for _, w := range []string{v.exe, "libc.so.6", "ld-linux"} {
		if !strings.Contains(images, w) {
			t.Errorf("lldb does not list %q:\n%s", w, images)
		}
	}
	var got []byte
	for _, m := range lldbBytes.FindAllStringSubmatch(images, -1) {
		for _, s := range strings.Fields(m[1]) {
			var b byte
			fmt.Sscanf(s, "0x%x", &b)
			got = append(got, b)
		}
	}
	if !bytes.Equal(got, content()) {
		t.Errorf("lldb reads %d bytes at %#x that differ from the victim's\n%.2000s", len(got), addr, images)
	}
}
