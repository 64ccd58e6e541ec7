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
	"syscall"
	"time"
)

//go:embed victim/victim.c
var victimSource []byte

// buildVictim compiles the victim into dir.
func buildVictim(dir string) (string, error) {
	return compile(dir, "victim", victimSource, "-g", "-pthread")
}

func compile(dir, name string, source []byte, flags ...string) (string, error) {
	src, out := filepath.Join(dir, name+".c"), filepath.Join(dir, name)
	if err := os.WriteFile(src, source, 0o600); err != nil {
		return "", fmt.Errorf("write %s's source: %w", name, err)
	}
	argv := append([]string{"-std=gnu11", "-O2", "-o", out, src}, flags...)
	if msg, err := exec.Command("gcc", argv...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, msg)
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
	argv := []string{program, strconv.Itoa(s.mib), strconv.Itoa(s.percent), strconv.Itoa(s.threads)}
	if s.huge {
		argv = append(argv, "thp")
	}
	if s.deep {
		argv = append(argv, "deep")
	}
	if s.dirty > 0 {
		argv = append(argv, "dirty="+strconv.Itoa(s.dirty))
	}
	if s.maps > 0 {
		argv = append(argv, "maps="+strconv.Itoa(s.maps))
	}
	v, ready, err := startAsked(argv...)
	if err != nil {
		return nil, err
	}
	v.addr, v.size, v.touched = uint64(ready["addr"]), ready["size"], ready["touched"]
	return v, nil
}

// startAsked starts a program that answers questions; the first answer is "ready".
func startAsked(argv ...string) (v *victim, ready map[string]int64, err error) {
	v = &victim{cmd: exec.Command(argv[0], argv[1:]...)}
	v.cmd.Stderr = os.Stderr
	if v.in, err = v.cmd.StdinPipe(); err != nil {
		return nil, nil, fmt.Errorf("start victim: %w", err)
	}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		return nil, nil, fmt.Errorf("start victim: %w", err)
	}
	v.out = bufio.NewReader(out)
	if err := v.cmd.Start(); err != nil {
		return nil, nil, fmt.Errorf("start victim: %w", err)
	}
	v.pid = v.cmd.Process.Pid
	if ready, err = v.answer("ready"); err != nil {
		v.stop()
		return nil, nil, err
	}
	return v, ready, nil
}

func (v *victim) stop() {
	v.in.Close()
	v.cmd.Process.Kill()
	v.cmd.Wait()
}

// die makes a victim die of SIGSEGV; at is the moment before the fault and end
// when it was gone, in nanoseconds since 1970.
func (v *victim) die() (at, end int64, err error) {
	a, err := v.ask("fault")
	if err != nil {
		return 0, 0, err
	}
	v.cmd.Wait()
	end = time.Now().UnixNano()
	if s, ok := v.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGSEGV {
		return 0, 0, fmt.Errorf("the victim did not die of SIGSEGV: %s", v.cmd.ProcessState)
	}
	return a["at"], end, nil
}

// ask sends a word, and what belongs to it, and returns the numbers of the answer.
func (v *victim) ask(word string, more ...string) (map[string]int64, error) {
	line := strings.Join(append([]string{word}, more...), " ")
	if _, err := io.WriteString(v.in, line+"\n"); err != nil {
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
// question, and how many MiB a second it has written to since. A gap that has not
// ended yet is not in it, hence the sleep.
func (v *victim) gap() (longest time.Duration, rate float64, err error) {
	time.Sleep(2 * time.Millisecond)
	a, err := v.ask("gap")
	mib := float64(a["pages"]) * 4096 / (1 << 20)
	return time.Duration(a["us"]) * time.Microsecond, mib / (time.Duration(a["within"]) * time.Microsecond).Seconds(), err
}

// huge is which share of the victim's memory is in transparent huge pages now.
func (v *victim) huge() (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", v.pid))
	if err != nil {
		return 0, fmt.Errorf("count huge pages: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "AnonHugePages:" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			return float64(kib<<10) / float64(v.touched), err
		}
	}
	return 0, fmt.Errorf("count huge pages: /proc/%d/smaps_rollup does not tell", v.pid)
}
