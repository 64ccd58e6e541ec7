package main

import (
	"bufio"
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

//go:embed victim/victim.c
var victimSource []byte

// buildVictim compiles the victim into dir.
func buildVictim(dir string) (string, error) {
	src, out := filepath.Join(dir, "victim.c"), filepath.Join(dir, "victim")
	if err := os.WriteFile(src, victimSource, 0o600); err != nil {
		return "", fmt.Errorf("write victim's source: %w", err)
	}
	msg, err := exec.Command("gcc", "-std=gnu11", "-O2", "-pthread", "-o", out, src).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build victim: %w\n%s", err, msg)
	}
	return out, nil
}

// victim is a running one. It ends when its standard input is closed, so it
// does not outlive the benchmark.
type victim struct {
	pid     int
	addr    uint64 // of its memory
	size    int64
	touched int64
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
}

func startVictim(program string, s shape) (*victim, error) {
	v := &victim{cmd: exec.Command(program, strconv.Itoa(s.mib), strconv.Itoa(s.percent), strconv.Itoa(s.threads))}
	v.cmd.Stderr = os.Stderr
	var err error
	if v.in, err = v.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start victim: %w", err)
	}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start victim: %w", err)
	}
	v.out = bufio.NewReader(out)
	if err := v.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start victim: %w", err)
	}
	v.pid = v.cmd.Process.Pid
	ready, err := v.answer("ready")
	if err != nil {
		v.stop()
		return nil, err
	}
	v.addr, v.size, v.touched = uint64(ready["addr"]), ready["size"], ready["touched"]
	return v, nil
}

func (v *victim) stop() {
	v.in.Close()
	v.cmd.Process.Kill()
	v.cmd.Wait()
}

// ask sends a word and returns the numbers of the answer.
func (v *victim) ask(word string) (map[string]int64, error) {
	if _, err := io.WriteString(v.in, word+"\n"); err != nil {
		return nil, fmt.Errorf("ask victim: %w", err)
	}
	return v.answer(word)
}

func (v *victim) answer(word string) (map[string]int64, error) {
	line, err := v.out.ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("hear victim's answer to %s: %w", word, err)
	}
	numbers := map[string]int64{}
	f := strings.Fields(line)
	if len(f) == 0 || f[0] != word {
		return nil, fmt.Errorf("victim answered %q to %s", line, word)
	}
	for _, pair := range f[1:] {
		k, s, _ := strings.Cut(pair, "=")
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("victim answered %q to %s", line, word)
		}
		numbers[k] = n
	}
	return numbers, nil
}

// gap is the longest absence of the victim's beating thread since the last
// question. A gap that has not ended yet is not in it, hence the sleep.
func (v *victim) gap() (time.Duration, error) {
	time.Sleep(2 * time.Millisecond)
	a, err := v.ask("gap")
	return time.Duration(a["us"]) * time.Microsecond, err
}
