package e2e

import (
	"bytes"
	"crypto/sha256"
	le "encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"procdump/kdump/open"
	"procdump/kernel/dumped"
	"procdump/kernel/pages"
	"procdump/victims/guest"
	"procdump/victims/need"
)

// TestConvertKernel converts a dump of a guest's memory, which QEMU wrote, to
// all kinds and formats, and has the contents of pages judged that have been
// put there before.
func TestConvertKernel(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"drgn", "makedumpfile", "mkfs.ext4", "python3", "gcc", "taskset"} {
		need.Tool(t, tool)
	}
	pagesProgram(t)
	disk := filepath.Join(t.TempDir(), "disk")
	command(t, "mkfs.ext4", "-q", disk, "256M")
	g := bootGuest(t, guest.Options{MemoryMiB: 384, Drives: []guest.Drive{{File: disk}}, Modules: []string{"ext4", "qemu_fw_cfg"}, Args: []string{"-device", "vmcoreinfo"}})
	g.LoadModule("kvm-amd")
	g.Shell(`mkdir -p /disk; mount /dev/vda /disk
		cd /proc/sys/vm; echo 0 >dirty_writeback_centisecs; echo 360000 >dirty_expire_centisecs; echo 100 >dirty_ratio; echo 99 >dirty_background_ratio; echo 0 >compaction_proactiveness`)
	all, _ := g.mark("/disk", pageUses...)
	c := &conversion{t: t, folder: t.TempDir()}
	g.DumpMemory(c.path("memory"))
	all = all.untouched(t, c.path("memory"))

	for _, k := range []struct {
		name, kind, from string
		args             []string
	}{
		{"complete.elf", "complete", "memory", []string{"-format", "elf"}},
		{"complete.kdump", "complete", "memory", []string{"-z", "snappy"}},
		{"active.kdump", "active", "complete.kdump", nil},
		{"kernel.kdump", "kernel", "active.kdump", []string{"-z", "zlib"}},
		{"kernel.elf", "kernel", "memory", nil},
	} {
		t.Run(k.name, func(t *testing.T) {
			c := &conversion{t: t, folder: c.folder}
			e := c.convert(k.from, k.name, append([]string{"-type", k.kind}, k.args...)...)
			if e.Kind != k.kind || e.Pages == 0 || e.MissedPages != 0 {
				t.Errorf("event %+v", e)
			}
			wantMarks(t, c.path(k.name), k.kind, all)
		})
	}
	t.Run("counts", func(t *testing.T) { (&conversion{t: t, folder: c.folder}).counts() })
	t.Run("active by drgn", func(t *testing.T) { (&conversion{t: t, folder: c.folder}).activeByDrgn() })
	t.Run("forms", func(t *testing.T) { (&conversion{t: t, folder: c.folder}).forms() })
	t.Run("small", func(t *testing.T) {
		c := &conversion{t: t, folder: c.folder}
		c.convert("kernel.kdump", "small.elf", "-type", "small")
		if n := c.size("small.elf"); n > 64<<10 {
			t.Errorf("%d bytes", n)
		}
		c.refuse("it is a small dump", "small.elf", "x.kdump", "-type", "kernel")
	})
	t.Run("refused", func(t *testing.T) {
		c := &conversion{t: t, folder: c.folder}
		c.refuse("it can give active and kernel", "active.kdump", "x.kdump", "-type", "complete")
		c.refuse("it can give kernel", "kernel.elf", "x.kdump", "-type", "active")
		c.refuse("into itself", "kernel.elf", "kernel.elf")
	})
	t.Run("damaged", func(t *testing.T) { (&conversion{t: t, folder: c.folder}).damaged() })
}

// conversion converts dumps within a folder.
type conversion struct {
	t      *testing.T
	folder string
}

func (c *conversion) path(name string) string { return filepath.Join(c.folder, name) }

func (c *conversion) size(name string) int64 {
	c.t.Helper()
	st, err := os.Stat(c.path(name))
	if err != nil {
		c.t.Fatal(err)
	}
	return st.Size()
}

// convert makes one dump of another and returns the event of its end.
func (c *conversion) convert(from, to string, args ...string) kernelComplete {
	c.t.Helper()
	rss := c.path("resident")
	out := command(c.t, "python3", append([]string{"-c", measured, rss, binary(c.t), "convert", "-json"}, append(args, c.path(from), c.path(to))...)...)
	b, err := os.ReadFile(rss)
	if err != nil {
		c.t.Fatal(err)
	}
	if n, err := strconv.Atoi(string(b)); err != nil || n > maxResident {
		c.t.Errorf("%s: %s KiB resident", to, b)
	}
	var e kernelComplete
	for line := range strings.Lines(out) {
		if strings.Contains(line, `"event":"kernelComplete"`) || strings.Contains(line, `"event":"smallComplete"`) {
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				c.t.Fatal(err)
			}
		}
	}
	if e.Path != c.path(to) {
		c.t.Fatalf("converted to %q:\n%s", e.Path, out)
	}
	return e
}

func (c *conversion) refuse(text, from, to string, args ...string) {
	c.t.Helper()
	out, err := output(binary(c.t), append(append([]string{"convert"}, args...), c.path(from), c.path(to))...)
	if err == nil || !strings.Contains(err.Error()+out, text) {
		c.t.Errorf("want %q in: %v\n%s", text, err, out)
	}
}

// open opens a dump with the uses of its pages.
func (c *conversion) open(name string, o dumped.Options) (*dumped.Source, pages.Counts) {
	c.t.Helper()
	s := dumped.Open(openKernelDump(c.t, c.path(name)), o)
	src, err := s.Pages()
	if err != nil {
		c.t.Fatal(err)
	}
	n, err := pages.Count(src, s.Dump().Runs, uint64(s.Dump().PageSize))
	if err != nil {
		c.t.Fatal(err)
	}
	return s, n
}

// counts compares with what makedumpfile leaves out of the same memory, and
// with the size of its dump.
func (c *conversion) counts() {
	file := c.path("makedumpfile")
	report := command(c.t, "makedumpfile", "-c", "-d", "31", "--message-level", "31", c.path("complete.elf"), file)
	s, n := c.open("complete.elf", dumped.Options{})
	for what, got := range map[string]uint64{"Free pages": n.Pages[pages.Free], "Non-private cache pages": n.Cache(),
		"Private cache pages": n.PrivateCache, "User process data pages": n.User() + n.Pages[pages.Guest]} {
		m := regexp.MustCompile(what + ` *: 0x([0-9a-f]+)`).FindStringSubmatch(report)
		if m == nil {
			c.t.Fatalf("no %s in\n%s", what, report)
		}
		if want, err := strconv.ParseUint(m[1], 16, 64); err != nil || got != want || got == 0 && what != "Private cache pages" {
			c.t.Errorf("%s: makedumpfile counts %d, we %d", what, want, got)
		}
	}
	if len(s.VMs) != 1 || n.Pages[pages.Guest] != s.GuestPages || s.GuestPages < 8<<20>>12 {
		c.t.Errorf("virtual machines %+v with %d pages, %d by their use", s.VMs, s.GuestPages, n.Pages[pages.Guest])
	}
	mine, theirs := c.size("kernel.kdump"), c.size("makedumpfile")
	if c.t.Logf("kernel, zlib: %d bytes, makedumpfile %d", mine, theirs); mine > theirs*105/100 {
		c.t.Errorf("kernel, zlib: %d bytes, makedumpfile %d", mine, theirs)
	}
}

// countActive is a script of drgn that counts the pages that an active dump
// takes, those of virtual machines included, by the flags of Linux 6.1's struct
// page (include/linux/page-flags.h, include/linux/mm_types.h).
const countActive = `
import json, os, struct
DIRTY, LRU, SLAB, WRITEBACK, HEAD, SWAPBACKED, HWPOISON = 3, 4, 9, 15, 16, 19, 23
info = dict(l.split("=", 1) for l in os.environ["INFO"].splitlines() if "=" in l)
section, roots = int(info["SYMBOL(mem_section)"], 16), 128
kept = 0
def word(va): return struct.unpack("<Q", prog.read(va, 8))[0]
for first, end in json.loads(os.environ["RUNS"]):
    pfn = first
    while pfn < end:
        nr = pfn >> 15
        root = word(section + nr // roots * 8)
        m = word(root + nr % roots * 32) if root else 0
        stop = min(end, (nr + 1) << 15)
        if not m & 1:
            kept += stop - pfn
            pfn = stop
            continue
        raw = prog.read((m & ~63) + pfn * 64, (stop - pfn) * 64)
        pages = list(struct.iter_unpack("<QQQQQQiiQ", raw))
        i = 0
        while i < len(pages):
            flags, head, _, mapping, _, private, count, refs, _ = pages[i]
            bit = lambda n: flags >> n & 1
            n = 1
            huge = mapped = False
            if bit(HEAD) and i + 1 < len(pages):
                tail = raw[(i + 1) * 64:(i + 2) * 64]
                n, huge = 1 << tail[17], tail[16] == 2
                mapped = struct.unpack_from("<i", tail, 20)[0] >= 0 or any(p[6] >= 0 for p in pages[i + 1:i + n])
            if count == -129 and not bit(SLAB):
                i += 1 << private
                continue
            anon = mapping & 1 and not bit(SLAB)
            if bit(HWPOISON) or count == -257 and not bit(SLAB):
                pass
            elif huge:
                kept += n if refs else 0
            elif not anon and bit(LRU) and not bit(SWAPBACKED) and count < 0 and not mapped and not bit(DIRTY) and not bit(WRITEBACK):
                pass
            else:
                kept += n
            i += n
        pfn = stop
print("KEPT", kept)
`

// activeByDrgn counts the pages of an active dump independently.
func (c *conversion) activeByDrgn() {
	d := openKernelDump(c.t, c.path("complete.elf"))
	if !strings.HasPrefix(d.Uname.Release, "6.1.") {
		c.t.Skipf("the script is for 6.1, not %s", d.Uname.Release)
	}
	var runs [][2]uint64
	for _, r := range d.Runs {
		runs = append(runs, [2]uint64{r.Addr >> 12, r.End() >> 12})
	}
	b, err := json.Marshal(runs)
	if err != nil {
		c.t.Fatal(err)
	}
	script := c.path("count.py")
	if err := os.WriteFile(script, []byte(countActive), 0o600); err != nil {
		c.t.Fatal(err)
	}
	out := command(c.t, "env", "RUNS="+string(b), "INFO="+string(d.VMCoreInfo), "drgn", "-q", "-c", c.path("complete.elf"), script)
	_, text, _ := strings.Cut(out, "KEPT ")
	kept, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	if err != nil {
		c.t.Fatalf("drgn: %s", out)
	}
	s, _ := c.open("complete.elf", dumped.Options{})
	if got := pagesIn(c.t, c.path("active.kdump")); got != kept-s.GuestPages {
		c.t.Errorf("%d pages in the active dump; drgn counts %d, of which virtual machines have %d", got, kept, s.GuestPages)
	}
}

// forms converts from other formats: the pages stay the same.
func (c *conversion) forms() {
	want := c.contents("kernel.kdump")
	same := func(name string) {
		c.t.Helper()
		if c.contents(name) != want {
			c.t.Errorf("%s has other pages", name)
		}
	}
	// Through a pipe, and from what came through it.
	out, err := os.Create(c.path("flat"))
	if err != nil {
		c.t.Fatal(err)
	}
	command(c.t, "sh", "-c", `exec "$0" convert -z none "$1" - >"$2"`, binary(c.t), c.path("kernel.kdump"), out.Name())
	out.Close()
	same("flat")
	c.convert("flat", "flat.elf")
	same("flat.elf")
	// A disk with a dump at its beginning.
	b, err := os.ReadFile(c.path("kernel.kdump"))
	if err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(c.path("disk"), append(b, make([]byte, 1<<20)...), 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.convert("disk", "disk.kdump")
	same("disk.kdump")
	// An image of memory has no VMCOREINFO: the kernel's is found.
	c.lime()
	c.convert("lime", "lime.kdump", "-type", "kernel")
	same("lime.kdump")
}

// contents is a digest of all pages of a dump and their numbers.
func (c *conversion) contents(name string) [sha256.Size]byte {
	c.t.Helper()
	d := openKernelDump(c.t, c.path(name))
	all := sha256.New()
	page := make([]byte, d.PageSize)
	for r := range d.Present() {
		for pfn := r.PFN; pfn < r.PFN+r.Count; pfn++ {
			if _, err := d.Memory.ReadPhys(page, pfn*uint64(d.PageSize)); err != nil {
				c.t.Fatalf("%s: %v", name, err)
			}
			all.Write(le.AppendUvarint(nil, pfn))
			all.Write(page)
		}
	}
	return [sha256.Size]byte(all.Sum(nil))
}

// lime writes the source as LiME does.
func (c *conversion) lime() {
	d := openKernelDump(c.t, c.path("memory"))
	f, err := os.Create(c.path("lime"))
	if err != nil {
		c.t.Fatal(err)
	}
	defer f.Close()
	for _, r := range d.Runs {
		h := le.LittleEndian.AppendUint32(le.LittleEndian.AppendUint32(nil, 0x4c694d45), 1)
		for _, v := range []uint64{r.Addr, r.End() - 1, 0} {
			h = le.LittleEndian.AppendUint64(h, v)
		}
		b := make([]byte, r.Size)
		if _, err := d.Memory.ReadPhys(b, r.Addr); err != nil {
			c.t.Fatal(err)
		}
		if _, err := f.Write(append(h, b...)); err != nil {
			c.t.Fatal(err)
		}
	}
}

// damaged flips bits in what leads to the uses of pages. The kind kernel then
// holds all that it should, and more.
func (c *conversion) damaged() {
	good := pagesIn(c.t, c.path("kernel.elf"))
	complete := pagesIn(c.t, c.path("complete.elf"))
	info := openKernelDump(c.t, c.path("complete.elf")).VMCoreInfo
	for _, x := range []struct {
		name, kind  string
		find        []byte
		from, count int // bytes that are damaged, from the place found on
		all         bool
		most, least uint64
	}{
		// One copy is damaged: the other is found. All are: all pages are kept.
		{"note", "kernel", info[:32], 0, 2000, false, good, good},
		{"all notes", "kernel", info[:32], 0, 2000, true, complete, complete},
		// The header of the type data: the classes get coarser.
		{"types", "active", []byte("\x9f\xeb\x01\x00\x18\x00\x00\x00"), 0, 8, true, complete, good},
	} {
		c.t.Run(x.name, func(t *testing.T) {
			c := &conversion{t: t, folder: c.folder}
			b, err := os.ReadFile(c.path("complete.elf"))
			if err != nil {
				t.Fatal(err)
			}
			hits := 0
			for at := 0; ; {
				i := bytes.Index(b[at:], x.find)
				if i < 0 || hits > 0 && !x.all {
					break
				}
				hits++
				at += i
				for k := range x.count {
					b[at+x.from+k] ^= 0x55
				}
			}
			if hits == 0 {
				t.Fatal("nothing to damage")
			}
			if err := os.WriteFile(c.path("damaged"), b, 0o600); err != nil {
				t.Fatal(err)
			}
			os.Remove(c.path("repaired.kdump"))
			e := c.convert("damaged", "repaired.kdump", "-type", x.kind, "-z", "snappy")
			if e.Pages > x.most || e.Pages < x.least {
				t.Errorf("%d pages after %d changes, want %d to %d", e.Pages, hits, x.least, x.most)
			}
			if _, err := open.Dump(bytes.NewReader(b), int64(len(b))); err != nil {
				t.Error(err)
			}
		})
	}
}
