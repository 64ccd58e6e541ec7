package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// runLimit ends a contestant that hangs.
const runLimit = 10 * time.Minute

// bench is what all runs need.
type bench struct {
	self     string // this program, for its child modes
	procdump string
	victim   string // the victim's program
	actor    string // and those of the ones to be watched
	crowd    crowd
	places   map[string]string
}

// run lets one contestant dump the victim once.
func (b *bench) run(v *victim, t tool, place string) (s sample) {
	dir, err := os.MkdirTemp(b.places[place], "run")
	if err != nil {
		return sample{err: fmt.Errorf("make folder: %w", err)}
	}
	defer os.RemoveAll(dir)
	if err := b.prepare(v.touched); err != nil {
		return sample{err: err}
	}
	huge, err := v.huge()
	if err != nil {
		return sample{err: err}
	}
	if _, _, err := v.gap(); err != nil {
		return sample{err: err}
	}
	if s = t.dump(b, v, dir); s.err != nil {
		s.err = fmt.Errorf("%s: %w", t.name, s.err)
		return s
	}
	s.held, s.huge = v.touched, huge
	if s.seen >= 0 {
		if s.seen, s.rate, s.err = v.gap(); s.err != nil {
			return s
		}
	}
	if t.noFile {
		return s
	}
	s.flush, s.disk, s.err = settle(dir)
	if s.err == nil && s.disk < v.touched/t.leastShare {
		s.err = fmt.Errorf("%s: dump of %d bytes for %d in memory", t.name, s.disk, v.touched)
	}
	return s
}

// prepare makes runs alike. Guest memory that was free for long belongs to the
// host: the first to touch it again pays many times the price, so memory for
// the dump is touched and freed beforehand. Another process does it, because
// what this one ever used counts as the peak of the programs it starts.
func (b *bench) prepare(size int64) error {
	syscall.Sync()
	out, err := exec.Command(b.self, childFlag, "prewarm", strconv.FormatInt(size+256<<20, 10)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("prewarm memory: %w: %s", err, out)
	}
	return nil
}

// prewarm touches size bytes of memory.
func prewarm(args []string) error {
	if len(args) != 1 {
		return errors.New("prewarm takes a SIZE")
	}
	size, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	p, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		return err
	}
	// Huge pages: memory freed in small ones is not what a file system that
	// allocates large folios gets next, and ext4 was then as slow, and as
	// unsteady, as without any of this. Where there are none it does no harm.
	_ = syscall.Madvise(p, syscall.MADV_HUGEPAGE)
	for i := 0; i < size; i += os.Getpagesize() {
		p[i] = 1
	}
	return nil
}

// settle syncs the files of a folder and tells how long it took and what they
// occupy.
func settle(dir string) (took time.Duration, disk int64, err error) {
	start := time.Now()
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := f.Sync(); err != nil {
			return err
		}
		fi, err := f.Stat()
		if err != nil {
			return err
		}
		disk += fi.Sys().(*syscall.Stat_t).Blocks * 512
		return nil
	})
	if err != nil {
		return 0, 0, fmt.Errorf("sync dump: %w", err)
	}
	return time.Since(start), disk, nil
}

// command runs a program and measures it with wait4.
func command(argv ...string) (s sample, stdout string) {
	ctx, cancel := context.WithTimeout(context.Background(), runLimit)
	defer cancel()
	var out, errs strings.Builder
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = time.Second
	start := time.Now()
	err := cmd.Run()
	s = sample{wall: time.Since(start), own: -1}
	if err != nil {
		s.err = fmt.Errorf("%w: %s", err, lastLine(errs.String()+out.String()))
		return s, ""
	}
	s.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	s.rss = cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	return s, out.String()
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
