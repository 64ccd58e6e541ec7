package render

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"procdump/inspect"
	"procdump/inspect/diff"
	"procdump/render/page"
)

var update = flag.Bool("update", false, "write the golden files")

// sample has something in every part of a report.
func sample() *inspect.Report {
	start, end := time.Unix(1_700_000_000, 0), time.Unix(1_700_100_000, 0)
	addr, at, low := inspect.Address(0x10), inspect.Address(0x1149), inspect.Address(0xd44a3)
	push := inspect.Frame{PC: 0x555555555149, SP: 0x7fffffffe000, Function: "List::push", Linkage: "_ZN4List4pushEi", Offset: 9,
		Module: "/opt/app/bin/app", ModuleOffset: &at, File: "/src/list.cc", Line: 42, How: "registers"}
	store := push
	store.Function, store.Linkage, store.Line, store.Inlined = "store", "", 12, true
	threads, arena := 3, inspect.Address(0x7ffff7dd0c60)
	handler := inspect.Frame{PC: 0x7ffff7c3c050, Function: "__restore_rt", Module: "/lib/libc.so.6", Signal: true, How: "cfi"}
	again := inspect.Frame{PC: 0x555555555200, Function: "walk(Tree<std::map<std::string, std::vector<int> > >&)", Offset: 5, Module: "/opt/app/bin/app", How: "cfi"}
	idle := inspect.Frame{PC: 0x7ffff7cd44a3, Module: "/lib/libstdc++.so.6", ModuleOffset: &low, How: "registers"}
	guess := inspect.Frame{PC: 0x555555555300, Function: "worker", Offset: 0x20, Module: "/opt/app/bin/app", How: "scan", Guess: true}
	var workers []inspect.Thread
	for i := range 20 {
		workers = append(workers, inspect.Thread{TID: 200 + i, Name: "worker", State: "S", CPUMicros: int64(20-i) * 1000})
	}
	var waiters []inspect.Goroutine
	for i := range 29 {
		waiters = append(waiters, inspect.Goroutine{ID: uint64(20 + i), Parent: 7, WaitMicros: int64(100+i*10) * 1e6})
	}
	return &inspect.Report{
		Version: inspect.Version,
		Reason:  "Segmentation fault (SIGSEGV): write to 0x10: a null pointer plus 16, in List::push at list.cc:42",
		Process: inspect.Process{PID: 100, PPID: 1, Name: "app", Exe: "/opt/app/bin/app", Args: []string{"app", "--serve", "\x1b[31mred"},
			Environ: []string{"HOME=/root"}, UID: 1000, Machine: "amd64", State: "R", StartTime: &start, UserMicros: 61_500_000, SystemMicros: 250_000},
		Exception: &inspect.Exception{TID: 100, Signal: "SIGSEGV", Code: "SEGV_MAPERR", Address: &addr,
			What: "write to 0x10: a null pointer plus 16", Message: "the last words", Frame: &push},
		Dump: inspect.Dump{Tool: "procdump 0.1.0", Kind: "mini", Reason: "Unhandled: SIGSEGV.SEGV_MAPERR at 0x10", Comment: "on the second try",
			Time: &end, PauseMicros: 2800, LeftOutBytes: 3 << 20},
		System:      inspect.System{OS: "linux", Host: "web1", Release: "6.1.0", Distro: "Debian GNU/Linux 12", CPUs: 2, CPU: "Example"},
		ThreadCount: 21,
		Groups: []inspect.Group{
			{Threads: []inspect.Thread{{TID: 100, Name: "app", State: "R", Blamed: true, Signal: "SIGSEGV", CPUMicros: 1_500_000}},
				Frames: []inspect.Frame{store, push, handler, again, again, again, again, again, guess}, End: "it goes on on another stack"},
			{Threads: workers, Frames: []inspect.Frame{idle}, Complete: true},
		},
		Goroutines: &inspect.Goroutines{Count: 31, Groups: []inspect.GoroutineGroup{
			{Goroutines: []inspect.Goroutine{{ID: 7, Parent: 1, TID: 100, Panic: "a wrong turn"}}, State: "running", Frames: []inspect.Frame{push}, CreatedBy: &again, Complete: true},
			{Goroutines: waiters, State: "chan receive", Frames: []inspect.Frame{push}, CreatedBy: &push, Complete: true},
			{Goroutines: []inspect.Goroutine{{ID: 2, WaitMicros: 61e6}}, State: "force gc (idle)", System: true, Frames: []inspect.Frame{idle}, End: "it ends here"}}},
		Modules: []inspect.Module{
			{Path: "/opt/app/bin/app", Address: 0x555555554000, Size: 0x5000, BuildID: "0123456789abcdef0123456789abcdef01234567"},
			{Path: "/lib/libc.so.6", Address: 0x7ffff7c00000, Size: 0x200000, Deleted: true}},
		Memory: inspect.Memory{Regions: 3, Bytes: 5 << 30, Resident: 1 << 20, Swapped: 4096,
			Kinds: []inspect.MemoryKind{{Kind: "heap", Regions: 1, Bytes: 4 << 30, Resident: 1 << 20, Swapped: 4096}, {Kind: "image", Regions: 2, Bytes: 1 << 30}},
			Map: []inspect.Region{{Address: 0x555555554000, Bytes: 1 << 30, Perm: "r-xp", Kind: "image", Path: "/opt/app/bin/app"},
				{Address: 0x555555600000, Bytes: 4 << 30, Resident: 1 << 20, Swapped: 4096, Perm: "rw-p", Kind: "heap", Path: "[heap]"}},
			Largest: []inspect.Region{{Address: 0x555555600000, Bytes: 4 << 30, Resident: 1 << 20, Perm: "rw-p", Kind: "heap", Path: "[heap]"}},
			Allocator: &inspect.Allocator{Found: inspect.ByShape, Bytes: 4 << 30, Used: 3 << 30, Free: 1 << 30,
				Arenas: []inspect.Arena{
					{Address: arena, Main: true, Threads: &threads, Heaps: 1, Bytes: 3 << 30, Peak: 3 << 30, Used: 2 << 30, Free: 1 << 30, Top: 1 << 20,
						FreeBlocks: 65536, Fast: 4800, Locked: true, Partial: true},
					{Address: 0x7fffe8000030, Heaps: 17, Bytes: 1 << 30, Used: 1 << 30}},
				Mapped: &inspect.MappedBlocks{Count: 2, Bytes: 9 << 20},
				Damage: []inspect.HeapDamage{{Arena: &arena, Address: 0x601230, Text: "the list of free blocks of 48 bytes leads to 0x4141414141414141, where no block can be"},
					{Address: 0x7fffe8000030, Text: "the list of arenas leads to what is none", Changing: true}}}},
		Samples:  []inspect.Samples{{Name: "CPU", Unit: "%", Limit: 80, Points: []inspect.Sample{{Time: end.UTC(), Value: 91.5}}}},
		Missing:  []inspect.Missing{{Address: 0x7ffff7fc0000, Bytes: 8192, What: "/dev/dri/card0", Why: "device memory"}},
		Files:    []inspect.File{{FD: 0, Target: "/dev/null"}, {FD: 3, Target: "socket:[1234]"}},
		Warnings: []string{"/lib/libc.so.6: the file has another build id (00) than what was mapped (" + strings.Repeat("01", 20) + ")"},
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test ./render -update writes it):\n%s", name, got)
	}
}

func TestText(t *testing.T) {
	var b bytes.Buffer
	if err := Text(&b, sample()); err != nil {
		t.Fatal(err)
	}
	checkLines(t, b.String())
	golden(t, "report.golden", b.Bytes())
}

// checkLines holds a text to what every text must be.
func checkLines(t *testing.T, text string) {
	t.Helper()
	for line := range strings.SplitSeq(text, "\n") {
		if n := utf8.RuneCountInString(line); n > page.Width || line != strings.TrimRight(line, " ") || strings.ContainsAny(line, "\x1b\t\r") {
			t.Errorf("%d characters: %q", n, line)
		}
	}
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	if err := JSON(&b, sample()); err != nil {
		t.Fatal(err)
	}
	if !json.Valid(b.Bytes()) {
		t.Error("it is no JSON")
	}
	golden(t, "report.json.golden", b.Bytes())
}

// TestMuch holds the text's length for reports of any size.
func TestMuch(t *testing.T) {
	r := sample()
	long := strings.Repeat("verylong", 1000)
	for i := range 500 {
		g := inspect.Group{Threads: r.Groups[1].Threads, Frames: nil}
		for k := range 1000 {
			g.Frames = append(g.Frames, inspect.Frame{PC: inspect.Address(k), Function: fmt.Sprint("f", i, "_", k)})
		}
		r.Groups = append(r.Groups, g)
		r.Modules = append(r.Modules, inspect.Module{Path: "/" + long})
		r.Files = append(r.Files, inspect.File{Target: long})
		r.Warnings = append(r.Warnings, "w")
	}
	r.Groups[0].Frames[0].Function = long
	r.Process.Args = []string{long}
	var b bytes.Buffer
	if err := Text(&b, r); err != nil {
		t.Fatal(err)
	}
	checkLines(t, b.String())
	if n := strings.Count(b.String(), "\n"); n > 6000 {
		t.Errorf("%d lines", n)
	}
	b.Reset()
	if err := Text(&b, &inspect.Report{}); err != nil {
		t.Fatal(err)
	}
	checkLines(t, b.String())
}

func TestCycle(t *testing.T) {
	frames := func(names string) []inspect.Frame {
		var all []inspect.Frame
		for _, n := range names {
			all = append(all, inspect.Frame{Function: string(n), PC: inspect.Address(n)})
		}
		return all
	}
	for in, want := range map[string][2]int{"aaab": {1, 3}, "aab": {0, 0}, "abababc": {2, 3}, "abcdabcdabcd": {4, 3}, "": {0, 0}, "abc": {0, 0}} {
		if n, times := Cycle(frames(in)); n != want[0] || times != want[1] {
			t.Errorf("%q: %d frames %d times, want %v", in, n, times, want)
		}
	}
}

// TestObject wants what json.Encoder writes.
func TestObject(t *testing.T) {
	type part struct {
		N    int    `json:"n,omitempty"`
		Text string `json:"text"`
	}
	for _, r := range []any{sample(), &inspect.Report{}, &inspect.Report{Groups: []inspect.Group{}, Modules: []inspect.Module{{}}}, grown(), &diff.Report{},
		&struct {
			Empty, None, Named []part `json:"-"`
		}{},
		&struct {
			None  *part          `json:"none"`
			Left  *part          `json:"left,omitempty"`
			Part  *part          `json:"part,omitempty"`
			Zero  part           `json:"zero,omitempty"`
			Parts []*part        `json:"parts"`
			Map   map[string]int `json:"map,omitempty"`
			All   [0]int         `json:"all,omitempty"`
			Any   any            `json:"any"`
		}{Part: &part{1, "<\u2028\xff>"}, Parts: []*part{nil, {}}},
		&struct {
			Nothing int `json:"nothing,omitempty"`
		}{},
	} {
		var got, want bytes.Buffer
		e := json.NewEncoder(&want)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(r); err != nil {
			t.Fatal(err)
		}
		if err := page.JSON(&got, r); err != nil || !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Errorf("%T: %v\n%s\nnot\n%s", r, err, &got, &want)
		}
	}
}
