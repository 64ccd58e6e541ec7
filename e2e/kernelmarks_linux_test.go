package e2e

import (
	"bytes"
	"debug/elf"
	le "encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"procdump/victims/guest"
)

// mark is a page whose contents are known: see testdata/pages.c and
// testdata/landmark.c.
type mark struct {
	use  string
	seed uint64
	addr uint64 // physical; that of a module is virtual
}

type marks []mark

// module tells whether the page is a module's, which lies in virtual memory of
// the kernel.
func (m mark) module() bool { return m.use == moduleUse }

const moduleUse = "module"

// pageUses are the uses of pages that testdata/pages.c knows. The pages of files
// come first: syncing one may write that of another, and a page is on no list of
// the page cache before the same processor has put some more there. Pages that
// are freed come last, so that none of them is used for another one.
var pageUses = []string{"mapped", "cache", "dirty", "anon", "shmem", "hugetlb", "hugetlbfs", "hugefree", "guest", "slab", "free"}

// wantPages says which uses of pages each kind of dump holds.
var wantPages = map[string]struct{ complete, active, kernel bool }{
	"anon":      {true, true, false},
	"shmem":     {true, true, false},
	"hugetlb":   {true, true, false},
	"hugetlbfs": {true, true, false},
	"hugefree":  {true, false, false},
	"mapped":    {true, true, false},
	"dirty":     {true, true, false},
	"cache":     {true, false, false},
	"free":      {true, false, false},
	"guest":     {true, false, false},
	"slab":      {true, true, true},
	moduleUse:   {true, true, true},
}

func wantsPage(kind, use string) bool {
	switch w := wantPages[use]; kind {
	case "complete":
		return w.complete
	case "active":
		return w.active
	default:
		return w.kernel
	}
}

// buildPages builds testdata/pages.c.
var buildPages = sync.OnceValues(func() (string, error) {
	out := filepath.Join(tempDir, "pages")
	msg, err := exec.Command("gcc", "-O2", "-Wall", "-Werror", "-o", out, "testdata/pages.c").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("build testdata/pages.c: %w\n%s", err, msg)
	}
	return out, err
})

// pagesProgram is the program that owns pages. It is to be asked for before the
// guest boots that runs it.
func pagesProgram(t testing.TB) string {
	t.Helper()
	out, err := buildPages()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// mark fills pages of the uses and a module with known contents, and returns
// where they are, and the process that owns the pages. The folder is on a disk.
func (g *guestTest) mark(folder string, uses ...string) (marks, *guest.Process) {
	g.t.Helper()
	g.Shell("cp /sys/kernel/btf/vmlinux " + g.Dir + "/btf; echo 4 >/proc/sys/vm/nr_hugepages")
	all := g.loadLandmark()
	p := g.Start(guest.Command{Args: append([]string{"taskset", "-c", "0", pagesProgram(g.t), folder}, uses...)})
	return append(all, parseMarks(g.t, p.Await("ready"))...), p
}

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

// first is the page's first word; each of the others is one more than the one
// before it.
func (m mark) first() uint64 { return m.seed * 0x9e3779b97f4a7c15 }

// contents is what the first n bytes of the page are.
func (m mark) contents(n int) []byte {
	var b []byte
	for i := range n / 8 {
		b = le.LittleEndian.AppendUint64(b, m.first()+uint64(i))
	}
	return b
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

// still returns the marks without those free pages that the kernel has used
// again before it crashed.
func (all marks) still(t testing.TB, file string) marks {
	t.Helper()
	d := openKernelDump(t, file)
	b := make([]byte, d.PageSize)
	out := slices.DeleteFunc(slices.Clone(all), func(m mark) bool {
		n, _ := d.Memory.ReadPhys(b, m.addr)
		return m.use == "free" && n == len(b) && !bytes.Equal(b, m.contents(len(b)))
	})
	if len(out) < len(all)/3 {
		t.Errorf("%d of %d marked pages are as they were", len(out), len(all))
	}
	return out
}

// readPages is a script of drgn: it prints for each page of the list whether
// the dump has it with its contents ("here"), does not have it ("none") or has
// something else.
const readPages = `
import json, os, struct
out = []
for first, addr, size, physical in json.loads(os.environ["PAGES"]):
    want = b"".join(struct.pack("<Q", (first + i) % 2**64) for i in range(size // 8))
    try:
        got = prog.read(addr, size, physical=bool(physical))
        out.append("here" if got == want else "other")
    except Exception as e:
        out.append("none" if type(e).__name__ == "FaultError" else repr(e))
print("PAGES " + json.dumps(out))
`

// wantMarks has drgn look for the marks in a dump of a kind.
func wantMarks(t testing.TB, file, kind string, all marks) {
	t.Helper()
	const slabSize = 1024
	var list [][4]uint64
	var uses []string
	for _, m := range all {
		switch {
		case m.module():
			list = append(list, [4]uint64{m.first(), m.addr, 4096, 0})
			uses = append(uses, m.use)
		case m.use != "slab":
			list = append(list, [4]uint64{m.first(), m.addr, 4096, 1})
			uses = append(uses, m.use)
		default:
			// Where an object of the slab allocator is only the kernel knows.
			for _, addr := range search(t, openKernelDump(t, file), m.contents(slabSize)) {
				list = append(list, [4]uint64{m.first(), addr, slabSize, 1})
				uses = append(uses, m.use)
			}
		}
	}
	if wantsPage(kind, "slab") && !slices.Contains(uses, "slab") {
		t.Errorf("the object of the slab allocator is nowhere")
	}
	all.wantLandmark(t, file)
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

// wantNone: a small dump names the module, and has none of the pages.
func (all marks) wantNone(t testing.TB, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if bytes.Contains(b, m.contents(16)) {
			t.Errorf("page %s at %#x is in the small dump", m.use, m.addr)
		}
	}
	if names := moduleNames(smallNote(t, file)); !slices.Contains(names, landmark) {
		t.Errorf("no module %s among %v", landmark, names)
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
		if m.use == "slab" || m.module() || i < 0 {
			continue
		}
		args = append(args, "-ex", fmt.Sprintf("output/x *(unsigned long *)%#x", f.Progs[i].Vaddr+m.addr-f.Progs[i].Paddr), "-ex", `echo \n`)
		want += fmt.Sprintf("%#x\n", m.first())
	}
	if out := command(t, "gdb", args...); want == "" || !strings.Contains(out, want) {
		t.Errorf("gdb reads\n%s\nwant\n%s", cut(out), cut(want))
	}
}
