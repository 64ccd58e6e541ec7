package diff

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"procdump/inspect"
	"procdump/snapshot"
)

var begin = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// look is a process with so many workers in one stack and a heap of so many MiB.
func look(workers int, heap uint64, files ...string) *Subject {
	p := &snapshot.Process{PID: 100, Name: "app", Exe: "/bin/app", StartTime: begin, Regions: []snapshot.Region{
		{Range: snapshot.Range{Addr: 0x400000, Size: 0x1000}, Perm: snapshot.Read | snapshot.Execute, Path: "/bin/app", Inode: 1, Flags: snapshot.Image, Resident: 0x1000},
		{Range: snapshot.Range{Addr: 0x500000, Size: heap << 20}, Perm: snapshot.Read | snapshot.Write, Path: "[heap]", Resident: heap << 19, Swapped: 4096},
	}}
	at := begin.Add(time.Duration(workers) * time.Minute)
	r := &inspect.Report{Dump: inspect.Dump{Kind: "full", Time: &at}}
	main := inspect.Group{Threads: []inspect.Thread{{TID: 100}}, Frames: []inspect.Frame{{Function: "read"}, {Function: "main"}}}
	pool := inspect.Group{Frames: []inspect.Frame{{Function: "wait"}, {Function: "worker"}, {Function: "", Guess: true}}}
	p.Threads = []snapshot.Thread{{TID: 100, Name: "app", StartTime: begin}}
	for i := range workers {
		p.Threads = append(p.Threads, snapshot.Thread{TID: 200 + i, Name: "worker", StartTime: begin})
		pool.Threads = append(pool.Threads, inspect.Thread{TID: 200 + i})
	}
	r.Groups = []inspect.Group{main, pool}
	for i, f := range files {
		p.Files = append(p.Files, snapshot.File{FD: i, Target: f})
	}
	return &Subject{p, r}
}

func TestCompare(t *testing.T) {
	a, b := look(2, 4, "/dev/null", "socket:[1]"), look(5, 64, "/dev/null", "socket:[2]", "socket:[3]", "/tmp/log", "/tmp/log")
	r := Compare(a, b)
	if k := r.Memory.Kinds; len(k) != 1 || k[0].Name != "heap" || k[0].Growth() != 30<<20 {
		t.Errorf("%+v", k)
	}
	if n := r.Memory.Names; len(n) != 1 || n[0].Name != "[heap]" || n[0].After.Bytes-n[0].Before.Bytes != 60<<20 {
		t.Errorf("%+v", n)
	}
	if len(r.ThreadsBorn) != 3 || r.ThreadsBorn[0] != (Thread{202, "worker"}) || len(r.ThreadsGone) != 0 {
		t.Errorf("%+v, %+v", r.ThreadsBorn, r.ThreadsGone)
	}
	if s := r.Stacks; len(s) != 1 || strings.Join(s[0].Functions, " ") != "wait worker" || s[0].Before != 2 || s[0].After != 5 {
		t.Errorf("%+v", s)
	}
	if f := r.Files; len(f) != 2 || f[0] != (File{"/tmp/log", 0, 2}) || f[1] != (File{"sockets", 1, 2}) {
		t.Errorf("%+v", f)
	}
	if want := "+30720 KiB of memory, most of all [heap]; +3 threads, +3 of them in wait; +3 open files, +2 of them /tmp/log"; r.Summary != want {
		t.Errorf("%s", r.Summary)
	}
	if len(r.Warnings) != 0 {
		t.Errorf("%q", r.Warnings)
	}
	back := Compare(b, a)
	if len(back.ThreadsGone) != 3 || back.Stacks[0].After != 2 || back.Memory.Kinds[0].Growth() != -30<<20 ||
		len(back.Warnings) != 1 || !strings.Contains(back.Warnings[0], "older") {
		t.Errorf("%+v", back)
	}
	if same := Compare(a, a); same.Stacks == nil || same.Files == nil || same.Summary != "Nothing grew or shrank: the same memory, threads and files" ||
		len(same.Stacks)+len(same.Files)+len(same.Memory.Kinds)+len(same.Memory.Names) != 0 {
		t.Errorf("%+v", same)
	}
}

// TestReusedNumber: a thread that began later is another, whatever its number.
func TestReusedNumber(t *testing.T) {
	a, b := look(1, 4), look(1, 4)
	b.Process.Threads[1].StartTime = begin.Add(time.Hour)
	if r := Compare(a, b); len(r.ThreadsBorn) != 1 || len(r.ThreadsGone) != 1 || r.ThreadsBorn[0].TID != 200 {
		t.Errorf("%+v", r)
	}
}

func TestIncomparable(t *testing.T) {
	a, b := look(1, 4), look(1, 8)
	b.Process.PID = 101
	for i := range b.Process.Regions {
		b.Process.Regions[i].Resident, b.Process.Regions[i].Swapped = 0, 0
	}
	r := Compare(a, b)
	if want := "+4096 KiB of memory, most of all [heap]"; r.Summary != want || len(r.Memory.Names) != 1 || r.Memory.Names[0].Before.Resident != 0 {
		t.Errorf("%s; %+v", r.Summary, r.Memory.Names)
	}
	if w := strings.Join(r.Warnings, "\n"); !strings.Contains(w, "two processes") || !strings.Contains(w, "only one of them") {
		t.Errorf("%q", w)
	}
}

// TestUnknownFiles: a look that names no open files, as cores of the kernel and
// triage dumps, does not say that they were opened since.
func TestUnknownFiles(t *testing.T) {
	a, b := look(1, 4), look(1, 4, "/dev/null", "socket:[1]")
	for _, pair := range [][2]*Subject{{a, b}, {b, a}} {
		r := Compare(pair[0], pair[1])
		if len(r.Files) != 0 || r.Summary != "Nothing grew or shrank: the same memory and threads" ||
			len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "only one of them names open files") {
			t.Errorf("%s; %+v, %q", r.Summary, r.Files, r.Warnings)
		}
	}
}

// TestEqualSums: other threads are not the same ones, though they are as many.
func TestEqualSums(t *testing.T) {
	a, b := look(1, 4, "/dev/null"), look(1, 4, "/dev/null")
	b.Process.Threads[1].TID = 300
	if r := Compare(a, b); r.Summary != "Nothing grew or shrank in all: as much memory, as many threads and files as before, but not the same" {
		t.Error(r.Summary)
	}
}

// TestReserved: address space without a page in RAM is not what grew most, where
// it is known what is in RAM.
func TestReserved(t *testing.T) {
	a, b := look(1, 4), look(1, 64)
	b.Process.Regions = append(b.Process.Regions, snapshot.Region{Range: snapshot.Range{Addr: 1 << 40, Size: 1 << 36}})
	r := Compare(a, b)
	if n := r.Memory.Names; !strings.HasPrefix(r.Summary, "+30720 KiB of memory, most of all [heap]") || len(n) != 2 || n[0].Name != "[heap]" {
		t.Errorf("%s; %+v", r.Summary, n)
	}
}

// TestSame: what did not change is an empty array of the object in JSON, for
// programs that go through it.
func TestSame(t *testing.T) {
	text, err := json.Marshal(Compare(look(1, 4), look(1, 4)))
	if err != nil || strings.Contains(string(text), "null") {
		t.Errorf("%s, %v", text, err)
	}
}
