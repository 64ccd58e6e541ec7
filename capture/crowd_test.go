package capture

import (
	"os"
	"runtime"
	"testing"

	"procdump/arch"
	"procdump/dumpkind"
	"procdump/minidump"
	"procdump/snapshot"
)

// newCrowd is a process of many threads, each on used bytes of a stack of its
// own.
func newCrowd(threads int, used uint64) (*fakeSource, *fakeMemory) {
	src, m := newSource(1 << 20)
	p := src.p
	const distance = 1 << 20
	base := uint64(0x600000000000)
	var regions []snapshot.Region
	var runs []snapshot.Range
	for i := range uint64(threads) {
		st := snapshot.Range{Addr: base + i*distance, Size: used + page}
		regions, runs = append(regions, snapshot.Region{Range: st, Perm: rw}), append(runs, st)
		th := snapshot.Thread{TID: 5000 + int(i), Name: "one of many", Registers: arch.Registers{Machine: arch.AMD64}}
		th.Registers.SetGP("rsp", st.Addr+page)
		th.Registers.SetGP("rip", 0x10000010)
		vectors := make([]byte, 2688)
		for k := range vectors {
			vectors[k] = noise(i<<20 + uint64(k))
		}
		copy(vectors[464:], []byte{0xe7, 0, 0, 0, 0, 0, 0, 0}) // XCR0: which components there are
		th.Registers.Put(arch.NT_X86_XSTATE, vectors)
		th.Stack = snapshot.Range{Addr: st.Addr + page, Size: used}
		p.Threads = append(p.Threads, th)
	}
	// Between the mappings of newSource and their memory.
	cut, cutRuns := 0, 0
	for cut < len(p.Regions) && p.Regions[cut].Addr < base {
		cut++
	}
	for cutRuns < len(m.runs) && m.runs[cutRuns].Addr < base {
		cutRuns++
	}
	p.Regions = append(p.Regions[:cut:cut], append(regions, p.Regions[cut:]...)...)
	m.runs = append(m.runs[:cutRuns:cutRuns], append(runs, m.runs[cutRuns:]...)...)
	return src, m
}

// writtenAtResume counts the bytes that are in a job's files when its process
// goes on.
func writtenAtResume(j *Job, src *fakeSource, m *fakeMemory) *int64 {
	written := new(int64)
	src.onResume = func() {
		m.resumed.Store(true)
		for _, f := range j.files {
			if st, err := f.Stat(); err == nil {
				*written += st.Size()
			}
		}
	}
	return written
}

// TestRunManyThreads writes mini dumps that are too large to be kept in RAM:
// they are copied from the standing process, and are as small ones are.
func TestRunManyThreads(t *testing.T) {
	noLeak(t)
	const threads = 5000
	for _, name := range formats {
		t.Run(name, func(t *testing.T) {
			src, m := newCrowd(threads, page)
			src.p.Memory = fastMemory{m}
			j := &Job{Outputs: []Output{output(t, t.TempDir(), name, dumpkind.Mini, 1)}}
			written := writtenAtResume(j, src, m)
			res := run(t, j, src)
			m.resumed.Store(false)
			check(t, &res[0], m)
			if *written == 0 {
				t.Error("nothing was written when the process went on")
			}
			if res[0].Output.Mask.Format() == FormatMinidump && !res[0].Output.Mask.Compress() {
				checkMini(t, res[0].Path, src.p)
			}
		})
	}
}

// checkMini wants the dump to be one that Breakpad reads.
func checkMini(t *testing.T, path string, p *snapshot.Process) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	r, err := minidump.NewReader(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	const regions = 4096 // that Breakpad reads
	if list, err := r.MemoryList(); err != nil || len(list) != regions {
		t.Errorf("MemoryList of %d regions, want %d; %v", len(list), regions, err)
	}
	if h := r.Header; h.Flags&minidump.MiniDumpWithFullMemory != 0 {
		t.Errorf("flags %#x of a dump with full memory", h.Flags)
	}
	threads, err := r.Threads()
	if err != nil || len(threads) != len(p.Threads) {
		t.Fatalf("%d threads, want %d; %v", len(threads), len(p.Threads), err)
	}
	for i, th := range threads {
		if th.Stack.Range != p.Threads[i].Stack || th.Stack.Off == 0 {
			t.Fatalf("stack of thread %d is %v at %#x, want %v", i, th.Stack.Range, th.Stack.Off, p.Threads[i].Stack)
		}
	}
}

// TestRunKindsShareRAM has two small dumps of which RAM holds one.
func TestRunKindsShareRAM(t *testing.T) {
	noLeak(t)
	for _, tt := range []struct {
		kinds    []dumpkind.Kind
		buffered bool
	}{
		{[]dumpkind.Kind{dumpkind.Triage}, true},
		{[]dumpkind.Kind{dumpkind.Mini}, true},
		{[]dumpkind.Kind{dumpkind.Triage, dumpkind.Mini}, false},
	} {
		src, m := newCrowd(600, 8*page)
		j := &Job{}
		dir := t.TempDir()
		for _, k := range tt.kinds {
			j.Outputs = append(j.Outputs, output(t, dir, "x.core", k, len(tt.kinds)))
		}
		written := writtenAtResume(j, src, m)
		res := run(t, j, src)
		m.resumed.Store(false)
		if buffered := *written == 0; buffered != tt.buffered {
			t.Errorf("%v: %d bytes were written when the process went on", tt.kinds, *written)
		}
		for i := range res {
			if res[i].Err != nil {
				t.Error(res[i].Err)
			} else if tt.kinds[i] == dumpkind.Mini {
				check(t, &res[i], m)
			}
		}
	}
}

// TestRunRAM bounds what dumping thousands of threads allocates in all, garbage
// included: neither a copy of the memory nor the head is in RAM as a whole.
func TestRunRAM(t *testing.T) {
	for _, name := range formats {
		src, m := newCrowd(5000, page)
		src.p.Memory = fastMemory{m}
		for _, kind := range []dumpkind.Kind{dumpkind.Mini, dumpkind.Triage} {
			j := &Job{Outputs: []Output{output(t, t.TempDir(), name, kind, 1)}}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			res := run(t, j, src)
			runtime.ReadMemStats(&after)
			if res[0].Err != nil {
				t.Fatal(res[0].Err)
			}
			const limit = 48 << 20 // with a copy and a head in RAM it would be twice as much
			if n := after.TotalAlloc - before.TotalAlloc; n > limit {
				t.Errorf("%v %s: %d KiB of RAM for a dump of %d KiB", kind, name, n>>10, res[0].Full>>10)
			}
			m.resumed.Store(false)
			src.resumes.Store(0)
		}
	}
}
