package layout_test

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"procdump/kdump"
	"procdump/kdump/vmcore"
	"procdump/kernel/layout"
	"procdump/kernel/layout/layouttest"
	"procdump/kernel/pages"
)

// The pieces in testdata come from guests of QEMU with Debian's kernels 6.1,
// 6.12 and 7.2, and 6.1 for arm64: dump-guest-memory with -device vmcoreinfo. The
// kernel for arm64 has no symbols for data, and so neither types nor tasks. What the golden
// files say was compared with the guests' own /proc/modules, /proc/*/task,
// dmesg, /proc/kpageflags, and with makedumpfile's counts.
var (
	cut    = flag.String("cut", "", "make testdata/NAME.piece of the ELF vmcore in `NAME=FILE`")
	update = flag.Bool("update", false, "write the golden files")
)

// pieceTypes are the types that this package and package pages look at.
var pieceTypes = []string{
	"module", "module_memory", "module_layout", "mod_kallsyms", "mod_unload_taint", "module_state", "list_head",
	"task_struct", "thread_struct", "thread_info", "signal_struct", "rq", "timekeeper", "tk_data", "timespec64", "uts_namespace",
	"page", "folio", "pageflags", "pagetype",
}

var pieceSymbols = []string{
	"modules", "init_task", "runqueues", "__per_cpu_offset", "__cpu_online_mask", "nr_cpu_ids", "tainted_mask",
	"shadow_timekeeper", "tk_core", "timekeeper_data", "unloaded_tainted_modules",
}

// describe reads everything that a golden file holds.
func describe(k *layout.Kernel) string {
	var out strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) }
	u, err := k.Uname()
	p("%s %s %s %v", u.Release, u.Version, u.Machine, err)
	up, err := k.Uptime()
	p("up %v %v", up, err)
	taint, err := k.Tainted()
	p("taint %#x %v", taint, err)
	direct, ok := k.Space.DirectMap()
	p("direct map %#x %v", direct, ok)
	cpus, err := k.CPUs()
	p("CPUs %v %v", cpus, err)
	for _, c := range cpus {
		t, err := k.CurrentTask(c)
		p("CPU %d runs %d %s %v", c, t.PID, t.Comm, err)
	}
	modules, err := k.Modules()
	p("modules %v", err)
	for _, m := range modules {
		p("  %s %d %#x state %d taints %#x areas %d", m.Name, m.Size(), m.Base(), m.State, m.Taints, len(m.Areas))
		if m.Name != "crc16" {
			continue
		}
		s, err := k.ModuleSymbols(m)
		if err != nil {
			p("  %v", err)
			continue
		}
		for y := range s.All() {
			p("    %x %c %s", y.Addr, y.Type, y.Name)
		}
	}
	p("tasks")
	err = k.Tasks(func(t layout.Task) bool {
		p("  %d %d %s %c kernel %v CPU %d stack %#x sp %#x", t.PID, t.TGID, t.Comm, t.State, t.Kernel, t.CPU, t.Stack, t.SP)
		return true
	})
	p("tasks end %v", err)
	log, err := k.Log()
	p("log %d messages %v", len(log), err)
	for i, r := range log {
		if i < 20 || i >= len(log)-20 {
			p("  %d <%d> %s", r.Seq, r.Level, r)
		}
	}
	describePages(k, p)
	return out.String()
}

func describePages(k *layout.Kernel, p func(format string, args ...any)) {
	s, err := pages.NewStructs(k, pages.StructOptions{})
	if err != nil {
		p("pages %v", err)
		return
	}
	for _, r := range k.Dump().Runs {
		c, err := pages.Count(s, []kdump.Run{r}, k.Space.PageSize())
		p("pages %#x-%#x %v, private cache %d", r.Addr, r.End(), err, c.PrivateCache)
		for class, n := range c.Pages {
			if n != 0 {
				p("  %s %d", pages.Class(class), n)
			}
		}
	}
	p("unread %d", s.Unread())
}

func TestPieces(t *testing.T) {
	files, err := filepath.Glob("testdata/*.piece")
	if err != nil || len(files) < 3 {
		t.Fatalf("pieces %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			got := describe(openPiece(t, file))
			golden := strings.TrimSuffix(file, ".piece") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("differs from %s:\n%s", golden, firstDifference(got, string(want)))
			}
		})
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d is  %s\nwant     %s", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}

func openPiece(t testing.TB, file string) *layout.Kernel {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := layouttest.DecodePiece(f)
	if err != nil {
		t.Fatal(err)
	}
	k, err := layout.Open(p.Dump())
	if err != nil {
		t.Fatal(err)
	}
	use(t, k, p)
	return k
}

// use gives the kernel the extracts of a piece.
func use(t testing.TB, k *layout.Kernel, p *layouttest.Piece) {
	t.Helper()
	k.UseSymbols(p.Symbol)
	if p.BTF == nil {
		return
	}
	if err := k.UseBTF(p.BTF); err != nil {
		t.Fatal(err)
	}
}

// TestPiecesDamaged describes kernels whose memory is damaged in many places.
// It may say anything, but must come to an end.
func TestPiecesDamaged(t *testing.T) {
	for _, version := range []string{"6.1", "6.12", "7.2"} {
		f, err := os.ReadFile("testdata/" + version + ".piece")
		if err != nil {
			t.Fatal(err)
		}
		for seed := range uint64(12) {
			p, err := layouttest.DecodePiece(bytes.NewReader(f))
			if err != nil {
				t.Fatal(err)
			}
			rnd := rand.New(rand.NewPCG(seed, 1))
			for range 20 << seed {
				p.Memory.Damage(rnd)
			}
			for range seed {
				p.BTF[24+rnd.IntN(len(p.BTF)-24)] ^= 1 << rnd.IntN(8)
			}
			if seed%4 == 3 {
				info := []byte(p.Info)
				for range seed {
					info[rnd.IntN(len(info))] = "0123456789af="[rnd.IntN(13)]
				}
				p.Info = string(info)
			}
			k, err := layout.Open(p.Dump())
			if err != nil {
				continue
			}
			k.UseSymbols(p.Symbol)
			if err := k.UseBTF(p.BTF); err == nil {
				describe(k)
			}
		}
	}
}

// TestCut makes a piece; it does nothing without -cut.
func TestCut(t *testing.T) {
	name, file, ok := strings.Cut(*cut, "=")
	if !ok {
		t.Skip("makes test data with -cut NAME=FILE only")
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	d, err := vmcore.Open(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	full, err := layout.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	// The symbol table is too long to keep.
	info := strings.ReplaceAll(string(d.VMCoreInfo), "SYMBOL(kallsyms_", "LEFTOUT(kallsyms_")
	p := &layouttest.Piece{Machine: d.Arch, PageSize: d.PageSize, Info: info, Segments: d.Segments,
		Symbols: make(map[string]uint64), Runs: variedRuns(t, full)}
	if types, err := full.BTF(); err == nil {
		p.BTF = layout.ExtractBTF(types, pieceTypes...)
	} else {
		t.Logf("without types: %v", err)
	}
	for _, s := range pieceSymbols {
		if a, err := full.Symbol(s); err == nil {
			p.Symbols[s] = a
		}
	}
	rec := &layouttest.Recorder{Source: d.Memory}
	part := p.Dump()
	part.Memory = rec
	k, err := layout.Open(part)
	if err != nil {
		t.Fatal(err)
	}
	use(t, k, p)
	describe(k)
	if p.Memory, err = rec.Memory(); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join("testdata", name+".piece"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Encode(out); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// variedRuns picks ranges of 512 pages whose pages are of many classes.
func variedRuns(t *testing.T, k *layout.Kernel) []kdump.Run {
	const window, wanted = 512, 6
	s, err := pages.NewStructs(k, pages.StructOptions{})
	if err != nil {
		t.Fatal(err)
	}
	size := k.Space.PageSize()
	type candidate struct {
		run    kdump.Run
		counts pages.Counts
	}
	var all []candidate
	for _, r := range k.Dump().Runs {
		for at := (r.Addr + window*size - 1) / (window * size) * (window * size); at+window*size <= r.End(); at += window * size {
			c, err := pages.Count(s, []kdump.Run{{Addr: at, Size: window * size}}, size)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, candidate{kdump.Run{Addr: at, Size: window * size}, c})
		}
	}
	var total [pages.Classes]uint64
	var out []kdump.Run
	for range wanted {
		// What is rare so far counts most.
		value := func(c candidate) float64 {
			var v float64
			for class, n := range c.counts.Pages {
				if n != 0 {
					v += float64(min(n, 64)) / float64(1+total[class])
				}
			}
			return v
		}
		best := slices.MaxFunc(all, func(a, b candidate) int { return cmp.Compare(value(a), value(b)) })
		for class, n := range best.counts.Pages {
			total[class] += n
		}
		out = append(out, best.run)
		all = slices.DeleteFunc(all, func(c candidate) bool { return c.run == best.run })
	}
	slices.SortFunc(out, func(a, b kdump.Run) int { return cmp.Compare(a.Addr, b.Addr) })
	return out
}
