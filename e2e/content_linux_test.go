package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"procdump/victims"
	"procdump/victims/need"
)

// TestBufferDigest reads a 64 MiB buffer out of dumps through the debuggers.
func TestBufferDigest(t *testing.T) {
	needJudges(t)
	v := victims.Start(t, "buffer", "64")
	addr, size := v.Uint(t, "addr"), v.Uint(t, "size")
	check := func(t *testing.T, who string, b []byte) {
		t.Helper()
		if got := fmt.Sprintf("%x", sha256.Sum256(b)); got != v.Ready["sha256"] || uint64(len(b)) != size {
			t.Errorf("%s reads %d bytes with SHA-256 %s; the victim has %d with %s", who, len(b), got, size, v.Ready["sha256"])
		}
	}
	for _, d := range []spec{{"-mp", "elf"}, {"-ma", "elf"}, {"-mc", "elf"}, {"-mp", "minidump"}, {"-ma", "minidump"}, {"-mc", "minidump"}} {
		t.Run(d.String(), func(t *testing.T) {
			file := dump(t, v.PID, d)
			if d.format == "elf" {
				check(t, "gdb", gdbMemory(t, []string{v.Exe, file}, addr, size))
			}
			check(t, "lldb", lldbMemory(t, file, v.Exe, addr, size))
		})
	}
	t.Run("-z", func(t *testing.T) {
		zstd := need.Tool(t, "zstd")
		r := procdump(t, "-ma", "-z", "-json", strconv.Itoa(v.PID), filepath.Join(t.TempDir(), "z.core"))
		if r.code != 0 || len(r.completed()) != 1 {
			t.Fatal(r)
		}
		plain := filepath.Join(t.TempDir(), "plain.core")
		command(t, zstd, "-q", "-d", "-o", plain, r.completed()[0])
		check(t, "gdb", gdbMemory(t, []string{v.Exe, plain}, addr, size))
	})
	if again := v.Ask(t, "sha")["sha256"]; again != v.Ready["sha256"] {
		t.Errorf("the victim's own buffer changed: %s, was %s", again, v.Ready["sha256"])
	}
}

// TestMiniPlusLosesNothing compares every byte that gdb sees in a full dump
// with what it sees in a miniplus one, given the images.
func TestMiniPlusLosesNothing(t *testing.T) {
	needJudges(t)
	for _, s := range []victims.Spec{
		{Name: "threads", Args: []string{"10"}}, {Name: "cpp"}, {Name: "threads@i386", Args: []string{"3"}}, {Name: "python"},
		{Name: "shm", Args: []string{t.TempDir()}},
	} {
		t.Run(s.Name, func(t *testing.T) {
			v := victims.StartSpec(t, s)
			freeze(t, v)
			var ranges [][2]uint64
			var names []string
			for _, m := range mappings(t, v.PID) {
				if m.perm[0] != 'r' || m.path == "[vvar]" || m.path == "[vvar_vclock]" || m.path == "[vsyscall]" {
					continue
				}
				ranges = append(ranges, [2]uint64{m.start, m.end})
				names = append(names, m.path)
			}
			full := gdbMemories(t, []string{v.Exe, dump(t, v.PID, spec{"-ma", "elf"})}, ranges)
			plus := gdbMemories(t, []string{v.Exe, dump(t, v.PID, spec{"-mp", "elf"})}, ranges)
			live := gdbMemories(t, []string{"-p", strconv.Itoa(v.PID)}, ranges)
			for i, r := range ranges {
				if !bytes.Equal(full[i], live[i]) {
					t.Errorf("%#x-%#x %s: -ma differs from the live process: %s", r[0], r[1], names[i], firstDifference(full[i], live[i]))
				}
				if !bytes.Equal(plus[i], full[i]) && !backedByFile(t, names[i]) {
					t.Errorf("%#x-%#x %s: -mp differs from -ma: %s", r[0], r[1], names[i], firstDifference(plus[i], full[i]))
				}
			}
		})
	}
}

// backedByFile tells whether a mapping is of a plain data file that is still
// there: gdb reads back the images it knows, and no other files.
func backedByFile(t testing.TB, path string) bool {
	t.Helper()
	if path == "" || path[0] != '/' {
		return false
	}
	head := make([]byte, 4)
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	f.Read(head)
	return string(head) != "\x7fELF"
}

func firstDifference(got, want []byte) string {
	if len(got) != len(want) {
		return fmt.Sprintf("%d bytes readable, want %d", len(got), len(want))
	}
	n, first := 0, -1
	for i := range got {
		if got[i] != want[i] {
			if first < 0 {
				first = i
			}
			n++
		}
	}
	return fmt.Sprintf("%d bytes, the first at +%#x: %#02x, want %#02x", n, first, got[first], want[first])
}

// TestSharedMemory wants every page of every sort of shared memory in -ma, the
// never-touched ones too, and in -mp what no file on disk can give back.
func TestSharedMemory(t *testing.T) {
	needJudges(t)
	v := victims.Start(t, "shm", t.TempDir())
	page, size := v.Uint(t, "page"), v.Uint(t, "size")
	markers := map[string]string{"memfd": "MEMFDMEM", "posix": "POSIXSHM", "sysv": "SYSVSHMM", "file": "FILESHAR", "gone": "GONEFILE", "private": "PRIVFILE"}
	for _, d := range []spec{{"-ma", "elf"}, {"-mp", "elf"}, {"-ma", "minidump"}, {"-mp", "minidump"}} {
		t.Run(d.String(), func(t *testing.T) {
			file := dump(t, v.PID, d)
			for name, marker := range markers {
				if d.kind == "-mp" && (name == "file" || name == "private") {
					continue // clean pages of a file that is there
				}
				b := lldbMemory(t, file, v.Exe, v.Uint(t, name), size)
				for at := uint64(0); at+8 <= uint64(len(b)); at += page {
					if string(b[at:at+8]) != marker {
						t.Errorf("%s: page %d of %d starts with %q, want %q", name, at/page, size/page, b[at:at+8], marker)
						break
					}
				}
				if uint64(len(b)) != size {
					t.Errorf("%s: %d bytes readable, want %d", name, len(b), size)
				}
			}
			// The one page of the private mapping that was written is in every kind.
			if b := lldbMemory(t, file, v.Exe, v.Uint(t, "private")+8, 8); string(b) != "CHANGED!" {
				t.Errorf("private: the changed word is %q", b)
			}
		})
	}
}

// TestSpecialMemory: what asks not to be dumped is not, what is hard to read is.
func TestSpecialMemory(t *testing.T) {
	needJudges(t)
	v := victims.Start(t, "dontdump")
	for _, d := range specs() {
		t.Run(d.String(), func(t *testing.T) {
			if holds(t, dump(t, v.PID, d), "KEYBYTESKEYBYTES") {
				t.Error("holds memory marked MADV_DONTDUMP")
			}
			if d.kind != "-ma" && d.kind != "-mp" {
				return
			}
			if file := dump(t, v.PID, d, "-dontdump"); !holds(t, file, "KEYBYTESKEYBYTES") {
				t.Error("with -dontdump it lacks memory marked MADV_DONTDUMP")
			}
			file := dump(t, v.PID, d)
			for _, marker := range []string{"PLAINMEM", "NOFORKED", "WIPEFORK", "PROTNONE", "HOLEMARK", "GUARDPAG", "MADGUARD"} {
				if marker == "MADGUARD" && v.Uint(t, "madvguard") == 0 {
					continue
				}
				if n, want := countPages(t, file, marker), markedPages(marker); n != want {
					t.Errorf("%s: %d pages, want %d", marker, n, want)
				}
			}
		})
	}
	wantAlive(t, v)
}

// markedPages is how many pages of a region the victim "dontdump" holds. What
// lies under a guard page that PROT_NONE makes is still there.
func markedPages(marker string) int {
	if marker == "HOLEMARK" || marker == "MADGUARD" {
		return 12
	}
	return 16
}

// countPages counts the pages of a file that are full of an 8-byte marker.
func countPages(t testing.TB, file, marker string) int {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(b, bytes.Repeat([]byte(marker), 4096/8))
}

// holds tells whether a file holds the text, anywhere.
func holds(t testing.TB, file, text string) bool {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(b, []byte(text))
}

// TestUserfaultfd: absent pages of a range that the stopped process itself
// serves must not be touched. A dump that does waits for ever.
func TestUserfaultfd(t *testing.T) {
	need.Root(t)
	v := victims.Start(t, "uffd")
	for _, d := range specs() {
		file := dump(t, v.PID, d)
		if faults := v.Ask(t, "faults")["faults"]; faults != "0" {
			t.Fatalf("%v: %s absent pages were touched", d, faults)
		}
		if d.kind == "-ma" || d.kind == "-mp" {
			for i := 0; i < 64; i += 2 {
				if page := string(bytes.Repeat([]byte{'A' + byte(i%26)}, 4096)); !holds(t, file, page) {
					t.Errorf("%v: present page %d is missing", d, i)
				}
			}
		}
	}
}

// TestSparse: what was never touched costs nothing.
func TestSparse(t *testing.T) {
	need.Root(t)
	// 64 GiB, of which a 640th is touched.
	v := victims.Start(t, "sparse", "65536", "0.15")
	touched := int64(v.Uint(t, "touched"))
	for _, d := range []spec{{"-ma", "elf"}, {"-mp", "elf"}, {"-ma", "minidump"}, {"-mp", "minidump"}} {
		t.Run(d.String(), func(t *testing.T) {
			file := dump(t, v.PID, d)
			disk := diskUse(t, file)
			if most := touched*5/4 + 16<<20; disk > most || disk < touched {
				t.Errorf("%d MiB on disk for %d MiB touched", disk>>20, touched>>20)
			}
		})
	}
}
