package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// reader is a program that says what a dump of the victim tells.
type reader struct {
	name string
	argv []string
	// word is in a line of what it says, or, of all stacks, in one for each thread.
	word string
	all  bool
}

// readers are the contestants of a case of reading dumps.
func (b *bench) readers(name, dump string) []reader {
	gdb := []string{"gdb", "-nx", "-batch", "-ex"}
	if name == caseInspectAll {
		return []reader{
			{nameInspectAll, []string{b.procdump, "inspect", "-json", dump}, `"function": "start_thread"`, true},
			{nameGDBAll, append(gdb, "thread apply all bt", b.victim, dump), " in start_thread (", true},
		}
	}
	return []reader{
		{nameInspect, []string{b.procdump, "inspect", dump}, " fall at ", false},
		{nameGDBOne, append(gdb, "bt", b.victim, dump), "  fall ()", false},
	}
}

// playInspect dumps a victim that crashes, and runs the rounds of a case.
func (b *bench) playInspect(c benchCase, rounds int) (*result, error) {
	// Nobody is to ask a server for debug information.
	if err := os.Unsetenv("DEBUGINFOD_URLS"); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.places[placeTmpfs], "run")
	if err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	defer os.RemoveAll(dir)
	progress("%s: making the dump", c.name)
	dump, err := b.crashDump(c.shape, dir)
	if err != nil {
		return nil, err
	}
	readers := b.readers(c.name, dump)
	res := &result{name: c.name}
	for _, r := range readers {
		res.readers = append(res.readers, &row{tool: r.name, place: placeTmpfs})
	}
	for round := range rounds {
		for _, i := range rand.Perm(len(readers)) {
			r := res.readers[i]
			if r.err() != nil {
				continue
			}
			progress("%s: round %d of %d: %s", c.name, round+1, rounds, r.tool)
			r.samples = append(r.samples, readers[i].read(c.shape, dir))
		}
	}
	progress("")
	return res, nil
}

// crashDump lets a victim die of SIGSEGV under procdump, which writes a full dump.
func (b *bench) crashDump(s shape, dir string) (file string, err error) {
	v, err := startVictim(b.victim, s)
	if err != nil {
		return "", err
	}
	defer v.stop()
	if err := b.prepare(v.touched); err != nil {
		return "", err
	}
	f, err := b.follow(1, "-e", "-ma", strconv.Itoa(v.pid), dir)
	if err != nil {
		return "", err
	}
	defer f.end()
	if err := waitTraced(v.pid); err != nil {
		return "", err
	}
	if _, _, err := v.die(); err != nil {
		return "", err
	}
	if err := f.wait("complete", 1); err != nil {
		return "", err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 {
		return "", fmt.Errorf("there are %d dumps: %v", len(files), err)
	}
	return files[0], nil
}

// read lets a contestant read the dump once. One that does not say what is to be
// said has failed, however fast it was. What it says goes to a file: 40 MiB that
// this program held would count as the peak of those that it starts.
func (r reader) read(s shape, dir string) sample {
	if _, err := exec.LookPath(r.argv[0]); err != nil {
		return sample{err: err}
	}
	answer := filepath.Join(dir, "answer")
	m, _ := command(append([]string{"sh", "-c", `exec "$@" >"$0"`, answer}, r.argv...)...)
	if m.err != nil {
		m.err = fmt.Errorf("%s: %w", r.name, m.err)
		return m
	}
	want := 1
	if r.all {
		want = s.threads - 1 // all but main's, which no function of the library starts
	}
	n, err := countLines(answer, r.word)
	if err == nil && n < want {
		err = fmt.Errorf("%s: %q is in %d lines of its answer, not %d", r.name, r.word, n, want)
	}
	m.own, m.seen, m.disk, m.err = -1, -1, -1, err
	return m
}

// countLines counts the lines of a file that have a word.
func countLines(file, word string) (n int, err error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if strings.Contains(lines.Text(), word) {
			n++
		}
	}
	return n, lines.Err()
}
