package minidump

import (
	"bufio"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"procdump/arch"
	"procdump/snapshot"
)

// victim is a stopped process and what is known of it.
type victim struct {
	*snapshot.Process
	exe      string
	buf, big uint64 // addresses of its buffer of known content, of its large mapping
}

// content is what the victim's buffer holds.
func content() []byte {
	b := make([]byte, 4096)
	for i := range b {
		b[i] = byte(i*7 + i/256)
	}
	return b
}

// startVictim builds and starts testdata/victim.c, stops all its threads with
// ptrace and takes a snapshot. It does so by other means than the rest of the
// module, which must not be its own judge. The victim dies with the test.
func startVictim(t *testing.T, bits int, bigSize uint64) *victim {
	t.Helper()
	exe := filepath.Join(t.TempDir(), fmt.Sprintf("victim%d", bits))
	args := []string{fmt.Sprintf("-m%d", bits), "-g", "-O0", "-pthread", "-o", exe, "testdata/victim.c"}
	if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		skip(t, "gcc", "gcc %v: %v\n%s", args, err, out)
	}
	cmd := exec.Command(exe)
	if bigSize > 0 {
		cmd.Args = append(cmd.Args, strconv.FormatUint(bigSize, 10))
	}
	cmd.Env = []string{"MARK=environment-mark"}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	v := &victim{exe: exe}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var big string
	fmt.Sscanf(line, "%v %s", &v.buf, &big)
	v.big, _ = strconv.ParseUint(big, 0, 64)
	// One OS thread is the tracer for the whole test.
	runtime.LockOSThread()
	t.Cleanup(func() {
		cmd.Process.Kill()
		// The leader is not to be had before its tracer has reaped the others.
		if v.Process != nil {
			for _, th := range v.Threads[1:] {
				syscall.Wait4(th.TID, nil, 0x40000000, nil)
			}
		}
		cmd.Wait()
		runtime.UnlockOSThread()
	})
	time.Sleep(20 * time.Millisecond) // let the main thread reach its wait, too
	v.Process = capture(t, cmd.Process.Pid)
	return v
}

func ptrace(req, tid, addr, data uintptr) syscall.Errno {
	_, _, e := syscall.RawSyscall6(syscall.SYS_PTRACE, req, tid, addr, data, 0, 0)
	return e
}

func capture(t *testing.T, pid int) *snapshot.Process {
	t.Helper()
	const seize, interrupt = 0x4206, 0x4207
	p := &snapshot.Process{PID: pid, Texts: map[string][]byte{}}
	p.Info = snapshot.Info{Tool: "procdump test", Kind: "mini", Reason: "Manual dump", Comment: "a comment, naïvely", Time: time.Now(), PauseMicros: -1}
	dir := fmt.Sprintf("/proc/%d/", pid)
	tids, err := os.ReadDir(dir + "task")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range tids {
		tid, _ := strconv.Atoi(d.Name())
		if e := ptrace(seize, uintptr(tid), 0, 0); e != 0 {
			skip(t, "ptrace", "ptrace(SEIZE): %v", e)
		}
		ptrace(interrupt, uintptr(tid), 0, 0)
		if _, err := syscall.Wait4(tid, nil, 0x40000000, nil); err != nil {
			t.Fatal(err)
		}
		comm, _ := os.ReadFile(dir + "task/" + d.Name() + "/comm")
		p.Threads = append(p.Threads, snapshot.Thread{TID: tid, Name: strings.TrimSpace(string(comm)), State: 'S', Registers: regsets(tid)})
	}
	p.System = snapshot.System{Machine: p.Threads[0].Registers.Machine, OS: "linux", Release: "6.1.0-18-amd64", Version: "#1 SMP Debian",
		CPUs: 2, CPUVendor: "GenuineIntel", CPUFamily: 6, CPUModel: 85, CPUStepping: 7, CPUSignature: 0x50657, CPUFeatures: 0x1fcbfbff, PageSize: 4096}
	for _, n := range []string{"maps", "status", "limits", "stat"} {
		p.Texts[n], _ = os.ReadFile(dir + n)
	}
	p.Texts["cpuinfo"], _ = os.ReadFile("/proc/cpuinfo")
	p.Texts["lsb-release"], _ = os.ReadFile("/etc/os-release")
	p.Auxv, _ = os.ReadFile(dir + "auxv")
	b, _ := os.ReadFile(dir + "cmdline")
	p.Args = splitNUL(b)
	b, _ = os.ReadFile(dir + "environ")
	p.Environ = splitNUL(b)
	p.Exe, _ = os.Readlink(dir + "exe")
	p.Name = filepath.Base(p.Exe)
	p.State = 't' // as the status text says: it is taken while stopped
	p.Regions, _ = parseMaps(p.Texts["maps"])
	mem, err := os.Open(dir + "mem")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mem.Close() })
	p.Memory = &procMemory{mem, p.Regions}
	p.Modules = imagesOf(t, p)
	p.Linker = linkerOf(p)
	for i := range p.Threads {
		t := &p.Threads[i]
		sp := t.Registers.SP() - p.Machine().RedZone()
		if k := p.FindRegion(sp); k >= 0 {
			t.Stack = snapshot.Range{Addr: sp &^ 7, Size: p.Regions[k].End() - sp&^7}
		}
	}
	p.Files = []snapshot.File{{FD: 1, Target: "pipe:[123]", Mode: 0o010600, Flags: 1}, {FD: 0, Target: "/dev/null", Mode: 0o020666}}
	return p
}

func regsets(tid int) arch.Registers {
	r := arch.Registers{}
	for _, typ := range []uint32{arch.NT_PRSTATUS, arch.NT_PRFPREG, arch.NT_PRXFPREG, arch.NT_X86_XSTATE, arch.NT_386_TLS, arch.NT_ARM_TLS} {
		b := make([]byte, 64<<10)
		iov := syscall.Iovec{Base: &b[0], Len: uint64(len(b))}
		if ptrace(0x4204, uintptr(tid), uintptr(typ), uintptr(unsafe.Pointer(&iov))) == 0 {
			r.Sets = append(r.Sets, arch.Regset{Type: typ, Data: b[:iov.Len:iov.Len]})
		}
	}
	switch len(r.Set(arch.NT_PRSTATUS)) {
	case arch.AMD64.GPSize():
		r.Machine = arch.AMD64
	case arch.I386.GPSize():
		r.Machine = arch.I386
	case arch.ARM64.GPSize():
		r.Machine = arch.ARM64
	}
	return r
}

// procMemory reads /proc/PID/mem.
type procMemory struct {
	f       *os.File
	regions []snapshot.Region
}

func (m *procMemory) ReadMemory(p []byte, addr uint64) (int, error) {
	n, err := m.f.ReadAt(p, int64(addr))
	if err != nil {
		return n, &snapshot.MemoryError{Addr: addr + uint64(n), Err: err}
	}
	return n, nil
}

func (m *procMemory) Extents(r snapshot.Range) ([]snapshot.Extent, error) {
	return nil, syscall.ENOTSUP
}

// imagesOf finds the ELF images among the mappings.
func imagesOf(t *testing.T, p *snapshot.Process) []snapshot.Module {
	var mods []snapshot.Module
	byPath := map[string]int{}
	for _, r := range p.Regions {
		if r.Path == "" || strings.HasPrefix(r.Path, "[") && r.Path != "[vdso]" {
			continue
		}
		if i, ok := byPath[r.Path]; ok {
			mods[i].Size = r.End() - mods[i].Addr
			continue
		}
		b := make([]byte, r.Size)
		p.Memory.ReadMemory(b, r.Addr)
		if !bytes.HasPrefix(b, []byte(elf.ELFMAG)) {
			continue
		}
		var f *elf.File
		var err error
		m := snapshot.Module{Range: r.Range, Path: r.Path}
		if r.Path == "[vdso]" {
			m.Path = "linux-gate.so"
			f, err = elf.NewFile(bytes.NewReader(b))
		} else {
			f, err = elf.Open(r.Path)
		}
		if err != nil {
			t.Fatal(err)
		}
		if s := f.Section(".note.gnu.build-id"); s != nil {
			if d, err := s.Data(); err == nil && len(d) > 16 {
				m.BuildID = d[16:]
			}
		} else if r.Path == "[vdso]" {
			if s := f.Section(".note"); s != nil {
				d, _ := s.Data()
				if i := bytes.Index(d, []byte("GNU\x00")); i >= 0 && len(d) >= i+24 {
					m.BuildID = d[i+4 : i+24]
				}
			}
		}
		if so, _ := f.DynString(elf.DT_SONAME); len(so) > 0 {
			m.SOName = so[0]
		}
		f.Close()
		byPath[r.Path] = len(mods)
		mods = append(mods, m)
	}
	for i, m := range mods {
		if m.Path == p.Exe {
			mods[0], mods[i] = mods[i], mods[0]
		}
	}
	return mods
}

// linkerOf follows auxv → program headers → DT_DEBUG → r_debug → link_map.
func linkerOf(p *snapshot.Process) *snapshot.Linker {
	w := uint64(p.Machine().PointerSize())
	var fail bool
	word := func(addr uint64) uint64 {
		var b [8]byte
		if _, err := p.Memory.ReadMemory(b[:w], addr); err != nil {
			fail = true
		}
		return binary.LittleEndian.Uint64(b[:])
	}
	var phdr, phnum uint64
	for a := p.Auxv; uint64(len(a)) >= 2*w; a = a[2*w:] {
		var k, v [8]byte
		copy(k[:], a[:w])
		copy(v[:], a[w:2*w])
		switch binary.LittleEndian.Uint64(k[:]) {
		case 3:
			phdr = binary.LittleEndian.Uint64(v[:])
		case 5:
			phnum = binary.LittleEndian.Uint64(v[:])
		}
	}
	k := &snapshot.Linker{}
	var bias uint64
	for i := range phnum {
		at := phdr + i*map[uint64]uint64{8: 56, 4: 32}[w]
		vaddr, memsz := word(at+2*w), word(at+5*w)
		switch typ := uint32(word(at)); typ {
		case 6: // PT_PHDR
			bias = phdr - vaddr
		case 2: // PT_DYNAMIC
			k.Dynamic = snapshot.Range{Addr: bias + vaddr, Size: memsz}
		}
	}
	var debug uint64
	for at := k.Dynamic.Addr; at < k.Dynamic.End(); at += 2 * w {
		if word(at) == 21 {
			debug = word(at + w)
		}
	}
	if fail || debug == 0 {
		return nil
	}
	k.Version, k.Brk, k.Base = int(word(debug)&0xff), word(debug+2*w), word(debug+4*w)
	k.Ranges = append(k.Ranges, snapshot.Range{Addr: debug, Size: 5 * w})
	for lm := word(debug + w); lm != 0 && !fail && len(k.Maps) < 100; lm = word(lm + 3*w) {
		var name []byte
		at := word(lm + w)
		for b := []byte{1}; ; at++ {
			if _, err := p.Memory.ReadMemory(b, at); err != nil || b[0] == 0 {
				break
			}
			name = append(name, b[0])
		}
		k.Maps = append(k.Maps, snapshot.LinkMap{Addr: word(lm), Name: string(name), LD: word(lm + 2*w)})
		k.Ranges = append(k.Ranges, snapshot.Range{Addr: lm, Size: 5 * w}, snapshot.Range{Addr: at - uint64(len(name)), Size: uint64(len(name)) + 1})
	}
	return k
}

// miniRanges is what a mini dump takes, and the buffer of known content.
func (v *victim) miniRanges() []snapshot.Range {
	var rs []snapshot.Range
	for _, t := range v.Threads {
		rs = append(rs, t.Stack, snapshot.Range{Addr: t.Registers.PC() - 128, Size: 256})
	}
	for _, m := range v.Modules {
		rs = append(rs, snapshot.Range{Addr: m.Addr, Size: 4096})
	}
	if v.Linker != nil {
		rs = append(append(rs, v.Linker.Ranges...), v.Linker.Dynamic)
	}
	return snapshot.MergeRanges(append(rs, snapshot.Range{Addr: v.buf, Size: 4096}), 0)
}

// fullRanges is all that can be read.
func (v *victim) fullRanges() []snapshot.Range {
	var rs []snapshot.Range
	for _, r := range v.Regions {
		b := []byte{0}
		if _, err := v.Memory.ReadMemory(b, r.Addr); err == nil && r.Perm&snapshot.Read != 0 {
			rs = append(rs, r.Range)
		}
	}
	return rs
}

// writeSparse writes the dump as a capture pipeline would: memory first, zero
// pages as holes, the head last. The untouched part of the victim's large
// mapping is not read.
func (v *victim) writeSparse(t *testing.T, path string, rs []snapshot.Range, o Options, untouched snapshot.Range) {
	t.Helper()
	l, err := NewLayout(v.Process, rs, o)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(l.Size()); err != nil {
		t.Fatal(err)
	}
	buf, zero := make([]byte, 4096), make([]byte, 4096)
	for _, pl := range l.Placements() {
		for off := uint64(0); off < pl.Size; {
			addr := pl.Addr + off
			if untouched.Contains(addr) {
				off = untouched.End() - pl.Addr
				continue
			}
			b := buf[:min(4096-addr%4096, pl.Size-off)]
			if _, err := v.Memory.ReadMemory(b, addr); err != nil {
				clear(b)
				v.Info.Unreadable = append(v.Info.Unreadable, snapshot.Range{Addr: addr, Size: uint64(len(b))})
			}
			if !bytes.Equal(b, zero[:len(b)]) {
				if _, err := f.WriteAt(b, pl.Off+int64(off)); err != nil {
					t.Fatal(err)
				}
			}
			off += uint64(len(b))
		}
	}
	v.Info.PauseMicros = 1234
	b, err := headOf(l)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(b)) != l.HeadSize() {
		t.Fatalf("head is %d bytes, promised %d", len(b), l.HeadSize())
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
}
