package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
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
// standard input, and restores what was there.
func guardCorePattern(args []string, in io.Reader, out io.Writer, file string) error {
	if len(args) != 1 || len(args[0]) > maxCorePattern {
		return fmt.Errorf("guard takes a PATTERN of up to %d bytes", maxCorePattern)
	}
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	old = bytes.TrimSuffix(old, []byte("\n"))
	if err := writePattern(file, []byte(args[0])); err != nil {
		return err
	}
	fmt.Fprint(out, "x")
	io.Copy(io.Discard, in)
	return writePattern(file, old)
}

// writePattern replaces the pattern; an empty one is written as a bare newline.
func writePattern(file string, pattern []byte) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(append(bytes.Clone(pattern), '\n'))
	return errors.Join(err, f.Close())
}
