package counter

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// ofMachine opens a file of /proc.
func ofMachine(name string, g get) func(Env, string, int) (sampler, error) {
	return func(e Env, _ string, _ int) (sampler, error) {
		return openFile(e, 0, filepath.Join(e.Proc, name), g)
	}
}

func firstNumber(text []byte) (float64, float64, error) {
	v, ok := number(field(text, 0))
	if !ok {
		return 0, 0, errNoField
	}
	return v, 0, nil
}

// Columns of a cpu line of /proc/stat, in ticks (proc_stat(5)). guest and
// guest_nice are part of user and nice.
const (
	cpuUser = iota
	cpuNice
	cpuSystem
	cpuIdle
	cpuIOWait
	cpuIRQ
	cpuSoftIRQ
	cpuSteal
	cpuColumns
)

// ofProcessor gives the share of some columns in all, or, with busy, of all
// but them.
func ofProcessor(busy bool, columns ...int) func(Env, string, int) (sampler, error) {
	return func(e Env, instance string, _ int) (sampler, error) {
		key := "cpu"
		if instance != total {
			if _, ok := number([]byte(instance)); !ok || strings.ContainsAny(instance, ".e-+") {
				return nil, fmt.Errorf("%w (%s): processors have numbers, and (_Total) is all", ErrInstance, instance)
			}
			key += instance
		}
		return openFile(e, 0, filepath.Join(e.Proc, "stat"), func(text []byte) (part, all float64, err error) {
			line, ok := keyed(text, key)
			if !ok {
				return 0, 0, fmt.Errorf("%w: processor %s does not exist or is off line", ErrInstance, instance)
			}
			var ticks [cpuColumns]float64
			for i := range ticks {
				// Steal came with Linux 2.6.11; a missing column is 0.
				ticks[i], _ = number(field(line, i))
				all += ticks[i]
			}
			for _, c := range columns {
				part += ticks[c]
			}
			if busy {
				part = all - part
			}
			return part, all, nil
		})
	}
}

// interrupts is the first number of the intr line: all since boot.
func interrupts(text []byte) (float64, float64, error) {
	line, ok := keyed(text, "intr")
	if !ok {
		return 0, 0, errNoField
	}
	return firstNumber(line)
}

// queueLength is how many threads can run but find no processor: all that can
// run less the processors that are on line. procs_running counts those that
// run, too, procdump's own among them (nr_running in the kernel's
// kernel/sched/core.c). It is a lower bound: threads bound to one processor
// can queue while another is idle.
func queueLength(text []byte) (float64, float64, error) {
	running, ok := keyedNumber(text, "procs_running")
	if !ok {
		return 0, 0, errNoField
	}
	processors := 0.0
	for line := text; bytes.HasPrefix(line, []byte("cpu")); {
		if len(line) > 3 && line[3] >= '0' && line[3] <= '9' {
			processors++
		}
		i := bytes.IndexByte(line, '\n')
		if i < 0 {
			break
		}
		line = line[i+1:]
	}
	return max(0, running-processors), 0, nil
}

// threads is the second number of "running/all" in /proc/loadavg.
func threads(text []byte) (float64, float64, error) {
	_, all, _ := bytes.Cut(field(text, 3), []byte("/"))
	v, ok := number(all)
	if !ok {
		return 0, 0, errNoField
	}
	return v, 0, nil
}

// committed is the share of the commit limit that is promised.
func committed(text []byte) (float64, float64, error) {
	promised, ok := keyedNumber(text, "Committed_AS")
	limit, found := keyedNumber(text, "CommitLimit")
	if !ok || !found || limit == 0 {
		return 0, 0, errNoField
	}
	return promised / limit, 0, nil
}

// folder counts the processes in /proc.
type folder struct{ d *os.File }

func openProcesses(e Env, _ string, _ int) (sampler, error) {
	d, err := os.Open(e.Proc)
	if err != nil {
		return nil, err
	}
	return &folder{d}, nil
}

func (f *folder) sample(now time.Time) (reading, error) {
	if _, err := f.d.Seek(0, io.SeekStart); err != nil {
		return reading{}, err
	}
	n, err := countEntries(f.d, true)
	return reading{num: float64(n), at: now}, err
}

func (f *folder) Close() error { return f.d.Close() }
