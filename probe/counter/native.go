package counter

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"procdump/probe/psi"
)

// natives are the forms that Windows does not have, by what is before the colon.
var natives = map[string]func(rest string) (native, error){
	"psi":    parsePSI,
	"cgroup": parseCgroup,
	"proc":   parseProc,
	"prom":   parseProm,
}

// pressure is psi:[cgroup.]RESOURCE.KIND.FIELD.
type pressure struct {
	cgroup                bool
	resource, kind, field string
}

var (
	psiResources = []string{"cpu", "memory", "io", "irq"}
	psiKinds     = []string{"some", "full"}
	psiFields    = []string{"avg10", "avg60", "avg300", "total"}
)

func parsePSI(rest string) (native, error) {
	parts := strings.Split(strings.ToLower(strings.TrimSpace(rest)), ".")
	var p pressure
	if parts[0] == "cgroup" {
		p.cgroup, parts = true, parts[1:]
	}
	if len(parts) != 3 || !slices.Contains(psiResources, parts[0]) || !slices.Contains(psiKinds, parts[1]) || !slices.Contains(psiFields, parts[2]) {
		return nil, errors.New("want psi:[cgroup.](cpu|memory|io|irq).(some|full).(avg10|avg60|avg300|total)")
	}
	p.resource, p.kind, p.field = parts[0], parts[1], parts[2]
	return p, nil
}

func (p pressure) String() string {
	prefix := "psi:"
	if p.cgroup {
		prefix += "cgroup."
	}
	return prefix + p.resource + "." + p.kind + "." + p.field
}

func (p pressure) unit() string {
	if p.field == "total" {
		return "µs"
	}
	return "%"
}

func (p pressure) perProcess() bool { return p.cgroup }

func (p pressure) open(e Env, pid int) (sampler, error) {
	if p.cgroup {
		file := p.resource + ".pressure:" + p.kind + "." + p.field
		if e.Cgroup == nil {
			return nil, errNoCgroups
		}
		return &called{func() (float64, error) {
			v, err := e.Cgroup(pid, file)
			if err = gone(e, pid, err); err != nil && !errors.Is(err, ErrGone) {
				err = fmt.Errorf("%w; pressure of control groups needs version 2, a kernel with CONFIG_PSI booted with psi=1, and 1 in cgroup.pressure", err)
			}
			return v, err
		}}, nil
	}
	f, err := psi.Open(filepath.Join(e.Proc, "pressure", p.resource))
	if err != nil {
		return nil, err
	}
	return &pressureFile{p, f}, nil
}

// errNoCgroups: the caller reads none.
var errNoCgroups = fmt.Errorf("control groups are not read here: %w", errors.ErrUnsupported)

type pressureFile struct {
	pressure
	*psi.File
}

func (f *pressureFile) sample(now time.Time) (reading, error) {
	all, err := f.Read()
	if err != nil {
		return reading{}, err
	}
	line, ok := all.Line(f.kind)
	if !ok {
		return reading{}, fmt.Errorf("this kernel has no %q line for %s: %w", f.kind, f.resource, errors.ErrUnsupported)
	}
	v, _ := line.Value(f.field)
	return reading{num: v, at: now}, nil
}

// cgroupFile is cgroup:FILE or cgroup:FILE:LINE.
type cgroupFile struct{ file string }

func parseCgroup(rest string) (native, error) {
	rest = strings.TrimSpace(rest)
	file, _, _ := strings.Cut(rest, ":")
	if file == "" || strings.ContainsAny(rest, "/ \t") || strings.HasPrefix(file, ".") || !strings.Contains(file, ".") {
		return nil, errors.New("want cgroup:FILE, or cgroup:FILE:LINE, as in cgroup:memory.current and cgroup:memory.stat:anon")
	}
	return cgroupFile{rest}, nil
}

func (c cgroupFile) String() string { return "cgroup:" + c.file }

func (c cgroupFile) unit() string {
	file, line, _ := strings.Cut(c.file, ":")
	switch {
	case strings.HasSuffix(line, "_usec"):
		return "µs"
	case file == "cpuacct.usage":
		return "ns"
	case file == "memory.stat":
		if strings.HasPrefix(line, "pg") || strings.HasPrefix(line, "workingset") || strings.HasPrefix(line, "thp") {
			return ""
		}
		return "bytes"
	case strings.HasPrefix(file, "memory.") && line == "" && !strings.HasSuffix(file, "failcnt"):
		return "bytes"
	}
	return ""
}

func (c cgroupFile) perProcess() bool { return true }

func (c cgroupFile) open(e Env, pid int) (sampler, error) {
	if e.Cgroup == nil {
		return nil, errNoCgroups
	}
	return &called{func() (float64, error) {
		v, err := e.Cgroup(pid, c.file)
		return v, gone(e, pid, err)
	}}, nil
}

// called is a sampler of a function.
type called struct{ f func() (float64, error) }

func (c *called) sample(now time.Time) (reading, error) {
	v, err := c.f()
	return reading{num: v, at: now}, err
}

func (c *called) Close() error { return nil }

// procFile is proc:FILE, proc:FILE:LINE or proc:stat:FIELD.
type procFile struct{ file, line string }

// procFiles are the files of /proc/PID that hold numbers; true are those of
// lines "key: number", false those of one number.
var procFiles = map[string]bool{
	"status": true, "io": true, "sched": true,
	"oom_score": false, "oom_score_adj": false, "timerslack_ns": false, "sessionid": false,
}

func parseProc(rest string) (native, error) {
	file, line, hasLine := strings.Cut(strings.TrimSpace(rest), ":")
	p := procFile{strings.ToLower(strings.TrimSpace(file)), strings.TrimSpace(line)}
	keyed, known := procFiles[p.file]
	field, err := strconv.Atoi(p.line)
	switch {
	case p.file == "stat" || p.file == "statm":
		if first, last := p.fields(); err != nil || field < first || field > last {
			return nil, fmt.Errorf("want proc:%s:N, N from %d to %d as in proc_pid_%s(5)", p.file, first, last, p.file)
		}
		return p, nil
	case p.file == "smaps" || p.file == "smaps_rollup":
		return nil, fmt.Errorf("%s walks all pages of the process at each reading: take proc:status:RssAnon, or proc:status:VmRSS", p.file)
	case !known:
		return nil, errors.New("want proc:FILE:LINE with FILE status, io or sched, proc:stat:N, proc:statm:N, or proc:oom_score")
	case keyed != hasLine || keyed && p.line == "":
		if keyed {
			return nil, fmt.Errorf("want proc:%s:LINE, as in proc:status:VmHWM", p.file)
		}
		return nil, fmt.Errorf("want proc:%s: the file holds one number", p.file)
	}
	return p, nil
}

// fields are the numbers that fields of stat and statm have.
func (p procFile) fields() (first, last int) {
	if p.file == "statm" {
		return 1, 7
	}
	return 4, 52
}

func (p procFile) String() string {
	if p.line == "" {
		return "proc:" + p.file
	}
	return "proc:" + p.file + ":" + p.line
}

func (p procFile) unit() string {
	switch {
	case p.file == "status" && (strings.HasPrefix(p.line, "Vm") || strings.HasPrefix(p.line, "Rss") || p.line == "HugetlbPages"),
		p.file == "io" && !strings.HasPrefix(p.line, "sysc"):
		return "bytes"
	case p.file == "statm":
		return "pages"
	}
	return ""
}

func (p procFile) perProcess() bool { return true }

func (p procFile) open(e Env, pid int) (sampler, error) {
	var g get
	n, _ := strconv.Atoi(p.line)
	switch {
	case p.file == "stat":
		g = statFields(n)
	case p.file == "statm":
		g = func(text []byte) (float64, float64, error) { return firstNumber(field(text, n-1)) }
	case p.line == "":
		g = firstNumber
	default:
		g = p.number
	}
	return ofProcess(p.file, g)(e, "", pid)
}

// number is that of a line whose key may be written in any case.
func (p procFile) number(text []byte) (float64, float64, error) {
	if v, ok := keyedNumber(text, p.line); ok {
		return v, 0, nil
	}
	if rest, ok := keyed(text, p.line); ok {
		return 0, 0, fmt.Errorf("line %s is no number: %q", p.line, strings.TrimSpace(string(rest)))
	}
	return 0, 0, fmt.Errorf("no line %s: %w", p.line, ErrUnknown)
}
