package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"procdump/victims"
	"procdump/victims/need"
)

// breakpadTool finds one of Breakpad's programs, where install-test-deps puts
// them or in PATH.
func breakpadTool(t testing.TB, name string) string {
	t.Helper()
	p := filepath.Join(victims.CacheDir("npm"), "node_modules/minidump/bin/linux-x64", name)
	if _, err := os.Stat(p); err == nil {
		return p
	}
	return need.Tool(t, name)
}

// symbolDir holds the symbol files of Breakpad: NAME/ID/NAME.sym.
func symbolDir() string { return filepath.Join(tempDir, "symbols") }

var symbolsDone sync.Map // image path → *sync.Once

// breakpadSymbols makes the symbol file of an image, once.
func breakpadSymbols(t testing.TB, image string) {
	t.Helper()
	once, _ := symbolsDone.LoadOrStore(image, new(sync.Once))
	once.(*sync.Once).Do(func() {
		args := []string{image}
		if d := debugFile(image); d != "" {
			args = append(args, filepath.Dir(d))
		}
		// dump_syms fails on images without any symbols; the stacks will tell.
		text, err := exec.Command(breakpadTool(t, "dump_syms"), args...).Output()
		first, _, _ := strings.Cut(string(text), "\n")
		f := strings.Fields(first)
		if err != nil || len(f) != 5 || f[0] != "MODULE" {
			t.Logf("dump_syms %s: %v, %q", image, err, first)
			return
		}
		name := f[4] // the DT_SONAME, if it has one
		if filepath.Base(image) == vdsoName {
			name = vdsoName
		}
		dir := filepath.Join(symbolDir(), name, f[3])
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+".sym"), text, 0o644); err != nil {
			t.Fatal(err)
		}
	})
}

// images lists the ELF files mapped executable into a process.
func images(t testing.TB, pid int) []string {
	t.Helper()
	var all []string
	seen := map[string]bool{}
	for _, m := range mappings(t, pid) {
		if strings.HasPrefix(m.path, "/") && m.perm[2] == 'x' && !seen[m.path] {
			seen[m.path] = true
			all = append(all, m.path)
		}
		if m.path == "[vdso]" {
			all = append(all, vdso(t, pid, m))
		}
	}
	return all
}

// vdsoName is what minidumps call the vdso.
const vdsoName = "linux-gate.so"

// vdso writes the vdso of a process into a file. No file system has it, and
// neither lldb nor Breakpad takes a module from a minidump's memory.
func vdso(t testing.TB, pid int, m mapping) string {
	t.Helper()
	b := processMemory(t, pid, m.start, m.end-m.start)
	file := filepath.Join(tempDir, fmt.Sprintf("vdso-%d", b[4]), vdsoName) // [EI_CLASS]
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// processMemory reads memory of a live process.
func processMemory(t testing.TB, pid int, addr, size uint64) []byte {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, size)
	if _, err := f.ReadAt(b, int64(addr)); err != nil {
		t.Fatal(err)
	}
	return b
}

var (
	walkThread = regexp.MustCompile(`^Thread (\d+)`)
	walkFrame  = regexp.MustCompile(`^ ?(\d+)  (.+)$`)
	walkPC     = regexp.MustCompile(`\b[re]ip = 0x([0-9a-f]+)`)
	walkName   = regexp.MustCompile(`^[^!]*!(.*?)( \[[^\]]* : \d+ \+ 0x[0-9a-f]+\]| \+ 0x[0-9a-f]+)?$`)
	dumpThread = regexp.MustCompile(`thread_id\s+= 0x([0-9a-f]+)`)
)

// stackwalk is what Breakpad says of a minidump, with the symbols of images.
func stackwalk(t testing.TB, file string, images []string) stacks {
	t.Helper()
	for _, i := range images {
		breakpadSymbols(t, i)
	}
	text := command(t, breakpadTool(t, "minidump_stackwalk"), file, symbolDir())
	// The walker numbers threads; minidump_dump knows their TIDs, in that order.
	// Its exit code is that of streams which it does not know.
	raw, _ := output(breakpadTool(t, "minidump_dump"), file)
	list, rest, _ := strings.Cut(raw, "MDRawThread")
	_ = list
	list, _, _ = strings.Cut(rest, "MinidumpModuleList")
	var tids []int
	for _, m := range dumpThread.FindAllStringSubmatch(list, -1) {
		n, _ := strconv.ParseInt(m[1], 16, 64)
		tids = append(tids, int(n))
	}
	s, err := parseStackwalk(text, tids)
	if err != nil {
		t.Fatalf("minidump_stackwalk %s: %v\n%s", file, err, cut(text))
	}
	return s
}

func parseStackwalk(text string, tids []int) (stacks, error) {
	s := stacks{}
	tid := 0
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "Loaded modules:") {
			break
		}
		if m := walkThread.FindStringSubmatch(line); m != nil {
			n, _ := strconv.Atoi(m[1])
			if n >= len(tids) {
				return nil, fmt.Errorf("thread %d of %d known ones", n, len(tids))
			}
			tid = tids[n]
			s[tid] = nil
			continue
		}
		if tid == 0 {
			continue
		}
		if m := walkFrame.FindStringSubmatch(line); m != nil {
			f := frame{name: unknown}
			if !strings.HasPrefix(m[2], "0x") {
				f.module, _, _ = strings.Cut(m[2], "!")
			}
			if name := walkName.FindStringSubmatch(m[2]); name != nil {
				f.name = normal(name[1])
			}
			s[tid] = append(s[tid], f)
			continue
		}
		all := s[tid]
		if len(all) == 0 {
			continue
		}
		last := &all[len(all)-1]
		if m := walkPC.FindStringSubmatch(line); m != nil {
			last.pc, _ = strconv.ParseUint(m[1], 16, 64)
		}
		if _, by, ok := strings.Cut(line, "Found by: "); ok {
			// dump_syms does not write that a thread's first function has no
			// caller: what the walker finds above is in no module.
			last.sure = last.module != "" && by == "call frame info" || by == "given as instruction pointer in context"
		}
	}
	if len(s) == 0 {
		return nil, fmt.Errorf("no threads")
	}
	return s, nil
}
