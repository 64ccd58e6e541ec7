package small_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"procdump/arch"
	"procdump/kdump"
	"procdump/kdump/vmcore"
	"procdump/kernel/layout"
	"procdump/kernel/layout/layouttest"
	"procdump/kernel/small"
)

// usual is a machine that all of fits.
var usual = machine{cpus: 2, panicked: 1, modules: 10, threads: 3, messages: 200, text: 60, descBits: 12, textBits: 17}

// change returns the usual machine with something changed.
func change(f func(*machine)) machine {
	m := usual
	f(&m)
	return m
}

// crashes are machines that panicked.
var crashes = map[string]machine{
	"usual":     usual,
	"interrupt": change(func(m *machine) { m.irq = true }),
	"huge": change(func(m *machine) {
		*m = machine{cpus: 200, panicked: 150, modules: 300, messages: 20_000, text: 900, descBits: 14, textBits: 23}
	}),
	"first of 200": change(func(m *machine) { m.cpus, m.panicked, m.modules = 200, 0, 300 }),
	"last of 1000": change(func(m *machine) { m.cpus, m.panicked = 1000, 999 }),
	"many modules": change(func(m *machine) { m.modules = 2000 }),
	"some modules": change(func(m *machine) { m.modules = 60 }),
	"small ring":   change(func(m *machine) { m.messages, m.descBits, m.textBits = 1000, 8, 13 }),
	"long lines":   change(func(m *machine) { m.text = 1000 }),
	"old log":      change(func(m *machine) { m.oldLog = true }),
	"old log wraps": change(func(m *machine) {
		m.oldLog, m.messages, m.textBits = true, 3000, 16
	}),
	"two oopses": change(func(m *machine) { m.twice = true }),
	"no types":   change(func(m *machine) { m.noTypes = true }),
	"no symbols": change(func(m *machine) { m.noTypes, m.noSymbols, m.cpus, m.panicked = true, true, 8, 5 }),
}

func TestCrash(t *testing.T) {
	for name, m := range crashes {
		t.Run(name, func(t *testing.T) {
			w := newWorld(m)
			r, d := w.dump(t, small.Options{})
			w.wantNote(t, r, d)
			w.wantRegisters(t, d)
			w.wantLog(t, d, r, 12<<10/(112+max(m.text, 60)+16)*9/10)
			k := w.kernel(t, d)
			w.wantStack(t, k)
			if !m.noTypes {
				w.wantTask(t, k)
				w.wantModules(t, k, r)
			}
		})
	}
}

// wantNote checks what the dump says about itself.
func (w *world) wantNote(t *testing.T, r *small.Report, d *kdump.Dump) {
	t.Helper()
	n, ok := small.ParseNote(d)
	if !ok || !reflect.DeepEqual(*n, r.Note) {
		t.Fatalf("note %+v, want %+v", n, r.Note)
	}
	want := small.Note{Version: 1, Kind: "small", Release: "6.1.0-made-up", Machine: "x86_64", Host: "host", Panic: "BUG: kernel NULL pointer dereference, address: 0000000000000000",
		NotSyncing: "Fatal exception in interrupt", Oops: "0002", RIP: "bad_function+0x16/0x20 [module_1]", Tainted: 0x200, CPU: w.panicked, CPUs: w.cpus}
	got := *n
	if got.Time.Unix() != 1_700_000_000 || got.Registers == 0 {
		t.Errorf("time %v, %d registers", got.Time, got.Registers)
	}
	got.Time, got.Registers, got.Tasks, got.Modules, got.Missing = want.Time, 0, nil, "", nil
	if w.noTypes {
		got.Host, got.Machine = want.Host, want.Machine // not known
	}
	if w.noSymbols {
		want.Tainted = 0
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("note\n%+v, want\n%+v", got, want)
	}
	var names []string
	for line := range strings.Lines(n.Modules) {
		names = append(names, strings.Fields(line)[0])
	}
	switch {
	case w.noTypes:
	case w.modules <= 300 && !slices.Equal(names, w.modList):
		t.Errorf("modules %v", names)
	case w.modules > 300 && (len(names) < 300 || !slices.Equal(names, w.modList[:len(names)])):
		t.Errorf("%d modules", len(names))
	}
}

// wantRegisters checks that the registers of the panicking processor are in its
// place, and that those of others are theirs or missing.
func (w *world) wantRegisters(t *testing.T, d *kdump.Dump) {
	t.Helper()
	if len(d.CPUs) <= w.panicked {
		t.Fatalf("%d processors", len(d.CPUs))
	}
	with := 0
	for i, c := range d.CPUs {
		if len(c.PRStatus) == 0 {
			continue
		}
		with++
		if want := w.cpuList[i].PRStatus; !slices.Equal(c.PRStatus[112:], want[112:]) {
			t.Errorf("registers of processor %d are another's", i)
		}
	}
	if len(d.CPUs[w.panicked].PRStatus) == 0 || with < min(w.cpus, 20) {
		t.Errorf("registers of %d processors", with)
	}
	// Gdb wants numbers that differ.
	seen := map[uint32]bool{}
	for _, c := range d.CPUs {
		if len(c.PRStatus) > 0 {
			if pid := le.Uint32(c.PRStatus[32:]); seen[pid] || pid == 0 {
				t.Errorf("number %d twice", pid)
			} else {
				seen[pid] = true
			}
		}
	}
}

// wantLog checks that the log of the dump is the end of the kernel's, and at
// least so many messages of it if there are so many.
func (w *world) wantLog(t *testing.T, d *kdump.Dump, r *small.Report, least int) {
	t.Helper()
	log, err := w.kernel(t, d).Log()
	if err != nil {
		t.Fatal(err)
	}
	if len(log) < min(least, len(w.log)) || len(log) != r.Messages || r.Logged < r.Messages {
		t.Fatalf("%d messages of %d, %d of %d were said, want at least %d", len(log), len(w.log), r.Messages, r.Logged, least)
	}
	for i, rec := range log {
		if want := w.log[len(w.log)-len(log)+i]; rec.Text != want {
			t.Fatalf("message %d of %d is %q, want %q", i, len(log), rec.Text, want)
		}
	}
}

// wantStack checks that the stack of the task that panicked is all there.
func (w *world) wantStack(t *testing.T, k *layout.Kernel) {
	t.Helper()
	end := w.sp&^(stackSize-1) + stackSize
	if w.noTypes && w.irq {
		return
	}
	got, err := k.Space.Bytes(w.sp, end-w.sp)
	if err != nil {
		t.Fatal(err)
	}
	want, err := w.kernel(t, nil).Space.Bytes(w.sp, end-w.sp)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("stack differs: %v", err)
	}
}

// wantTask follows the ways of debuggers to the task that panicked: by its
// number, and as what its processor runs.
func (w *world) wantTask(t *testing.T, k *layout.Kernel) {
	t.Helper()
	pid := 1000 + w.panicked
	task, _, err := k.FindTask(pid)
	if err != nil || task.PID != pid || !strings.HasPrefix(task.Comm, "task") {
		t.Errorf("task %+v: %v", task, err)
	}
	if w.panicked < 200 {
		if current, err := k.CurrentTask(w.panicked); err != nil || current != task {
			t.Errorf("current task %+v: %v", current, err)
		}
	}
	if b, err := k.Space.Bytes(task.Addr, taskSize); err != nil || len(b) != taskSize {
		t.Errorf("struct task_struct: %v", err)
	}
}

// wantModules walks the list of modules if there was room for it.
func (w *world) wantModules(t *testing.T, k *layout.Kernel, r *small.Report) {
	t.Helper()
	modules, err := k.Modules()
	switch {
	case w.cpus > 200: // their notes take the room
	case w.modules <= 60:
		if err != nil || len(modules) != w.modules {
			t.Errorf("%d modules: %v", len(modules), err)
		}
	case !slices.ContainsFunc(r.Note.Missing, func(s string) bool { return strings.Contains(s, "struct module") }):
		t.Errorf("missing %q", r.Note.Missing)
	}
}

// TestProcess dumps the kernel side of a process of a running machine.
func TestProcess(t *testing.T) {
	for _, threads := range []int{1, 3, 500} {
		w := newWorld(change(func(m *machine) { m.panicked, m.threads = -1, threads }))
		r, d := w.dump(t, small.Options{PID: 4000})
		n := r.Note
		if !n.Live || n.CPU != -1 || n.Panic != "" || len(n.Tasks) < min(threads, 10) || n.Tasks[0].PID != 4000 || n.Tasks[0].State != "S" || n.Tasks[0].Stack < 800 {
			t.Fatalf("note %+v", n)
		}
		if len(d.CPUs) != len(n.Tasks) || n.Registers != len(n.Tasks) {
			t.Errorf("%d notes for %d tasks", len(d.CPUs), len(n.Tasks))
		}
		k := w.kernel(t, d)
		for i, task := range n.Tasks {
			regs := arch.AMD64.GPNames()
			reg := func(name string) uint64 { return le.Uint64(d.CPUs[i].PRStatus[112+8*slices.Index(regs, name):]) }
			found, _, err := k.FindTask(task.PID)
			if err != nil || found.TGID != 4000 || task.Stack == 0 {
				t.Errorf("thread %+v: %+v, %v", task, found, err)
			}
			if le.Uint32(d.CPUs[i].PRStatus[32:]) != uint32(task.PID) || reg("rip") != image+0x2000 || reg("rsp") != found.SP+56 {
				t.Errorf("thread %d: RIP %#x, RSP %#x", task.PID, reg("rip"), reg("rsp"))
			}
			if _, err := k.Space.Bytes(found.SP, 800); err != nil {
				t.Errorf("stack of thread %d: %v", task.PID, err)
			}
		}
		w.wantLog(t, d, r, 50)
	}
	w := newWorld(change(func(m *machine) { m.panicked = -1 }))
	if _, err := small.Write(nil, w.kernel(t, nil), small.Options{PID: 77}); err == nil {
		t.Error("process 77 is there")
	}
	r, d := w.dump(t, small.Options{})
	if n := r.Note; !n.Live || n.CPU != -1 || n.Registers != 0 || n.Tasks[0].PID != 1000 || len(d.CPUs) != 2 {
		t.Errorf("%+v", n)
	}
}

// TestRunning: a thread that runs has no registers, and the dump says so.
func TestRunning(t *testing.T) {
	w := newWorld(change(func(m *machine) { m.panicked = -1 }))
	task, _, err := w.kernel(t, nil).FindTask(4000)
	if err != nil {
		t.Fatal(err)
	}
	w.put32(task.Addr+taskOnCPU, 1)
	r, _ := w.dump(t, small.Options{PID: 4000})
	if n := r.Note; n.Registers != 2 || n.Tasks[0].Stack != 0 || !slices.ContainsFunc(n.Missing, func(s string) bool { return strings.Contains(s, "thread 4000: it was running") }) {
		t.Errorf("%+v", n)
	}
}

// restless is memory in which a task runs while it is read.
type restless struct {
	*layouttest.Memory
	counter uint64 // its count of switches
	stack   uint64 // a word of its stack, which becomes the count
	steps   int    // how often it still runs
	n       uint64
}

func (r *restless) ReadPhys(b []byte, addr uint64) (int, error) {
	if addr == r.counter && r.steps > 0 {
		r.steps--
		r.n++
		r.Put64(addr, r.n)
		r.Put64(r.stack, r.n)
	}
	return r.Memory.ReadPhys(b, addr)
}

// TestRestless: a thread that ran while it was read is read again.
func TestRestless(t *testing.T) {
	for steps, want := range map[int]bool{0: false, 1: false, 2: false, 100: true} {
		w := newWorld(change(func(m *machine) { m.panicked, m.threads = -1, 1 }))
		task, _, err := w.kernel(t, nil).FindTask(4000)
		if err != nil {
			t.Fatal(err)
		}
		d := layouttest.Dump(arch.AMD64, &restless{Memory: &w.mem, counter: w.phys(task.Addr + taskSwitches), stack: w.phys(task.SP + 400), steps: steps}, w.info.String(), kdump.Run{Addr: 0x1000, Size: 1 << 30})
		var b bytes.Buffer
		r, err := small.Write(&b, w.kernel(t, d), small.Options{PID: 4000})
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.ContainsFunc(r.Note.Missing, func(s string) bool { return strings.Contains(s, "ran while") }); got != want {
			t.Errorf("%d steps: missing %q", steps, r.Note.Missing)
		}
		of, err := vmcore.Open(bytes.NewReader(b.Bytes()), int64(b.Len()))
		if err != nil {
			t.Fatal(err)
		}
		if v, err := w.kernel(t, of).Space.Uint64(task.SP + 400); err != nil || steps == 2 && v != 2 {
			t.Errorf("%d steps: the stack is that of step %d, %v", steps, v, err)
		}
	}
}

// TestBudget: less room is kept to, down to what the notes need.
func TestBudget(t *testing.T) {
	for _, m := range crashes {
		w := newWorld(m)
		for _, n := range []int{64 << 10, 48 << 10, 32 << 10, 16 << 10, 2 << 10} {
			r, d := w.dump(t, small.Options{Budget: n})
			if _, ok := small.ParseNote(d); !ok || r.Note.Panic == "" || len(d.VMCoreInfo) == 0 {
				t.Errorf("%d: %+v", n, r.Note)
			}
		}
	}
}

// failing is a writer that fails.
type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestWriteFails(t *testing.T) {
	w, want := newWorld(usual), errors.New("full")
	if _, err := small.Write(failing{want}, w.kernel(t, nil), small.Options{}); !errors.Is(err, want) {
		t.Error(err)
	}
}

// TestPieces dumps what is left of real kernels: parts of their memory, with
// the structures that lead to tasks, modules and log.
func TestPieces(t *testing.T) {
	files, err := filepath.Glob("../layout/testdata/*.piece")
	if err != nil || len(files) < 4 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		p, err := layouttest.DecodePiece(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		d := p.Dump()
		for i := range 2 {
			d.CPUs = append(d.CPUs, kdump.CPU{Number: i, PRStatus: kdump.BlankPRStatus(d.Arch, i)})
		}
		k, err := layout.Open(d)
		if err != nil {
			t.Fatal(err)
		}
		k.UseSymbols(p.Symbol)
		if p.BTF != nil {
			if err := k.UseBTF(p.BTF); err != nil {
				t.Fatal(err)
			}
		}
		var b bytes.Buffer
		r, err := small.Write(&b, k, small.Options{})
		if err != nil || b.Len() > small.MaxSize || r.Messages < 100 || r.Note.Release == "" || p.BTF != nil && r.Note.Modules == "" {
			t.Errorf("%s: %v, %d bytes, %+v", file, err, b.Len(), r)
		}
		small, err := vmcore.Open(bytes.NewReader(b.Bytes()), int64(b.Len()))
		if err != nil {
			t.Fatal(err)
		}
		all, err := k.Log()
		if err != nil {
			t.Fatal(err)
		}
		of, err := layout.Open(small)
		if err != nil {
			t.Fatal(err)
		}
		if log, err := of.Log(); err != nil || len(log) != r.Messages || !slices.Equal(log, all[len(all)-len(log):]) {
			t.Errorf("%s: %d messages of %d: %v", file, len(log), len(all), err)
		}
	}
}

// FuzzSmall changes bytes of a kernel's memory: four bytes of input are an
// offset in the image, a width and a value.
func FuzzSmall(f *testing.F) {
	for how := range uint8(16) {
		f.Add(how, []byte{0, 0, 0, 0})
	}
	f.Add(uint8(3), []byte{1, 16, 8, 255, 2, 0, 1, 7})
	f.Fuzz(func(t *testing.T, how uint8, input []byte) {
		m := usual
		m.oldLog, m.irq, m.noTypes, m.messages, m.textBits, m.descBits = how&1 != 0, how&2 != 0, how&4 != 0, 50, 14, 8
		if how&8 != 0 {
			m.panicked = -1
		}
		w := newWorld(m)
		for ; len(input) >= 4; input = input[4:] {
			at := uint64(imagePhys) + 0x100000 + uint64(input[0])<<12 + uint64(input[1])<<4 + uint64(input[2]&15)
			var b [1]byte
			if n, _ := w.mem.ReadPhys(b[:], at); n == 1 {
				w.mem.Write(at, []byte{input[3]})
			}
		}
		w.dump(t, small.Options{})
		if how&8 != 0 {
			// A process may be lost, but then the error says so.
			if r, err := small.Write(io.Discard, w.kernel(t, nil), small.Options{PID: 4000}); err == nil && r.Size > small.MaxSize {
				t.Errorf("%d bytes", r.Size)
			}
		}
	})
}

// TestDamaged dumps kernels whose memory is damaged in more and more places.
// There is always a dump, and never one that is too large.
func TestDamaged(t *testing.T) {
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		m := usual
		m.oldLog, m.threads = seed%5 == 4, 4
		w := newWorld(m)
		for range 1 << (seed % 14) {
			w.mem.Damage(rnd)
		}
		for range seed {
			w.mem.Drop(imagePhys + 0x100000 + rnd.Uint64N(0x100000))
		}
		for i := range w.cpuList {
			if seed%3 == 2 {
				w.cpuList[i].PRStatus = w.cpuList[i].PRStatus[:rnd.IntN(337)]
			}
			if seed%7 == 6 && len(w.cpuList[i].PRStatus) == 336 {
				le.PutUint64(w.cpuList[i].PRStatus[112+19*8:], rnd.Uint64())
			}
		}
		w.dump(t, small.Options{})
	}
}
