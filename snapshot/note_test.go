package snapshot

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"procdump/arch"
)

// encodeNote is WriteNote into RAM. A size of 0 stands for NoteSize.
func encodeNote(p *Process, size int) ([]byte, error) {
	if size == 0 {
		var err error
		if size, err = NoteSize(p); err != nil {
			return nil, err
		}
	}
	b := bytes.NewBuffer(make([]byte, 0, size))
	if err := WriteNote(b, p, size); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func noteProcessFixture() *Process {
	day := time.Date(2024, 2, 29, 12, 30, 1, 5000, time.UTC)
	return &Process{
		System: System{Machine: arch.AMD64, OS: "linux", Host: "h", Release: "6.1", Version: "#1", Distro: "Debian", CPUs: 4,
			CPUName: "c", CPUVendor: "AuthenticAMD", CPUFamily: 25, CPUModel: 1, CPUStepping: 2, CPUSignature: 3, CPUFeatures: 1<<32 - 1,
			PageSize: 4096, BootTime: day, Memory: 1 << 40},
		PID: 7, PPID: 1, UID: 1<<32 - 1, GID: 5, Name: "na\"me", Exe: "/x", ExeDeleted: true, Args: []string{"a", "", "b\x01<&>\u2028"}, State: 'S', StartTime: day,
		Threads: []Thread{
			{TID: 7, Name: "t", State: 'D', UserTime: 5 * time.Microsecond, SystemTime: time.Hour, KernelStack: "k\n", WaitChannel: "w", Syscall: "0 0x1",
				StartTime: day, Nice: -5, Signal: 11, Pending: 1<<63 | 1, Blocked: 2, Stack: Range{1 << 47, 1 << 20}},
			{TID: 8},
		},
		Modules: []Module{
			{Range: Range{0x1000, 0x2000}, Path: "/bin/x", Deleted: true, BuildID: []byte{1, 2}, SOName: "so", Bias: 1<<64 - 4096, Dynamic: 5,
				ID: FileID{Dev: 1<<32 | 3, Inode: 1<<64 - 1, Size: 9, ModTime: day}},
		},
		Files:     []File{{FD: 0, Target: "/dev/null", Mode: 8192, Flags: 2, Pos: 1 << 62}},
		Exception: &Exception{TID: 7, Signal: 11, Code: 0xfffffffa, Addr: 1<<64 - 1, Params: []uint64{1<<63 + 1}},
		Texts:     map[string][]byte{"limits": []byte("l"), "cgroup": []byte("c"), "maps": []byte("large")},
		Info: Info{Version: 1, Tool: "procdump 1", Kind: "mini", Reason: "r", Comment: "c", CommandLine: []string{"procdump", "1"}, Time: day,
			PauseMicros: -1, Method: "m", LeftOut: []LeftOut{{Range{1, 2}, "a", "b"}}, LeftOutBytes: 2, Unreadable: []Range{{3, 4}},
			MissedThreads: []MissedThread{{9, "D", "why"}}, Warnings: []string{"w"}, Namespaces: map[string]string{"pid": "pid:[1]"},
			NSPID: []int{7, 1}, Container: "c0"},
	}
}

func TestNoteRoundTrip(t *testing.T) {
	p := noteProcessFixture()
	b, err := encodeNote(p, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(b) {
		t.Fatal("the padded note is no JSON document")
	}
	// A reader knows this much from the dump's standard parts.
	q := &Process{System: System{Machine: arch.AMD64}, Threads: []Thread{{TID: 7}, {TID: 8}}}
	if err := DecodeNote(q, append(b, 0, 0)); err != nil {
		t.Fatal(err)
	}
	delete(p.Texts, "maps")
	if !reflect.DeepEqual(p, q) {
		for i := range reflect.TypeFor[Process]().NumField() {
			if a, b := reflect.ValueOf(p).Elem().Field(i), reflect.ValueOf(q).Elem().Field(i); !reflect.DeepEqual(a.Interface(), b.Interface()) {
				t.Errorf("%s: %+v, want %+v", reflect.TypeFor[Process]().Field(i).Name, b, a)
			}
		}
	}
}

func TestNoteSize(t *testing.T) {
	p := noteProcessFixture()
	b, err := encodeNote(p, 0)
	if err != nil {
		t.Fatal(err)
	}
	size := len(b)
	if used := len(bytes.TrimRight(b, " ")); size != used+NoteReserve {
		t.Errorf("%d bytes for %d", size, used)
	}
	p.Info.PauseMicros = 1 << 62
	for _, n := range []int{0, 1, 100, 5000} {
		p.Info.Unreadable, p.Info.Warnings = nil, nil
		for i := range n {
			p.Info.Unreadable = append(p.Info.Unreadable, Range{uint64(i) << 40, 1 << 30})
			p.Info.Warnings = append(p.Info.Warnings, fmt.Sprint("warning ", i))
		}
		b, err := encodeNote(p, size)
		if err != nil || len(b) != size {
			t.Fatalf("%d facts more: %d bytes, %v; want %d", n, len(b), err, size)
		}
		var q Process
		if err := DecodeNote(&q, b); err != nil {
			t.Fatalf("%d facts more: %v", n, err)
		}
		if cut := len(q.Info.Unreadable) < n || len(q.Info.Warnings) < n; cut != q.Info.Truncated || q.Info.PauseMicros != 1<<62 {
			t.Errorf("%d facts more: %d and %d kept, truncated is %v, pause %d", n, len(q.Info.Unreadable), len(q.Info.Warnings), q.Info.Truncated, q.Info.PauseMicros)
		}
	}
	if len(p.Info.Unreadable) != 5000 {
		t.Error("WriteNote changes the process")
	}
	if b, err := encodeNote(p, 100); err == nil {
		t.Errorf("%d bytes fit into 100", len(b))
	}
}

// TestNoteSizeExact asks for every size round the smallest that is possible.
func TestNoteSizeExact(t *testing.T) {
	p := noteProcessFixture()
	p.Info.LeftOut, p.Info.Unreadable, p.Info.Warnings = nil, nil, nil
	b, _ := encodeNote(p, 0)
	least := len(bytes.TrimRight(b, " "))
	p.Info.Warnings = []string{"a", "b", "c"}
	for size := least - 2; size < least+80; size++ {
		b, err := encodeNote(p, size)
		if err == nil && (len(b) != size || !json.Valid(b)) {
			t.Fatalf("size %d: %d bytes", size, len(b))
		}
		if room := len(`,"truncated":true`); err != nil != (size < least+room) {
			t.Errorf("size %d of at least %d: %v", size, least+room, err)
		}
	}
}

// TestNoteStrangeFacts has facts that JSON cannot hold as they are.
func TestNoteStrangeFacts(t *testing.T) {
	p := noteProcessFixture()
	far := time.Unix(1<<40, 0) // any user may give a file such a time
	p.Modules[0].ID.ModTime, p.StartTime, p.System.BootTime, p.Threads[0].StartTime, p.Info.Time = far, far, far, time.Unix(-1<<40, 0), far
	p.Modules[0].Path = "/lib/\xe4\xff.so"
	p.Name = "\xff\x00"
	b, err := encodeNote(p, 0)
	if err != nil {
		t.Fatal(err)
	}
	q := &Process{Modules: []Module{{Range: Range{Addr: 0x1000}, Path: p.Modules[0].Path}}}
	if err := DecodeNote(q, b); err != nil {
		t.Fatal(err)
	}
	if !q.Modules[0].ID.ModTime.IsZero() || q.Modules[0].ID.Inode == 0 {
		t.Errorf("file %+v, want all but its time", q.Modules[0].ID)
	}
	if got := q.Modules[0].Path; got != p.Modules[0].Path {
		t.Errorf("path %q, want the bytes %q that the dump has elsewhere", got, p.Modules[0].Path)
	}
}

func TestDecodeNoteKeeps(t *testing.T) {
	b, err := encodeNote(noteProcessFixture(), 0)
	if err != nil {
		t.Fatal(err)
	}
	regs := arch.Registers{Machine: arch.I386}
	p := &Process{System: System{Machine: arch.I386}, Regions: []Region{{Path: "r"}}, Threads: []Thread{{TID: 99, Name: "kept"}, {TID: 8, Registers: regs}},
		Modules: []Module{{Range: Range{Addr: 0x1000}, Path: "other"}, {Range: Range{Addr: 0x9000}}}, Texts: map[string][]byte{"maps": []byte("m")}, Exception: &Exception{}}
	if err := DecodeNote(p, b); err != nil {
		t.Fatal(err)
	}
	if p.System.Machine != arch.I386 || len(p.Regions) != 1 || p.Threads[0].Name != "kept" || p.Threads[1].Registers.Machine != arch.I386 || string(p.Texts["maps"]) != "m" {
		t.Errorf("what the dump itself knows is lost: %+v", p)
	}
	if len(p.Modules) != 1 || p.Modules[0].Path != "/bin/x" || p.Exception.Signal != 11 {
		t.Errorf("modules %+v and exception %+v are not the note's", p.Modules, p.Exception)
	}
}

func TestDecodeNoteBad(t *testing.T) {
	for _, bad := range []string{"", "{", `{"threads":5}`, `{"exception":{"code":"x"}}`, `{"leftOut":[{"range":{"addr":"q"}}]}`, strings.Repeat("[", 100000)} {
		if err := DecodeNote(new(Process), []byte(bad)); err == nil {
			t.Errorf("%.20q: no error", bad)
		}
	}
}
