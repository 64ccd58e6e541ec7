package elfcore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"reflect"
	"testing"
	"time"

	"procdump/arch"
	"procdump/snapshot"
)

const page = 4096

// fakeMemory holds a byte for each address, which depends on the address only.
type fakeMemory struct {
	bad []snapshot.Range // cannot be read
}

func byteAt(addr uint64) byte { return byte(addr>>12)*31 ^ byte(addr)*7 ^ byte(addr>>20) }

func (m fakeMemory) ReadMemory(p []byte, addr uint64) (int, error) {
	for i := range p {
		a := addr + uint64(i)
		for _, b := range m.bad {
			if b.Contains(a) {
				return i, &snapshot.MemoryError{Addr: a, Err: snapshot.ErrNotMapped}
			}
		}
		p[i] = byteAt(a)
	}
	return len(p), nil
}

func (m fakeMemory) Extents(r snapshot.Range) ([]snapshot.Extent, error) {
	return []snapshot.Extent{{Range: r, Kind: snapshot.ExtentPresent}}, nil
}

// fill makes n bytes that differ with seed.
func fill(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = seed + byte(i)*13
	}
	return b
}

// extraSets are the register sets beside the general-purpose ones, with the
// sizes of formats in use.
func extraSets(m arch.Machine, seed byte) []arch.Regset {
	switch m {
	case arch.AMD64:
		return []arch.Regset{{Type: arch.NT_PRFPREG, Data: fill(512, seed)},
			{Type: arch.NT_X86_XSTATE, Data: fill(2432, seed)}, {Type: arch.NT_X86_XSAVE_LAYOUT, Data: fill(72, seed)}}
	case arch.I386:
		return []arch.Regset{{Type: arch.NT_PRFPREG, Data: fill(108, seed)}, {Type: arch.NT_PRXFPREG, Data: fill(512, seed)},
			{Type: arch.NT_X86_XSTATE, Data: fill(2432, seed)}, {Type: arch.NT_386_TLS, Data: fill(48, seed)}}
	}
	return []arch.Regset{{Type: arch.NT_PRFPREG, Data: fill(528, seed)}, {Type: arch.NT_ARM_TLS, Data: fill(16, seed)},
		{Type: arch.NT_ARM_HW_BREAK, Data: fill(264, seed)}, {Type: arch.NT_ARM_SYSTEM_CALL, Data: fill(4, seed)}}
}

// synthetic makes a process with everything that a core can say.
func synthetic(m arch.Machine, threads int) *snapshot.Process {
	t0 := time.Unix(1700000000, 0).UTC()
	p := &snapshot.Process{
		System: snapshot.System{Machine: m, OS: "linux", Host: "box", Release: "6.1.0", CPUs: 4, PageSize: page, BootTime: t0},
		PID:    4000, PPID: 30, PGID: 4001, SID: 29, UID: 1000, GID: 1001, Name: "synthetic", Exe: "/usr/bin/synthetic",
		Args: []string{"synthetic", "-v", "one two"}, State: 'S', Nice: -5, Flags: 0x400100, StartTime: t0.Add(time.Hour),
		UserTime: 90 * time.Second, SystemTime: 1500 * time.Millisecond,
		Texts: map[string][]byte{"limits": []byte("Max cpu\n")}, Memory: fakeMemory{},
	}
	p.Info = snapshot.Info{Version: snapshot.InfoVersion, Tool: "procdump 0", Kind: "full", Reason: "Manual dump", Time: t0, PauseMicros: -1}
	base := uint64(0x400000)
	add := func(size uint64, perm snapshot.Perm, path string, off uint64) *snapshot.Region {
		p.Regions = append(p.Regions, snapshot.Region{Range: snapshot.Range{Addr: base, Size: size}, Perm: perm, Path: path, Offset: off})
		base += size
		r := &p.Regions[len(p.Regions)-1]
		if isFile(r) {
			r.Dev, r.Inode = 8<<32|1, 77
		}
		return r
	}
	add(2*page, snapshot.Read, p.Exe, 0).Flags = snapshot.Image
	add(3*page, snapshot.Read|snapshot.Execute, p.Exe, 2*page).Flags = snapshot.Image
	add(page, snapshot.Read|snapshot.Write, p.Exe, 5*page).Flags = snapshot.Image
	add(4*page, snapshot.Read|snapshot.Write, "", 0)
	add(4*page, snapshot.Read|snapshot.Write, "[heap]", 0).Resident = 2 * page
	base += 16 * page
	lib := add(page, snapshot.Read|snapshot.Execute, "/tmp/lib odd\n\\012 (deleted)", 0)
	lib.Deleted, lib.Inode = true, 78
	add(page, 0, "", 0)
	add(2*page, snapshot.Read|snapshot.Write|snapshot.Shared, "/dev/shm/x (deleted)", 8*page)
	base += page
	stack := add(64*page, snapshot.Read|snapshot.Write, "[stack]", 0)
	stack.Flags = snapshot.GrowsDown
	p.Modules = []snapshot.Module{{Range: snapshot.Range{Addr: 0x400000, Size: 6 * page}, Path: p.Exe, BuildID: fill(20, 3),
		SOName: "", Bias: 0x400000, Dynamic: 0x405100, ID: snapshot.FileID{Dev: 8<<32 | 1, Inode: 77, Size: 20480, ModTime: t0}},
		{Range: lib.Range, Path: lib.Path, Deleted: true, SOName: "libodd.so", ID: snapshot.FileID{Inode: 78}}}
	words := []uint64{atPagesz, page, atEntry, 0x402000, 0, 0}
	for _, w := range words {
		b := binary.LittleEndian.AppendUint64(nil, w)
		p.Auxv = append(p.Auxv, b[:m.PointerSize()]...)
	}
	for i := range threads {
		p.Threads = append(p.Threads, syntheticThread(m, i, stack.Range, t0))
	}
	return p
}

func syntheticThread(m arch.Machine, i int, stack snapshot.Range, t0 time.Time) snapshot.Thread {
	t := snapshot.Thread{TID: 4000 + i, Name: fmt.Sprintf("worker %d", i), State: 'S', Pending: 1 << (i % 64), Blocked: 0xffff_0000_1234_0001,
		UserTime: time.Duration(i) * time.Millisecond, SystemTime: time.Duration(i) * time.Second, StartTime: t0, Nice: i % 5,
		WaitChannel: "futex_wait"}
	t.Registers.Machine = m
	t.Registers.Put(arch.NT_PRSTATUS, fill(m.GPSize(), byte(i)))
	sp := map[arch.Machine]string{arch.AMD64: "rsp", arch.I386: "esp", arch.ARM64: "sp"}[m]
	t.Registers.SetGP(sp, stack.Addr+uint64(i%8)*page+256)
	t.Stack = snapshot.Range{Addr: stack.Addr + uint64(i%8)*page + 256 - m.RedZone()}
	t.Stack.Size = stack.End() - t.Stack.Addr
	t.Registers.Sets = append(t.Registers.Sets, extraSets(m, byte(i))...)
	if i%3 == 2 {
		t.Siginfo, t.Signal = fill(128, byte(i)|1), 10
	}
	return t
}

// regionRanges are the ranges of all regions, neighbours joined.
func regionRanges(p *snapshot.Process) []snapshot.Range {
	var rs []snapshot.Range
	for _, r := range p.Regions {
		rs = append(rs, r.Range)
	}
	return snapshot.MergeRanges(rs, 0)
}

// write makes a core of p in RAM through a Layout, as the capture pipeline does.
func write(t testing.TB, p *snapshot.Process, ranges []snapshot.Range) []byte {
	t.Helper()
	l, err := NewLayout(p, ranges)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, l.Size())
	for _, pl := range l.Placements() {
		if _, err := p.Memory.ReadMemory(b[pl.Off:pl.Off+int64(pl.Size)], pl.Addr); err != nil {
			t.Fatal(err)
		}
	}
	h, err := head(l)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(h)) != l.HeadSize() {
		t.Fatalf("head of %d bytes, HeadSize %d", len(h), l.HeadSize())
	}
	copy(b, h)
	return b
}

// head is what WriteHead writes.
func head(l *Layout) ([]byte, error) {
	var b bytes.Buffer
	err := l.WriteHead(&b)
	return b.Bytes(), err
}

// open opens a core in RAM.
func open(t testing.TB, b []byte) *Reader {
	t.Helper()
	r, err := NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// process opens a core in RAM whose process must be read without a warning.
func process(t testing.TB, b []byte) *snapshot.Process {
	t.Helper()
	p, warnings := open(t, b).Process()
	for _, w := range warnings {
		t.Errorf("warning: %v", w)
	}
	return p
}

// diff reports each field in which two structures of one type differ.
func diff(t testing.TB, what string, got, want any) {
	t.Helper()
	g, w := reflect.ValueOf(got), reflect.ValueOf(want)
	if _, isTime := got.(time.Time); g.Kind() != reflect.Struct || isTime {
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %.2000v\nwant %.2000v", what, fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want))
		}
		return
	}
	for i := range g.NumField() {
		diff(t, what+"."+g.Type().Field(i).Name, g.Field(i).Interface(), w.Field(i).Interface())
	}
}
