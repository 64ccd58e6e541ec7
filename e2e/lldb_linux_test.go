package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"procdump/victims"
	"procdump/victims/need"
)

// lldbPath finds lldb: version 19 or later reads minidumps with many threads.
func lldbPath(t testing.TB) string {
	t.Helper()
	for v := 30; v >= 19; v-- {
		if p, err := exec.LookPath(fmt.Sprintf("lldb-%d", v)); err == nil {
			return p
		}
	}
	return need.Tool(t, "lldb-19", "lldb")
}

// lldbDump is what lldb says of a dump, ELF core or minidump, of the program.
func lldbDump(t testing.TB, file, exe string) stacks {
	t.Helper()
	return lldbStacks(t, "target create --core "+file+" "+exe)
}

// lldbLive is what lldb says of the live process.
func lldbLive(t testing.TB, pid int) stacks {
	t.Helper()
	return lldbStacks(t, fmt.Sprintf("process attach --pid %d", pid))
}

var lldbSettings = []string{
	"settings set use-color false",
	`settings set thread-stop-format "T|${thread.id%tid}\n"`,
	`settings set frame-format "F|${frame.pc}|{${module.file.fullpath}}|{${frame.is-artificial}}|{${function.name-without-args}}\n"`,
}

func lldb(t testing.TB, commands ...string) string {
	t.Helper()
	args := []string{"--batch", "--no-lldbinit"}
	// Without a cache lldb indexes libc's debug information on every start.
	cache := victims.CacheDir("lldb")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	settings := append(lldbSettings, "settings set symbols.lldb-index-cache-path "+cache,
		"settings set symbols.enable-lldb-index-cache true",
		"settings set target.exec-search-paths "+filepath.Join(tempDir, "vdso-1")+" "+filepath.Join(tempDir, "vdso-2"))
	for _, c := range append(settings, commands...) {
		args = append(args, "-o", c)
	}
	return command(t, lldbPath(t), args...)
}

func lldbStacks(t testing.TB, open string) stacks {
	t.Helper()
	return parseLLDB(t, lldb(t, open, "bt all"))
}

var lldbLine = regexp.MustCompile(`(?:^|[ *])(T\|.*|F\|.*)$`)

// parseLLDB reads what the formats of lldbSettings print. A physical frame is
// a run of inlined ones, the first of which has the address, and the function
// that they were inlined into. Artificial frames are tail calls, guessed at.
func parseLLDB(t testing.TB, text string) stacks {
	t.Helper()
	s := stacks{}
	tid, inlinedPC := 0, uint64(0)
	for _, line := range strings.Split(text, "\n") {
		m := lldbLine.FindStringSubmatch(strings.TrimRight(line, " "))
		if m == nil {
			continue
		}
		f := strings.SplitN(m[1], "|", 5)
		n, err := strconv.ParseUint(f[1], 0, 64)
		if err != nil {
			t.Fatalf("lldb line %q: %v", line, err)
		}
		switch {
		case f[0] == "T":
			tid, inlinedPC = int(n), 0
			s[tid] = nil
		case len(f) < 5 || f[3] != "":
		case strings.Contains(f[4], "[inlined]"):
			if inlinedPC == 0 {
				inlinedPC = n
			}
		default:
			if inlinedPC != 0 {
				n = inlinedPC
			}
			s[tid] = append(s[tid], frame{pc: n, module: f[2], name: normal(f[4]), sure: true})
			inlinedPC = 0
		}
	}
	return s
}

// lldbMemory reads memory of a dump through lldb.
func lldbMemory(t testing.TB, file, exe string, addr, size uint64) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "memory")
	text := lldb(t, "target create --core "+file+" "+exe,
		fmt.Sprintf("memory read --force --binary --outfile %s --count %d %#x", out, size, addr))
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatalf("lldb read no memory at %#x: %v\n%s", addr, err, cut(text))
	}
	return b
}
