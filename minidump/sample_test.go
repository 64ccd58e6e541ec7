package minidump

import (
	"encoding/binary"
	"errors"
	"time"

	"procdump/arch"
	"procdump/snapshot"
)

// bytesMemory is memory made of a function of the address.
type bytesMemory []snapshot.Range

func memoryByte(addr uint64) byte { return byte(addr*31 + addr>>8) }

func (m bytesMemory) ReadMemory(p []byte, addr uint64) (int, error) {
	for i := range p {
		at, ok := addr+uint64(i), false
		for _, r := range m {
			ok = ok || r.Contains(at)
		}
		if !ok {
			return i, &snapshot.MemoryError{Addr: at, Err: snapshot.ErrNotMapped}
		}
		p[i] = memoryByte(at)
	}
	return len(p), nil
}

func (m bytesMemory) Extents(snapshot.Range) ([]snapshot.Extent, error) {
	return nil, errors.ErrUnsupported
}

// pattern returns n bytes of a sequence that depends on seed.
func pattern(n, seed int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*13 + seed*7 + 1)
	}
	return b
}

// sampleRegisters has every regset of the machine, all of different bytes.
func sampleRegisters(m arch.Machine, pc, sp uint64, seed int) arch.Registers {
	r := arch.Registers{Machine: m}
	r.Put(arch.NT_PRSTATUS, pattern(m.GPSize(), seed))
	r.SetGP(map[arch.Machine]string{arch.AMD64: "rip", arch.I386: "eip", arch.ARM64: "pc"}[m], pc)
	r.SetGP(map[arch.Machine]string{arch.AMD64: "rsp", arch.I386: "esp", arch.ARM64: "sp"}[m], sp)
	switch m {
	case arch.AMD64:
		r.Put(arch.NT_PRFPREG, pattern(512, seed+1))
		r.Put(arch.NT_X86_XSTATE, pattern(2432, seed+2))
	case arch.I386:
		r.Put(arch.NT_PRFPREG, pattern(108, seed+1))
		r.Put(arch.NT_PRXFPREG, pattern(512, seed+2))
		r.Put(arch.NT_X86_XSTATE, pattern(2433, seed+3)) // not a multiple of 4
		r.Put(arch.NT_386_TLS, pattern(48, seed+4))
	case arch.ARM64:
		r.Put(arch.NT_PRFPREG, pattern(528, seed+1))
		r.Put(arch.NT_ARM_TLS, pattern(8, seed+2))
		r.Put(arch.NT_ARM_SVE, pattern(1000, seed+3))
	}
	return r
}

// sample returns a process with something in every field, and the memory that
// a dump of it should hold.
func sample(m arch.Machine) (*snapshot.Process, []snapshot.Range) {
	const exe, lib, stack1, stack2 = 0x400000, 0xf7000000, 0xffff0000, 0xf6000000
	start := time.Unix(1700000000, 123456000)
	ranges := []snapshot.Range{{Addr: exe, Size: 0x1000}, {Addr: exe + 0x3000, Size: 0x1200}, {Addr: stack2, Size: 0x3000}, {Addr: stack1, Size: 0x4000}}
	p := &snapshot.Process{
		System: snapshot.System{Machine: m, OS: "linux", Host: "box", Release: "6.1.0-18-amd64", Version: "#1 SMP Debian 6.1.76", Distro: "Debian",
			CPUs: 300, CPUVendor: "GenuineIntel", CPUName: "Xeon", CPUFamily: 6, CPUModel: 85, CPUStepping: 7,
			CPUSignature: 0x50657, CPUFeatures: 0x1fcbfbff, PageSize: 4096, BootTime: start, Memory: 1 << 34},
		PID: 1234, PPID: 1, PGID: 1234, SID: 1000, UID: 42, GID: 43, Name: "sample", Exe: "/bin/sample", ExeDeleted: true,
		Args: []string{"sample", "", "--name=\xff\xfe"}, Environ: []string{"A=1", "B=x y"}, State: 'S', Nice: -5, Flags: 0x400040,
		StartTime: start, UserTime: 3*time.Second + 10*time.Millisecond, SystemTime: 20 * time.Millisecond,
		Exception: &snapshot.Exception{TID: 1235, Signal: 11, Code: 1, Addr: 0xdeadbeef, Params: []uint64{1, 2}},
		Auxv:      pattern(320, 9),
		Texts: map[string][]byte{
			"maps": []byte("00400000-00404200 r-xp 00000000 fe:01 77                         /bin/sample (deleted)\n" +
				"f6000000-f6010000 rw-p 00000000 00:00 0 \n" +
				"f7000000-f7002000 r-xp 00001000 fe:01 78                         /lib/with space.so\n" +
				"ffff0000-ffff4000 rw-p 00000000 00:00 0                          [stack]\n"),
			"status": []byte("Name:\tsample\nTgid:\t1234\n"), "limits": []byte("Limit …\n"), "cgroup": []byte("0::/\n"),
			"cpuinfo": []byte("processor: 0\n"), "lsb-release": []byte("ID=debian\n"), "stat": []byte("1234 (sample) S"), "uptime": []byte("1 2\n"),
		},
		Files: []snapshot.File{{FD: 0, Target: "/dev/null", Mode: 0o020666, Flags: 2}, {FD: 3, Target: "socket:[5]", Mode: 0o140777, Flags: 0x802, Pos: 7}},
		Info: snapshot.Info{Version: 1, Tool: "procdump 1", Kind: "mini", Reason: "Manual dump", Comment: "näher 😀", CommandLine: []string{"procdump", "1234"},
			Time: start, PauseMicros: -1, Method: "stop-and-copy", Warnings: []string{"w"}},
		Memory: bytesMemory(ranges),
	}
	p.Threads = []snapshot.Thread{
		{TID: 1235, Name: "worker", State: 'R', Signal: 11, Siginfo: pattern(128, 5), Pending: 1 << 63, Blocked: 5, UserTime: time.Second, StartTime: start, Nice: 3,
			Registers: sampleRegisters(m, exe+0x10, stack2+0x800, 1), Stack: snapshot.Range{Addr: stack2 + 0x780, Size: 0x10000 - 0x780}},
		{TID: 1234, Name: "sample", State: 'S', Registers: sampleRegisters(m, lib+0x20, stack1+0x1000, 2), Stack: snapshot.Range{Addr: stack1 + 0x1000, Size: 0x3000}},
	}
	p.Modules = []snapshot.Module{
		{Range: snapshot.Range{Addr: exe, Size: 0x4200}, Path: "/bin/sample", Deleted: true, BuildID: pattern(20, 3), Bias: 0x10, Dynamic: exe + 0x3000,
			ID: snapshot.FileID{Dev: 0xfe<<32 | 1, Inode: 77, Size: 99, ModTime: start}},
		{Range: snapshot.Range{Addr: lib, Size: 0x2000}, Path: "/lib/with space.so", SOName: "libspace.so.1.2", Bias: lib},
	}
	p.Linker = &snapshot.Linker{Version: 1, Base: 0x70000000, Brk: 0x70000123, Dynamic: snapshot.Range{Addr: exe + 0x3000, Size: 0x1c0},
		Maps: []snapshot.LinkMap{{Addr: 0x10, Name: "", LD: exe + 0x3000}, {Addr: lib, Name: "/lib/with space.so", LD: lib + 0x100}}}
	p.Regions, _ = parseMaps(p.Texts["maps"])
	return p, ranges
}

// builder writes dumps byte by byte, by nothing of the package's own layouts.
type builder struct {
	b   []byte
	dir [][3]uint32
}

func newBuilder(streams int) *builder { return &builder{b: make([]byte, 32+12*streams)} }

// add appends bytes and returns where they are.
func (w *builder) add(parts ...any) uint32 {
	at := uint32(len(w.b))
	for _, p := range parts {
		switch v := p.(type) {
		case []byte:
			w.b = append(w.b, v...)
		case string: // MINIDUMP_STRING of ASCII
			w.b = binary.LittleEndian.AppendUint32(w.b, uint32(2*len(v)))
			for _, c := range []byte(v) {
				w.b = append(w.b, c, 0)
			}
			w.b = append(w.b, 0, 0)
		default:
			w.b, _ = binary.Append(w.b, binary.LittleEndian, v)
		}
	}
	return at
}

func (w *builder) stream(typ uint32, parts ...any) {
	at := w.add(parts...)
	w.dir = append(w.dir, [3]uint32{typ, uint32(len(w.b)) - at, at})
}

func (w *builder) done() []byte {
	copy(w.b, "MDMP\x93\xa7\x00\x00")
	binary.LittleEndian.PutUint32(w.b[8:], uint32(len(w.dir)))
	binary.LittleEndian.PutUint32(w.b[12:], 32)
	binary.LittleEndian.PutUint32(w.b[20:], 1700000000)
	for i, d := range w.dir {
		for k, v := range d {
			binary.LittleEndian.PutUint32(w.b[32+12*i+4*k:], v)
		}
	}
	return w.b
}

// windowsDump is like what Windows writes: full memory, TEBs, PDB records.
func windowsDump() []byte {
	w := newBuilder(8)
	ctx := pattern(1232, 1)
	binary.LittleEndian.PutUint32(ctx[48:], 0x10001f)
	binary.LittleEndian.PutUint64(ctx[152:], 0x7000) // rsp
	binary.LittleEndian.PutUint64(ctx[248:], 0x140001000)
	c1, name := w.add(ctx), w.add(`C:\dir\prog.exe`)
	binary.LittleEndian.PutUint64(ctx[248:], 0x140001234) // where the exception was
	c2 := w.add(ctx)
	cv := w.add([]byte("RSDS"), pattern(16, 4), uint32(3), []byte("prog.pdb\x00"))
	csd := w.add("Service Pack 9")
	w.stream(7, uint16(9), uint16(6), uint16(0x5507), uint8(4), uint8(1), uint32(10), uint32(0), uint32(19045), uint32(2), csd, uint32(0), make([]byte, 24))
	w.stream(3, uint32(2),
		uint32(10), uint32(0), uint32(0x20), uint32(8), uint64(0x111000), uint64(0x7000), uint32(0), uint32(0), uint32(1232), c1,
		uint32(11), uint32(0), uint32(0x20), uint32(8), uint64(0x222000), uint64(0x9000), uint32(0), uint32(0), uint32(1232), c1)
	w.stream(4, uint32(1), uint64(0x140000000), uint32(0x8000), uint32(0), uint32(0x5f000000), name,
		uint32(0xfeef04bd), uint32(0x10000), uint32(1<<16|2), uint32(3<<16|4), make([]byte, 36), uint32(33), cv, uint64(0), make([]byte, 16))
	w.stream(6, uint32(11), uint32(0), uint32(0xc0000005), uint32(0), uint64(0), uint64(0x140001000), uint32(2), uint32(0), uint64(1), uint64(0x55), make([]byte, 13*8), uint32(1232), c2)
	w.stream(16, uint32(16), uint32(48), uint64(3),
		uint64(0x7000), uint64(0x7000), uint32(4), uint32(0), uint64(0x1000), uint32(0x1000), uint32(4), uint32(0x20000), uint32(0),
		uint64(0x9000), uint64(0), uint32(0), uint32(0), uint64(0x1000), uint32(0x10000), uint32(1), uint32(0), uint32(0),
		uint64(0x140000000), uint64(0x140000000), uint32(0x80), uint32(0), uint64(0x8000), uint32(0x1000), uint32(0x20), uint32(0x1000000), uint32(0))
	w.stream(15, uint32(24), uint32(3), uint32(4321), uint32(1600000000), uint32(5), uint32(6))
	w.stream(10, []byte("hello\x00junk"))
	base := len(w.b) + 16 + 2*16
	w.stream(9, uint64(2), uint64(base), uint64(0x7000), uint64(0x1000), uint64(0x140000000), uint64(0x2000))
	w.add(pattern(0x1000, 20), pattern(0x2000, 21))
	return w.done()
}

// breakpadDump is like what Breakpad writes on Linux: 4 bytes of padding in
// list streams, texts, no MiscInfo, streams of type 0, a duplicate.
func breakpadDump() []byte {
	w := newBuilder(12)
	ctx := pattern(716, 1)
	binary.LittleEndian.PutUint32(ctx, 0x1003f)
	binary.LittleEndian.PutUint32(ctx[140:], 0x63)
	c1, name, csd := w.add(ctx), w.add("/bin/prog"), w.add("Linux 5.10.0 #1 SMP x86")
	cv := w.add([]byte("LEpB"), pattern(20, 6))
	stack := w.add(pattern(256, 8))
	w.stream(0)
	w.stream(7, uint16(0), uint16(6), uint16(1), uint8(1), uint8(0), uint32(5), uint32(10), uint32(0), uint32(0x8201), csd, uint32(0), []byte("AuthenticAMD"), uint32(7), uint32(8), uint32(9))
	thread := []any{uint32(0), uint32(77), uint32(0), uint32(0), uint32(0), uint64(0xf7d00700), uint64(0xff000000), uint32(256), stack, uint32(716), c1}
	w.stream(3, append([]any{uint32(1)}, thread...)...)
	w.stream(3, uint32(0))
	w.stream(4, uint32(1), uint32(0), uint64(0x8048000), uint32(0x1000), uint32(0), uint32(0), name, make([]byte, 52), uint32(24), cv, uint64(0), make([]byte, 16))
	w.stream(5, uint32(1), uint32(0), uint64(0xff000000), uint32(256), stack)
	w.stream(0x47670004, []byte("Name:\tprog\nState:\tt (tracing stop)\nTgid:\t76\nPPid:\t3\nUid:\t5\t5\t5\t5\nGid:\t6\t6\t6\t6\n"))
	w.stream(0x47670006, []byte("prog\x00-v\x00"))
	w.stream(0x47670009, []byte("08048000-08049000 r-xp 00000000 08:01 12   /bin/prog\nff000000-ff001000 rw-p 00000000 00:00 0          [stack]\n"))
	w.stream(6, uint32(77), uint32(0), uint32(11), uint32(1), uint64(0), uint64(0x10), uint32(0), uint32(0), make([]byte, 15*8), uint32(716), c1)
	link := w.add(uint32(0), w.add("/lib/x.so"), uint32(0x50))
	w.stream(0x4767000a, uint32(1), link, uint32(1), uint32(0x100), uint32(0x200), uint32(0x300), pattern(16, 1))
	return w.done()
}
