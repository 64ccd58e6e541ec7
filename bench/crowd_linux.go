package main

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

//go:embed victim/actor.c
var actorSource []byte

//go:embed victim/crowd.c
var crowdSource []byte

func buildActor(dir string) (string, error) { return compile(dir, "actor", actorSource, "-pthread") }

// crowd is the program that starts many processes of one name, and the names.
type crowd struct {
	program  string
	sleepers string // path of the program as which they run
	briefs   string
}

// buildCrowd makes a static program: thousands of it must fit, and it must
// start fast. The names are such as no other process has.
func buildCrowd(dir string) (c crowd, err error) {
	if c.program, err = compile(dir, "crowd", crowdSource, "-static"); err != nil {
		return c, err
	}
	c.sleepers = filepath.Join(dir, fmt.Sprintf("asleep%d", os.Getpid()))
	c.briefs = filepath.Join(dir, fmt.Sprintf("brief%d", os.Getpid()))
	for _, name := range []string{c.sleepers, c.briefs} {
		if err := os.Link(c.program, name); err != nil {
			return c, fmt.Errorf("name the crowd: %w", err)
		}
	}
	return c, nil
}

// sleepers starts n of them; stop ends them all.
func (c crowd) startSleepers(n int) (pids []int, stop func(), err error) {
	cmd := exec.Command(c.program, "sleepers", strconv.Itoa(n), c.sleepers)
	var errs strings.Builder
	cmd.Stderr = &errs
	cmd.WaitDelay = 10 * time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, fmt.Errorf("start sleepers: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, fmt.Errorf("start sleepers: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, fmt.Errorf("start sleepers: %w", err)
	}
	stop = func() {
		in.Close()
		cmd.Wait()
	}
	for lines := bufio.NewScanner(out); len(pids) < n && lines.Scan(); {
		pid, err := strconv.Atoi(lines.Text())
		if err != nil {
			stop()
			return nil, nil, fmt.Errorf("start sleepers: %w", err)
		}
		pids = append(pids, pid)
	}
	if len(pids) < n {
		stop()
		return nil, nil, fmt.Errorf("start %d sleepers: %s", n, lastLine(errs.String()))
	}
	return pids, stop, nil
}

// brief is the life of one short-lived process, in nanoseconds since 1970.
type brief struct {
	pid               int
	execed, main, end int64
}

// runBriefs runs n of them one after the other.
func (c crowd) runBriefs(n int) ([]brief, error) {
	out, err := exec.Command(c.program, "briefs", strconv.Itoa(n), c.briefs).Output()
	if err != nil {
		return nil, fmt.Errorf("run briefs: %w", err)
	}
	return parseBriefs(strings.NewReader(string(out)), n)
}

func parseBriefs(r io.Reader, n int) ([]brief, error) {
	var list []brief
	for {
		var x brief
		_, err := fmt.Fscanln(r, &x.pid, &x.execed, &x.main, &x.end)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read briefs: %w", err)
		}
		list = append(list, x)
	}
	if len(list) != n {
		return nil, fmt.Errorf("%d of %d short-lived processes told of their lives", len(list), n)
	}
	return list, nil
}
