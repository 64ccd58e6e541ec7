package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// kernelTool is a program that makes a dump of a kernel of a vmcore.
type kernelTool struct {
	name  string
	level int // what it leaves out: 0 nothing, 31 all but the kernel's memory
	argv  func(b *bench, in, out string) []string
}

// kernelTools are the contestants of the case kernel.
func kernelTools() []kernelTool {
	peer := func(name, method string, level int) kernelTool {
		return kernelTool{name, level, func(_ *bench, in, out string) []string {
			return []string{"makedumpfile", method, "-d", fmt.Sprint(level), "--message-level", "1", in, out}
		}}
	}
	own := func(name, kind, method string, level int) kernelTool {
		return kernelTool{name, level, func(b *bench, in, out string) []string {
			return []string{b.procdump, "convert", "-type", kind, "-z", method, in, out}
		}}
	}
	list := []kernelTool{
		{nameRead, 0, func(b *bench, in, _ string) []string { return []string{b.self, childFlag, "read", in} }},
		peer(nameKernelLZO, "-l", 31),
		own(nameKernelZstd, "kernel", "zstd", 31),
		own(nameKernelSnappy, "kernel", "snappy", 31),
		peer(nameCompleteLZO, "-l", 0),
		own(nameCompleteSnappy, "complete", "snappy", 0),
		own(nameCompleteZstd, "complete", "zstd", 0),
	}
	if peerHasZstd() {
		list = append(list, peer(namePeerZstd, "-z", 31))
	}
	return list
}

// peerHasZstd tells whether makedumpfile was built with zstd; Debian's was not.
func peerHasZstd() bool {
	out, _ := exec.Command("makedumpfile", "-v").CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "zstd" {
			return f[1] == "enabled"
		}
	}
	return false
}

// playKernel runs the rounds of the case kernel. All write to memory, so that
// no disk is measured.
func (b *bench) playKernel(c benchCase, rounds int) (*result, error) {
	// Without QEMU and a kernel for it nobody takes part.
	in, missing := vmcore(b.procdump)
	tools := kernelTools()
	res := &result{name: c.name}
	for _, t := range tools {
		res.kernel = append(res.kernel, &row{tool: t.name, place: placeTmpfs})
	}
	for round := range rounds * c.rounds {
		for _, i := range rand.Perm(len(tools)) {
			r := res.kernel[i]
			if r.err() != nil {
				continue
			}
			progress("%s: round %d of %d: %s", c.name, round+1, rounds*c.rounds, r.tool)
			if missing != nil {
				r.samples = append(r.samples, sample{err: missing})
				continue
			}
			r.samples = append(r.samples, b.runKernel(tools[i], in))
		}
	}
	progress("")
	return res, nil
}

// runKernel lets one contestant work once, on a file that is in the page cache.
func (b *bench) runKernel(t kernelTool, in string) sample {
	if err := readFile(in); err != nil {
		return sample{err: err}
	}
	dir, err := os.MkdirTemp(b.places[placeTmpfs], "run")
	if err != nil {
		return sample{err: fmt.Errorf("make folder: %w", err)}
	}
	defer os.RemoveAll(dir)
	const most = 2 << 30 // that any of them writes
	if err := b.prepare(most); err != nil {
		return sample{err: err}
	}
	argv := t.argv(b, in, filepath.Join(dir, "dump.kdump"))
	if _, err := exec.LookPath(argv[0]); err != nil {
		return sample{err: err}
	}
	s, _ := command(argv...)
	if s.err != nil {
		s.err = fmt.Errorf("%s: %w", t.name, s.err)
		return s
	}
	s.flush, s.disk, s.err = settle(dir)
	s.flush, s.own, s.seen = 0, -1, -1
	const least = 4 << 20 // a dump of less is none
	if s.err == nil && t.name != nameRead && s.disk < least {
		s.err = fmt.Errorf("%s: a dump of %d bytes", t.name, s.disk)
	}
	return s
}

// readFile reads a file to its end: the machine's limit for who looks at all
// of it.
func readFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, piece)
	for {
		if _, err := f.Read(b); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}
