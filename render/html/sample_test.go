package html

import (
	"fmt"
	"time"

	"procdump/inspect"
)

const app = "/opt/app/bin/app"

// frame is a function of a stack.
func frame(function, file string, line int, module string) inspect.Frame {
	pc := inspect.Address(0x401000)
	for _, c := range function {
		pc += inspect.Address(c)
	}
	return inspect.Frame{PC: pc, Function: function, Offset: 4, File: file, Line: line, Module: module, How: "cfi"}
}

// sample has something in every part of a report.
func sample() *inspect.Report {
	begin := time.Unix(1_700_000_000, 0)
	dumped := begin.Add(time.Hour)
	fault := inspect.Address(0x10)
	push := frame("List::push", "/src/list.cc", 42, app)
	store := frame("store", "/src/list.cc", 12, app)
	store.Inlined, store.PC = true, push.PC
	again := frame("walk", "/src/walk.cc", 7, app)
	handler := inspect.Frame{PC: 0x7f0000, Signal: true, Module: "/lib/libc.so.6", How: "signal"}
	main, start := frame("main", "/src/app.cc", 3, app), frame("_start", "", 0, app)
	wait, loop, thread := frame("__poll", "", 0, "/lib/libc.so.6"), frame("eventLoop", "/src/loop.cc", 9, app), frame("start_thread", "", 0, "/lib/libc.so.6")
	guess := frame("maybe", "", 0, app)
	guess.Guess, guess.How = true, "scan"
	var workers []inspect.Thread
	for i := range 20 {
		workers = append(workers, inspect.Thread{TID: 200 + i, Name: "worker", State: "S", CPUMicros: int64(20-i) * 1000})
	}
	recorder := inspect.Samples{Name: "CPU", Unit: "%", Limit: 80}
	for i := range 40 {
		recorder.Points = append(recorder.Points, inspect.Sample{Time: dumped.Add(time.Duration(i-40) * 250 * time.Millisecond), Value: float64(i * 3 % 100)})
	}
	r := &inspect.Report{
		Version: inspect.Version,
		Reason:  "Segmentation fault (SIGSEGV): write to 0x10: a null pointer plus 16, in List::push at list.cc:42",
		Process: inspect.Process{PID: 100, Name: "app", Exe: app, Args: []string{"app", "--serve"}, Environ: []string{"PATH=/bin", "HOME=/root"},
			Machine: "amd64", StartTime: &begin},
		Exception: &inspect.Exception{TID: 100, Signal: "SIGSEGV", Code: "SEGV_MAPERR", Address: &fault, What: "write to 0x10: a null pointer plus 16",
			Message: "the last words", Frame: &push},
		Dump:        inspect.Dump{Tool: "procdump 0.1.0", Kind: "mini", Time: &dumped},
		System:      inspect.System{OS: "linux", Host: "web1"},
		ThreadCount: 22,
		Groups: []inspect.Group{
			{Threads: []inspect.Thread{{TID: 100, Name: "app", State: "R", Blamed: true, Signal: "SIGSEGV", CPUMicros: 1_500_000}},
				Frames: []inspect.Frame{store, push, handler, again, again, again, again, main, start}, Complete: true},
			{Threads: workers, Frames: []inspect.Frame{wait, loop, thread}, Complete: true},
			{Threads: []inspect.Thread{{TID: 300, Name: "timer"}}, Frames: []inspect.Frame{wait, guess, thread}, End: "it goes on on another stack"},
		},
		Goroutines: &inspect.Goroutines{Count: 31, Groups: []inspect.GoroutineGroup{
			{Goroutines: []inspect.Goroutine{{ID: 7, Parent: 1, TID: 100, Panic: "a wrong turn"}}, State: "running", Frames: []inspect.Frame{push, main}, CreatedBy: &main, Complete: true},
			{Goroutines: make([]inspect.Goroutine, 30), State: "chan receive", Frames: []inspect.Frame{wait, main}, End: "it ends here"}}},
		Modules: []inspect.Module{{Path: app, Address: 0x400000, Size: 0x5000, BuildID: "0123456789abcdef0123456789abcdef01234567"},
			{Path: "/lib/libc.so.6", Address: 0x7ffff7c00000, Size: 0x200000, Deleted: true}},
		Files:    []inspect.File{{FD: 0, Target: "/dev/null"}, {FD: 3, Target: "socket:[1234]"}},
		Samples:  []inspect.Samples{recorder},
		Missing:  []inspect.Missing{{Address: 0x600000, Bytes: 4096, What: "/dev/dri/card0", Why: "device memory"}},
		Warnings: []string{"/lib/libc.so.6: the file has another build id"},
	}
	r.Memory = memory(
		inspect.Region{Address: 0x400000, Bytes: 0x5000, Resident: 0x4000, Perm: "r-xp", Kind: "image", Path: app},
		inspect.Region{Address: 0x600000, Bytes: 4 << 30, Resident: 1 << 30, Swapped: 4096, Perm: "rw-p", Kind: "heap", Path: "[heap]"},
		inspect.Region{Address: 0x7ffff7c00000, Bytes: 0x200000, Resident: 0x100000, Perm: "r-xp", Kind: "image", Path: "/lib/libc.so.6"},
		inspect.Region{Address: 0x7ffffffde000, Bytes: 0x21000, Resident: 0x3000, Perm: "rw-p", Kind: "stack", Path: "[stack]"})
	r.Memory.Allocator = allocator()
	return r
}

// allocator is that of two arenas, one of them damaged.
func allocator() *inspect.Allocator {
	threads, main := 3, inspect.Address(0x7ffff7dd0c60)
	return &inspect.Allocator{Found: inspect.BySymbol, Bytes: 4 << 30, Used: 3 << 30, Free: 1 << 30,
		Arenas: []inspect.Arena{
			{Address: main, Main: true, Threads: &threads, Heaps: 1, Bytes: 3 << 30, Used: 2 << 30, Free: 1 << 30, Top: 1 << 20, FreeBlocks: 65536, Partial: true, Locked: true},
			{Address: 0x7fffe8000030, Heaps: 17, Bytes: 1 << 30, Used: 1 << 30}},
		Mapped: &inspect.MappedBlocks{Count: 2, Bytes: 9 << 20},
		Damage: []inspect.HeapDamage{{Arena: &main, Address: 0x601230, Text: "the list of free blocks of 48 bytes leads to 0x4141414141414141, where no block can be"}}}
}

// memory is that of some mappings.
func memory(all ...inspect.Region) inspect.Memory {
	m := inspect.Memory{Regions: len(all), Map: all, Largest: all}
	at := map[string]int{}
	for _, g := range all {
		i, ok := at[g.Kind]
		if !ok {
			i = len(m.Kinds)
			at[g.Kind] = i
			m.Kinds = append(m.Kinds, inspect.MemoryKind{Kind: g.Kind})
		}
		k := &m.Kinds[i]
		k.Regions, k.Bytes, k.Resident, k.Swapped = k.Regions+1, k.Bytes+g.Bytes, k.Resident+g.Resident, k.Swapped+g.Swapped
		m.Bytes, m.Resident, m.Swapped = m.Bytes+g.Bytes, m.Resident+g.Resident, m.Swapped+g.Swapped
	}
	return m
}

// crowd is a process of n threads with n different stacks.
func crowd(n int) *inspect.Report {
	r := sample()
	var regions []inspect.Region
	for i := range n {
		g := inspect.Group{Threads: []inspect.Thread{{TID: 1000 + i, Name: fmt.Sprint("pool-", i%7), State: "S", CPUMicros: int64(n-i) * 100}}, Complete: true}
		for k := range 30 {
			name := fmt.Sprintf("namespace::Class%d<std::vector<int> >::method%d", (i>>(k/6))%50, k)
			g.Frames = append(g.Frames, frame(name, fmt.Sprintf("/src/some/folder/file%d.cc", k), i%400+1, app))
		}
		g.Frames = append(g.Frames, frame("start_thread", "", 0, "/lib/libc.so.6"))
		r.Groups = append(r.Groups, g)
		base := inspect.Address(0x7f0000000000 + i*0x900000)
		regions = append(regions, inspect.Region{Address: base, Bytes: 4096, Perm: "---p", Kind: "reserved"},
			inspect.Region{Address: base + 4096, Bytes: 8 << 20, Resident: 16 << 10, Perm: "rw-p", Kind: "stack"})
	}
	r.ThreadCount += n
	r.Memory = memory(regions...)
	return r
}

// hostile has in each text what would do harm if it were taken for markup.
func hostile() *inspect.Report {
	r := sample()
	const bad = "</script></style></title><script>window.harmed=1</script><img src=x onerror=\"window.harmed=1\">\"'`{{.}}${1}\x00\x1b[31m\u202etxt\xff--><!--"
	const address = "javascript:window.harmed=1"
	r.Reason, r.Dump.Kind, r.Dump.Tool, r.Dump.Comment, r.System.Host = bad, bad, bad, bad, bad
	r.Process.Name, r.Process.Exe, r.Process.Args, r.Process.Environ = bad, bad, []string{bad, address}, []string{bad, "A=" + bad}
	r.Exception.Message, r.Exception.What, r.Exception.Signal = bad, bad, bad
	r.Memory.Allocator.Damage[0].Text = bad
	for i := range r.Groups {
		g := &r.Groups[i]
		g.End = bad
		for k := range g.Threads {
			g.Threads[k].Name, g.Threads[k].State, g.Threads[k].WaitChannel = bad, bad, bad
		}
		for k := range g.Frames {
			f := &g.Frames[k]
			f.Function, f.File, f.Module, f.How = bad+f.Function, bad, bad, bad
		}
	}
	for i := range r.Goroutines.Groups {
		g := &r.Goroutines.Groups[i]
		g.State, g.End = bad, bad
		g.Frames = []inspect.Frame{frame(bad, bad, 1, bad)}
		g.CreatedBy = &g.Frames[0]
	}
	r.Goroutines.Groups[0].Goroutines[0].Panic = bad
	for i := range r.Modules {
		r.Modules[i].Path, r.Modules[i].BuildID = bad, bad
	}
	for i := range r.Memory.Map {
		r.Memory.Map[i].Path, r.Memory.Map[i].Perm, r.Memory.Map[i].Kind = bad, bad, bad
	}
	for i := range r.Memory.Kinds {
		r.Memory.Kinds[i].Kind = bad
	}
	r.Files[0].Target, r.Files[1].Target = bad, address
	r.Samples[0].Name, r.Samples[0].Unit = bad, bad
	r.Missing[0].What, r.Missing[0].Why, r.Warnings[0] = bad, bad, bad
	return r
}
