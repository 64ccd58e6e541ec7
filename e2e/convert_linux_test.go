package e2e

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"procdump/victims"
	"procdump/victims/need"
)

// convert converts a dump and returns the new one's path.
func convert(t testing.TB, name string, args ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), name)
	r := procdump(t, append(append([]string{"convert", "-json"}, args...), out)...)
	if got := r.completed(); r.code != 0 || len(got) != 1 || got[0] != out {
		t.Fatalf("convert %q: dumps %q; %v", args, got, r)
	}
	return out
}

// gdbRegisters is what gdb prints of all registers of all threads.
func gdbRegisters(t testing.TB, exe, core string) string {
	t.Helper()
	return gdb(t, []string{exe, core}, "thread apply all -q info all-registers")
}

// TestConvertRoundTrip takes full cores to minidumps and back: gdb and lldb find
// the same stacks, registers and memory as in the first.
func TestConvertRoundTrip(t *testing.T) {
	need.Root(t)
	need.Tool(t, "gdb")
	lldbPath(t)
	for _, s := range stackVictims() {
		if s.name != "threads" && s.name != "i386" && s.name != "cpp" {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			v := victims.StartSpec(t, s.spec(t))
			freeze(t, v)
			core := dump(t, v.PID, spec{"-ma", "elf"})
			want, registers := gdbCore(t, v.Exe, core), gdbRegisters(t, v.Exe, core)
			wantChains(t, s, want)
			if n := strings.Count(registers, "eflags"); n != s.threads {
				t.Fatalf("gdb shows registers of %d threads, want %d", n, s.threads)
			}
			// lldb says of a minidump of i386 what it says of one made at once.
			direct := lldbDump(t, dump(t, v.PID, spec{"-ma", "minidump"}), v.Exe)
			awaitState(t, v, 'T')
			minidump := convert(t, "x.dmp", core)
			compare(t, "lldb", direct, lldbDump(t, minidump, v.Exe), s.lldb)
			back := convert(t, "back.core", minidump)
			compare(t, "gdb", want, gdbCore(t, v.Exe, back), rule{})
			compare(t, "lldb", want, lldbDump(t, back, v.Exe), s.lldb)
			if got := gdbRegisters(t, v.Exe, back); got != registers {
				t.Errorf("registers differ at %s", firstDifference([]byte(got), []byte(registers)))
			}
			// Without the process's kinds of memory at hand, the smaller ones.
			for _, kind := range []string{"-mm", "-mp"} {
				compare(t, "gdb, "+kind, want, gdbCore(t, v.Exe, convert(t, "small.core", kind, minidump)), rule{})
				compare(t, "lldb, "+kind, direct, lldbDump(t, convert(t, "small.dmp", kind, core), v.Exe), s.lldb)
			}
		})
	}
}

// TestConvertMemory reads a 64 MiB buffer out of what dumps became.
func TestConvertMemory(t *testing.T) {
	need.Tool(t, "gdb")
	lldbPath(t)
	v := victims.Start(t, "buffer", "64")
	addr, size := v.Uint(t, "addr"), v.Uint(t, "size")
	check := func(who string, b []byte) {
		t.Helper()
		if got := fmt.Sprintf("%x", sha256.Sum256(b)); got != v.Ready["sha256"] || uint64(len(b)) != size {
			t.Errorf("%s reads %d bytes with SHA-256 %s; the victim has %d with %s", who, len(b), got, size, v.Ready["sha256"])
		}
	}
	core := dump(t, v.PID, spec{"-ma", "elf"})
	minidump := convert(t, "x.dmp", convert(t, "x.core.zst", core))
	check("lldb", lldbMemory(t, minidump, v.Exe, addr, size))
	check("gdb", gdbMemory(t, []string{v.Exe, convert(t, "back.core", minidump)}, addr, size))
	plus := convert(t, "plus.core", "-mp", minidump)
	check("gdb, miniplus", gdbMemory(t, []string{v.Exe, plus}, addr, size))
	if a, b := diskUse(t, core), diskUse(t, plus); b > a-(1<<20) {
		t.Errorf("miniplus takes %d bytes of disk, full %d", b, a)
	}
	if a, b := fileDigest(t, core), fileDigest(t, convert(t, "again.core", convert(t, "y.core.zst", core))); a != b {
		t.Error("a dump is another after it was compressed")
	}
	t.Run("disk full", func(t *testing.T) {
		dir := smallDisk(t, 1024)
		for _, name := range []string{"x.core", "x.dmp", "x.core.zst"} {
			r := procdump(t, "convert", core, filepath.Join(dir, name))
			if r.code != 1 || !strings.Contains(r.stderr, "space") {
				t.Errorf("%s: want exit code 1 and a word of space: %v", name, r)
			}
			wantNoFile(t, dir)
		}
	})
}

func fileDigest(t testing.TB, path string) [sha256.Size]byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}

// TestConvertForeign converts dumps of gdb, lldb and the kernel.
func TestConvertForeign(t *testing.T) {
	need.Root(t)
	need.Tool(t, "gdb")
	lldbPath(t)
	v := victims.Start(t, "threads", "3")
	freeze(t, v)
	live := gdbLive(t, v.PID, v.Exe)
	awaitState(t, v, 'T')
	core := gcore(t, v.PID)
	compare(t, "gcore as a minidump, lldb", live, lldbDump(t, convert(t, "x.dmp", core), v.Exe), rule{})
	compare(t, "gcore as ours, gdb", live, gdbCore(t, v.Exe, convert(t, "x.core", core)), rule{})
	compare(t, "gcore as a mini dump, gdb", live, gdbCore(t, v.Exe, convert(t, "m.core", "-mm", core)), rule{})

	awaitState(t, v, 'T')
	saved := filepath.Join(t.TempDir(), "lldb.dmp")
	lldb(t, fmt.Sprintf("process attach --pid %d", v.PID), "process save-core --plugin-name=minidump --style=stack "+saved)
	if _, err := os.Stat(saved); err != nil {
		t.Skipf("this lldb writes no minidumps: %v", err)
	}
	// It has not got the memory that debuggers find the libraries of a core by.
	compare(t, "lldb's minidump as a core", live, inspectReport(t, convert(t, "l.core", saved)).stacks(t), rule{})
	compare(t, "lldb's minidump as ours, lldb", live, lldbDump(t, convert(t, "l.dmp", saved), v.Exe), rule{})
}
