package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// window is how long sampling is measured in one round. A process is sampled
// once a second.
const window = 10 * time.Second

// watchMany has n sleeping processes of one name sampled for limits that they
// never pass. At the same time, and so under the same load, another process
// does the least that a sample can be.
func watchMany(n int) func(b *bench) (*watch, error) {
	return func(b *bench) (*watch, error) {
		least := &watchRow{who: nameLeast, figure: figureSample}
		sampled := &watchRow{who: nameWatch, figure: figureSample, base: least}
		w := &watch{turns: []turn{{rows: []*watchRow{sampled, least}}}}
		pids, stop, err := b.crowd.startSleepers(n)
		if err != nil {
			return nil, err
		}
		w.stop = stop
		f, err := b.follow(n, "-c", "1000", "-u", "-m", "1000000", "-pf", "1000", "-all", filepath.Base(b.crowd.sleepers))
		if err != nil {
			stop()
			return nil, err
		}
		l, end, err := b.startLook(pids)
		w.stop = func() {
			if err == nil {
				end()
			}
			f.end()
			stop()
		}
		if err != nil {
			w.stop()
			return nil, err
		}
		time.Sleep(2 * time.Second) // the first samples are not like the others
		w.turns[0].run = func() ([]reading, error) {
			readings, err := occupied(window, f.pid(), l)
			for i := range readings {
				readings[i].micros = []float64{readings[i].micros[0] / float64(n)}
			}
			return readings, err
		}
		return w, nil
	}
}

// occupied measures the CPU time of processes for a while: each reading is in
// microseconds a second.
func occupied(d time.Duration, pids ...int) ([]reading, error) {
	before := make([]time.Duration, len(pids))
	start := time.Now()
	for i, pid := range pids {
		var err error
		if before[i], err = cpuTime(pid); err != nil {
			return nil, err
		}
	}
	time.Sleep(d)
	took := time.Since(start).Seconds()
	var readings []reading
	for i, pid := range pids {
		after, err := cpuTime(pid)
		if err != nil {
			return nil, err
		}
		perSecond := (after - before[i]).Seconds() / took
		r := cost(perSecond * 1e6)
		r.core = perSecond * 100
		if r.rss, err = peakRSS(pid); err != nil {
			return nil, err
		}
		readings = append(readings, r)
	}
	return readings, nil
}

// cpuTime is what all threads of a process, those that ended too, have used,
// in nanoseconds where /proc/PID/stat has hundredths of a second.
func cpuTime(pid int) (time.Duration, error) {
	const cpuclockSched = 2 // CPUCLOCK_SCHED of linux/posix-timers.h
	clock := ^pid<<3 | cpuclockSched
	var t syscall.Timespec
	if _, _, e := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&t)), 0); e != 0 {
		return 0, fmt.Errorf("read CPU clock of process %d: %w", pid, e)
	}
	return time.Duration(t.Nano()), nil
}

// peakRSS is the most memory that a process has had, in bytes.
func peakRSS(pid int) (int64, error) {
	n, err := statusField(pid, "VmHWM:")
	if err != nil {
		return 0, err
	}
	return n << 10, nil
}

// statusField is a number of /proc/PID/status.
func statusField(pid int, name string) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if s, ok := strings.CutPrefix(line, name); ok {
			return strconv.ParseInt(strings.Fields(s)[0], 10, 64)
		}
	}
	return 0, fmt.Errorf("no %s in status of process %d", name, pid)
}

// startLook starts a helper that looks at the processes.
func (b *bench) startLook(pids []int) (pid int, end func(), err error) {
	cmd := exec.Command(b.self, childFlag, "look", strconv.Itoa(len(pids)))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, nil, fmt.Errorf("start looking: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, nil, fmt.Errorf("start looking: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return 0, nil, fmt.Errorf("start looking: %w", err)
	}
	end = func() {
		in.Close()
		cmd.Wait()
	}
	for _, p := range pids {
		fmt.Fprintln(in, p)
	}
	fmt.Fprintln(in)
	if _, err := out.Read(make([]byte, 1)); err != nil {
		end()
		return 0, nil, fmt.Errorf("start looking: %w", err)
	}
	return cmd.Process.Pid, end, nil
}

// look reads the CPU clock of each process once a second, until the end of its
// input. The PIDs come first, one a line, and an empty line after them; a byte
// on out says that it has begun.
func look(in io.Reader, out io.Writer) error {
	var pids []int
	lines := bufio.NewScanner(in)
	for lines.Scan() && lines.Text() != "" {
		pid, err := strconv.Atoi(lines.Text())
		if err != nil {
			return err
		}
		pids = append(pids, pid)
	}
	ended := make(chan struct{})
	go func() {
		for lines.Scan() {
			continue
		}
		close(ended)
	}()
	fmt.Fprint(out, "x")
	for tick := time.NewTicker(time.Second); ; {
		for _, pid := range pids {
			if _, err := cpuTime(pid); err != nil {
				return err
			}
		}
		select {
		case <-ended:
			return nil
		case <-tick.C:
		}
	}
}
