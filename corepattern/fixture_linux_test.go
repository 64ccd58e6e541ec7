package corepattern

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"procdump/arch"
	"procdump/elfcore"
	"procdump/snapshot"
	"procdump/victims/need"
)

// machine is a machine in a folder that only root can write.
func machine(t *testing.T) (System, string) {
	t.Helper()
	need.Root(t)
	dir, err := os.MkdirTemp("/var/lib", "procdump-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"kernel", "sysctl.d", "bin"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := System{Kernel: filepath.Join(dir, "kernel"), Sysctl: filepath.Join(dir, "sysctl.d"), State: filepath.Join(dir, "state"),
		Executable: filepath.Join(dir, "bin/procdump")}
	put(t, s.Executable, "#!")
	if err := os.Chmod(s.Executable, 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, s.kernelFile("core_pattern"), "core\n")
	put(t, s.kernelFile("core_pipe_limit"), "0\n")
	put(t, s.kernelFile("core_uses_pid"), "0\n")
	return s, dir
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const (
	stackAddr = 0x7ffc_0000_0000
	heapAddr  = 0x5555_0000_0000
	smallAddr = 0x6666_0000_0000
	page      = 4096
)

// fakeMemory is memory in which each word holds its own page's address.
type fakeMemory struct{ regions []snapshot.Region }

func (m fakeMemory) ReadMemory(p []byte, addr uint64) (int, error) {
	for i := range p {
		at := addr + uint64(i)
		p[i] = byte(at >> 12 * 7)
		if at%page == 0 {
			p[i] = 0xcc
		}
	}
	return len(p), nil
}

func (m fakeMemory) Extents(r snapshot.Range) ([]snapshot.Extent, error) {
	return []snapshot.Extent{{Range: r, Kind: snapshot.ExtentPresent}}, nil
}

// fakeProcess has two threads and three regions: a stack, a heap of 1 MiB, and
// a small one.
func fakeProcess() *snapshot.Process {
	p := &snapshot.Process{PID: 4_000_000, Name: "fake", System: snapshot.System{Machine: arch.AMD64, OS: "linux", PageSize: page},
		Regions: []snapshot.Region{
			{Range: snapshot.Range{Addr: heapAddr, Size: 1 << 20}, Perm: snapshot.Read | snapshot.Write},
			{Range: snapshot.Range{Addr: smallAddr, Size: 4 * page}, Perm: snapshot.Read | snapshot.Write},
			{Range: snapshot.Range{Addr: stackAddr, Size: 32 * page}, Perm: snapshot.Read | snapshot.Write},
		},
		Exception: &snapshot.Exception{TID: 4_000_001, Signal: 11, Code: 1, Addr: 0x10}}
	p.Memory = fakeMemory{p.Regions}
	for i, sp := range []uint64{stackAddr + 30*page, stackAddr + 8*page} {
		gp := make([]byte, arch.AMD64.GPSize())
		const rsp = 19 * 8 // struct user_regs_struct
		for b := range 8 {
			gp[rsp+b] = byte(sp >> (8 * b))
		}
		th := snapshot.Thread{TID: 4_000_001 + i, Signal: 11}
		th.Registers.Machine = arch.AMD64
		th.Registers.Put(arch.NT_PRSTATUS, gp)
		p.Threads = append(p.Threads, th)
	}
	p.Threads[0].Siginfo = make([]byte, 128)
	copy(p.Threads[0].Siginfo, []byte{11, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x10})
	return p
}

// fakeCore is the core of a process.
func fakeCore(t testing.TB, p *snapshot.Process) []byte {
	t.Helper()
	var ranges []snapshot.Range
	for i := range p.Regions {
		ranges = append(ranges, p.Regions[i].Range)
	}
	var core bytes.Buffer
	if err := elfcore.Write(&core, p, ranges); err != nil {
		t.Fatal(err)
	}
	return core.Bytes()
}

// wantMemory compares a range with the fake process's.
func wantMemory(t *testing.T, p *snapshot.Process, r snapshot.Range) {
	t.Helper()
	got, want := make([]byte, r.Size), make([]byte, r.Size)
	if _, err := p.Memory.ReadMemory(got, r.Addr); err != nil {
		t.Errorf("read %v: %v", r, err)
		return
	}
	fakeMemory{}.ReadMemory(want, r.Addr)
	if !bytes.Equal(got, want) {
		t.Errorf("memory of %v differs", r)
	}
}
