package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// gdbScript prints each thread and each frame on a line of its own: gdb's
// "thread apply all bt" leaves out addresses at the start of a source line.
// Frames that gdb makes up for tail calls are no part of the stack.
const gdbScript = `
import gdb
for thread in sorted(gdb.selected_inferior().threads(), key=lambda t: t.num):
    thread.switch()
    print("T|%d" % (thread.ptid[1] or thread.ptid[0]))
    frame = gdb.newest_frame()
    while frame is not None and frame.is_valid():
        if frame.type() not in (gdb.INLINE_FRAME, gdb.TAILCALL_FRAME):
            pc = frame.pc()
            name = frame.name()
            if name is None and frame.type() == gdb.SIGTRAMP_FRAME:
                name = "__restore_rt"
            module = gdb.solib_name(pc) or gdb.current_progspace().filename or ""
            print("F|%d|%s|%s" % (pc & 0xffffffffffffffff, module, name or ""))
        try:
            frame = frame.older()
        except gdb.error as e:
            print("E|%s" % e)
            break
`

// gdb runs gdb in batch mode with the commands, after the options and files.
func gdb(t testing.TB, options []string, commands ...string) string {
	t.Helper()
	args := []string{"--batch", "-nx", "-q", "-iex", "set debuginfod enabled off", "-iex", "set auto-load no",
		"-iex", "set backtrace past-main on", "-iex", "set backtrace past-entry on", "-iex", "set print thread-events off"}
	args = append(args, options...)
	for _, c := range commands {
		args = append(args, "-ex", c)
	}
	return command(t, "gdb", args...)
}

// gdbLive is what gdb says of the live process: the truth that dumps must tell.
// exe is the program's file.
func gdbLive(t testing.TB, pid int, exe string) stacks {
	t.Helper()
	s := parseFrames(t, gdb(t, []string{"-p", strconv.Itoa(pid), exe}, "source "+gdbScriptFile(t)))
	if len(s) == 0 {
		t.Fatalf("gdb saw no thread of process %d", pid)
	}
	return s
}

// gdbCore is what gdb says of an ELF core of the program, opened with options.
func gdbCore(t testing.TB, exe, core string, options ...string) stacks {
	t.Helper()
	return parseFrames(t, gdb(t, append(options, exe, core), "source "+gdbScriptFile(t)))
}

func gdbScriptFile(t testing.TB) string {
	t.Helper()
	p := filepath.Join(tempDir, "stacks.py")
	if b, err := os.ReadFile(p); err == nil && string(b) == gdbScript {
		return p
	}
	if err := os.WriteFile(p, []byte(gdbScript), 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

// parseFrames reads the lines that gdbScript prints.
func parseFrames(t testing.TB, text string) stacks {
	t.Helper()
	s := stacks{}
	tid := 0
	for _, line := range strings.Split(text, "\n") {
		f := strings.SplitN(line, "|", 4)
		switch {
		case f[0] == "T" && len(f) == 2:
			n, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatalf("gdb line %q: %v", line, err)
			}
			tid = n
			s[tid] = nil
		case f[0] == "F" && len(f) == 4:
			pc, err := strconv.ParseUint(f[1], 10, 64)
			if err != nil {
				t.Fatalf("gdb line %q: %v", line, err)
			}
			s[tid] = append(s[tid], frame{pc: pc, module: strings.TrimPrefix(f[2], "target:"), name: normal(f[3]), sure: true})
		}
	}
	return s
}

// gdbMemory reads memory through gdb.
func gdbMemory(t testing.TB, options []string, addr, size uint64) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "memory")
	gdb(t, options, fmt.Sprintf("dump binary memory %s %#x %#x", out, addr, addr+size))
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatalf("gdb read no memory at %#x: %v", addr, err)
	}
	return b
}

// gdbMemories reads many ranges; one that gdb cannot read is nil.
func gdbMemories(t testing.TB, options []string, ranges [][2]uint64) [][]byte {
	t.Helper()
	dir := t.TempDir()
	var script bytes.Buffer
	fmt.Fprintln(&script, "import gdb\nmemory = gdb.selected_inferior()")
	// By pages: where gdb begins to read in an image's file it goes on there,
	// past pages that the core has.
	fmt.Fprint(&script, `
def take(name, start, end):
    data = bytearray()
    try:
        for page in range(start, end, 4096):
            data += memory.read_memory(page, min(4096, end - page))
    except gdb.MemoryError:
        return
    open(name, "wb").write(data)
`)
	for i, r := range ranges {
		fmt.Fprintf(&script, "take('%s/%d', %d, %d)\n", dir, i, r[0], r[1])
	}
	file := filepath.Join(dir, "take.py")
	if err := os.WriteFile(file, script.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	gdb(t, options, "source "+file)
	all := make([][]byte, len(ranges))
	for i := range ranges {
		if b, err := os.ReadFile(filepath.Join(dir, strconv.Itoa(i))); err == nil {
			all[i] = b
		}
	}
	return all
}
