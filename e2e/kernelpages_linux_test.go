package e2e

import (
	"bytes"
	"debug/elf"
	le "encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"procdump/kdump"
	"procdump/kdump/open"
	"procdump/kernel/layout"
)

// mark is a page whose contents are known: see testdata/pages.c.
type mark struct {
	use  string
	seed uint64
	addr uint64 // physical
}

type marks []mark

func parseMarks(t testing.TB, text string) marks {
	t.Helper()
	var all marks
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 4 || f[0] != "page" {
			continue
		}
		seed, err := strconv.ParseUint(f[2], 0, 64)
		addr, err2 := strconv.ParseUint(f[3], 0, 64)
		if err != nil || err2 != nil {
			t.Fatalf("line %q", line)
		}
		all = append(all, mark{f[1], seed, addr})
	}
	return all
}

// contents is what the first n bytes of the page are.
func (m mark) contents(n int) []byte {
	var b []byte
	for i := range n / 8 {
		b = le.LittleEndian.AppendUint64(b, m.seed*0x9e3779b97f4a7c15+uint64(i))
	}
	return b
}

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

// untouched returns the marks without those free pages that have been used for
// something else before a complete dump was taken.
func (all marks) untouched(t testing.TB, complete string) marks {
	t.Helper()
	d := openKernelDump(t, complete)
	b := make([]byte, d.PageSize)
	out := slices.DeleteFunc(slices.Clone(all), func(m mark) bool {
		if m.use != "free" {
			return false
		}
		_, err := d.Memory.ReadPhys(b, m.addr)
		return err != nil || !bytes.Equal(b, m.contents(len(b)))
	})
	for use := range wantPages {
		if !slices.ContainsFunc(out, func(m mark) bool { return m.use == use }) {
			t.Fatalf("no page is left of use %s", use)
		}
	}
	return out
}

// readPages is a script of drgn: it prints for each page of the list whether
// the dump has it with its contents ("here"), does not have it ("none") or has
// something else.
const readPages = `
import json, os, struct
out = []
for seed, addr, size in json.loads(os.environ["PAGES"]):
    want = b"".join(struct.pack("<Q", (seed * 0x9e3779b97f4a7c15 + i) % 2**64) for i in range(size // 8))
    try:
        got = prog.read(addr, size, physical=True)
        out.append("here" if got == want else "other")
    except Exception as e:
        out.append("none" if type(e).__name__ == "FaultError" else repr(e))
print("PAGES " + json.dumps(out))
`

// wantMarks has drgn look for the marks in a dump of a kind.
func wantMarks(t testing.TB, file, kind string, all marks) {
	t.Helper()
	const slabSize = 1024
	var list [][3]uint64
	var uses []string
	for _, m := range all {
		if m.use != "slab" {
			list = append(list, [3]uint64{m.seed, m.addr, 4096})
			uses = append(uses, m.use)
			continue
		}
		// Where an object of the slab allocator is only the kernel knows.
		for _, addr := range search(t, openKernelDump(t, file), m.contents(slabSize)) {
			list = append(list, [3]uint64{m.seed, addr, slabSize})
			uses = append(uses, m.use)
		}
	}
	if wantsPage(kind, "slab") && !slices.Contains(uses, "slab") {
		t.Errorf("the object of the slab allocator is nowhere")
	}
	pages, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "pages.py")
	if err := os.WriteFile(script, []byte(readPages), 0o600); err != nil {
		t.Fatal(err)
	}
	_, answer, ok := strings.Cut(command(t, "env", "PAGES="+string(pages), "drgn", "-q", "-c", file, script), "PAGES ")
	var got []string
	if err := json.Unmarshal([]byte(answer), &got); err != nil || !ok || len(got) != len(list) {
		t.Fatalf("drgn says %q: %v", answer, err)
	}
	count := map[string]int{}
	defer func() {
		t.Logf("drgn: %v", count)
		// Pages on a processor's own list of free pages look like the kernel's.
		if all := count["free none"] + count["free here"]; !wantsPage(kind, "free") && count["free here"] > all/5 {
			t.Errorf("%d of %d free pages are in the dump", count["free here"], all)
		}
	}()
	for i, state := range got {
		want := "none"
		if wantsPage(kind, uses[i]) {
			want = "here"
		}
		if state != want && !(uses[i] == "free" && state == "here") {
			t.Errorf("page %s at %#x: %s, want %s", uses[i], list[i][1], state, want)
		}
		count[uses[i]+" "+state]++
	}
}

// gdb reads the marks at their addresses in the direct map.
func (all marks) gdb(t testing.TB, file string) {
	t.Helper()
	f, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	args, want := []string{"-nx", "-batch", "-ex", "core-file " + file}, ""
	for _, m := range all {
		i := slices.IndexFunc(f.Progs, func(p *elf.Prog) bool {
			return p.Type == elf.PT_LOAD && p.Vaddr < 0xffffffff80000000 && m.addr-p.Paddr < p.Filesz
		})
		if m.use == "slab" || i < 0 {
			continue
		}
		args = append(args, "-ex", fmt.Sprintf("output/x *(unsigned long *)%#x", f.Progs[i].Vaddr+m.addr-f.Progs[i].Paddr), "-ex", `echo \n`)
		want += fmt.Sprintf("%#x\n", m.seed*0x9e3779b97f4a7c15)
	}
	if out := command(t, "gdb", args...); want == "" || !strings.Contains(out, want) {
		t.Errorf("gdb reads\n%s\nwant\n%s", cut(out), cut(want))
	}
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
