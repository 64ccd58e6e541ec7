package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const corePatternFile = "/proc/sys/kernel/core_pattern"

// maxCorePattern is CORENAME_MAX_SIZE without the final zero.
const maxCorePattern = 127

// corePattern holds the system's core_pattern changed. A process of its own
// (guardCorePattern) sets it and puts the old one back when this process ends
// for whatever reason, kill -9 included.
type corePattern struct {
	guard *exec.Cmd
	in    io.WriteCloser
}

// setCorePattern makes crashing processes write their cores to pattern.
func setCorePattern(self, pattern string) (*corePattern, error) {
	c := &corePattern{guard: exec.Command(self, childFlag, "guard", pattern)}
	// A process group of its own: Ctrl-C must not reach it before it is done.
	c.guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.guard.Stderr = os.Stderr
	var err error
	if c.in, err = c.guard.StdinPipe(); err != nil {
		return nil, fmt.Errorf("set core_pattern: %w", err)
	}
	out, err := c.guard.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("set core_pattern: %w", err)
	}
	if err := c.guard.Start(); err != nil {
		return nil, fmt.Errorf("set core_pattern: %w", err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		return nil, errors.Join(errors.New("set core_pattern: not done"), c.restore())
	}
	return c, nil
}

// restore puts the old pattern back.
func (c *corePattern) restore() error {
	c.in.Close()
	if err := c.guard.Wait(); err != nil {
		return fmt.Errorf("restore core_pattern: %w", err)
	}
	return nil
}

// guardCorePattern sets the pattern, says so with a byte, waits for the end of
// standard input, and restores what was there. Guards take turns.
func guardCorePattern(args []string, in io.Reader, out io.Writer, file string) error {
	if len(args) != 1 || len(args[0]) > maxCorePattern {
		return fmt.Errorf("guard takes a PATTERN of up to %d bytes", maxCorePattern)
	}
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	lock, err := os.Open(file)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", file, err)
	}
	old, err := readPattern(file)
	if err != nil {
		return err
	}
	if err := writePattern(file, args[0]); err != nil {
		return err
	}
	fmt.Fprint(out, "x")
	io.Copy(io.Discard, in)
	return restorePattern(file, args[0], old)
}

// restorePattern puts old back in place of ours. Others who change the pattern
// for a while may not take the lock: one who began after us has saved ours and
// will write it when done, so that is waited for. What is neither ours nor old
// at the end of patience was set by someone who means it, and is left.
func restorePattern(file, ours, old string) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		now, err := readPattern(file)
		switch {
		case err != nil:
			return err
		case now == ours:
			return writePattern(file, old)
		case now == old:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("%s was changed to %q meanwhile, and is left so; it was %q", file, now, old)
		}
	}
}

// patience is for the longest time another program may hold the pattern.
var patience = time.Minute

func readPattern(file string) (string, error) {
	b, err := os.ReadFile(file)
	return strings.TrimSuffix(string(b), "\n"), err
}

// writePattern replaces the pattern; an empty one is written as a bare newline.
func writePattern(file, pattern string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(pattern + "\n")
	return errors.Join(err, f.Close())
}
