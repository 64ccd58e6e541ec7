// Package counter reads numbers about a process or the machine that are named
// as on Windows, \Process(nginx)\Thread Count, or in forms of Linux' own:
//
//	psi:memory.some.avg10            pressure of the machine; of cpu, memory, io, irq
//	psi:cgroup.memory.some.avg10     pressure of the process's control group
//	cgroup:memory.current            a file of its control group, cgroup:memory.stat:anon a line of one
//	proc:status:VmHWM                a line of a file of /proc/PID, proc:stat:10 a field, proc:oom_score the whole
//	prom:URL#metric{label="x"}       a series of a Prometheus endpoint
//
// One of these with /sec behind it is its change per second.
//
// Windows' names are those of its performance counters with the meaning that
// Linux has for them; where it differs, the counter's line of List says so.
// Memory is counted in bytes, where a name does not say MBytes, and one
// processor that is busy all the time is 100 % of \Process, all of them are
// 100 % of \Processor(_Total).
package counter

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// ErrUnknown means that there is no counter of this name.
var ErrUnknown = errors.New("unknown counter")

// ErrGone means that the process has ended.
var ErrGone = errors.New("process has ended")

// ErrInstance means that the part in parentheses names nothing that is there,
// or more than one thing.
var ErrInstance = errors.New("no such instance")

// Env says where counters are read.
type Env struct {
	Proc, Sys string // roots of proc and sysfs; "" is /proc and /sys

	// Cgroup returns the number in a file of the process's control group:
	// "memory.current", or with what is behind the colon for one of several:
	// "memory.stat:anon", "memory.pressure:some.avg10". Without it cgroup: and
	// psi:cgroup counters cannot be opened.
	Cgroup func(pid int, file string) (float64, error)

	// Late tells that the server of a prom: counter may not be there yet: that
	// is an error of Read only.
	Late bool
}

func (e Env) withDefaults() Env {
	if e.Proc == "" {
		e.Proc = "/proc"
	}
	if e.Sys == "" {
		e.Sys = "/sys"
	}
	return e
}

// Reader reads one counter. It keeps its files open and is not safe for
// concurrent use.
type Reader interface {
	// Read returns the value at the time now. ok is false while there is none:
	// a rate has no first value, and an average over nothing is none.
	Read(now time.Time) (v float64, ok bool, err error)
	Close() error
}

// Counter is the parsed name of a counter.
type Counter struct {
	def      *def   // of Windows' names
	native   native // of the other forms
	instance string // as written; "" if there was none
	perSec   bool   // a native one's change per second
}

// native is a counter that Windows has no name for.
type native interface {
	fmt.Stringer
	unit() string
	perProcess() bool
	open(e Env, pid int) (sampler, error)
}

// Parse reads the name of a counter. Letters' case and blanks do not matter in
// Windows' names. It looks at nothing of the machine.
func Parse(name string) (Counter, error) {
	name = strings.TrimSpace(name)
	if scheme, rest, ok := strings.Cut(name, ":"); ok {
		if parse, ok := natives[strings.ToLower(scheme)]; ok {
			c, err := parseNative(rest, parse)
			if err != nil {
				return Counter{}, fmt.Errorf("counter %q: %w; procdump -counters lists the counters", name, err)
			}
			return c, nil
		}
	}
	return parseWindows(name)
}

func parseNative(rest string, parse func(string) (native, error)) (Counter, error) {
	const suffix = "/sec"
	var c Counter
	if n := len(rest) - len(suffix); n >= 0 && strings.EqualFold(rest[n:], suffix) {
		rest, c.perSec = rest[:n], true
	}
	var err error
	c.native, err = parse(rest)
	return c, err
}

// parseWindows reads \OBJECT(INSTANCE)\COUNTER. The first backslash may be
// missing, and all may be doubled, as happens between quotes of a shell.
func parseWindows(name string) (Counter, error) {
	path := name
	for strings.Contains(path, `\\`) {
		path = strings.ReplaceAll(path, `\\`, `\`)
	}
	path = strings.TrimPrefix(path, `\`)
	// The instance may hold parentheses and backslashes itself: the last
	// ")\" ends it.
	var object, instance, counter string
	open := strings.IndexByte(path, '(')
	if end := strings.LastIndex(path, `)\`); open >= 0 && end > open {
		object, instance, counter = path[:open], strings.TrimSpace(path[open+1:end]), path[end+2:]
	} else {
		var ok bool
		if object, counter, ok = strings.Cut(path, `\`); !ok {
			return Counter{}, unknown(name, path)
		}
	}
	d := find(object, counter)
	if d == nil {
		return Counter{}, unknown(name, object+`\`+counter)
	}
	c := Counter{def: d, instance: instance}
	if err := c.checkInstance(); err != nil {
		return Counter{}, fmt.Errorf("counter %q: %w", name, err)
	}
	return c, nil
}

// checkInstance refuses what can be seen to be wrong without the machine, and
// puts in what may be left out.
func (c *Counter) checkInstance() error {
	switch c.def.object.kind {
	case whole:
		if c.instance != "" {
			return fmt.Errorf("\\%s has no instances: leave (%s) out", c.def.object.name, c.instance)
		}
	case process:
		if c.instance == "*" {
			c.instance = ""
		}
		if strings.EqualFold(c.instance, total) {
			return fmt.Errorf(`there is no sum over all processes: see \Processor(_Total), \Memory and \System`)
		}
	case device:
		if c.instance == "" {
			c.instance = total
		}
		if c.instance == "*" {
			return fmt.Errorf("(*) is more than one: name one of them, or (_Total)")
		}
		// Processor Information names "node,processor".
		if c.def.object == processorObject {
			c.instance = strings.TrimSpace(c.instance[strings.LastIndexByte(c.instance, ',')+1:])
		}
		if strings.EqualFold(c.instance, total) {
			c.instance = total
		}
	}
	return nil
}

// total is the instance that stands for the sum of all others.
const total = "_Total"

// String is the name in the spelling of List.
func (c Counter) String() string {
	switch {
	case c.native != nil && c.perSec:
		return c.native.String() + "/sec"
	case c.native != nil:
		return c.native.String()
	case c.def == nil:
		return ""
	case c.instance == "":
		return `\` + c.def.object.name + `\` + c.def.name
	}
	return `\` + c.def.object.name + `(` + c.instance + `)\` + c.def.name
}

// Unit is what values are counted in: "bytes", "bytes/s", "%", "s", "1/s", or
// "" for a plain number.
func (c Counter) Unit() string {
	switch {
	case c.native != nil && c.perSec && c.native.unit() == "":
		return "1/s"
	case c.native != nil && c.perSec:
		return c.native.unit() + "/s"
	case c.native != nil:
		return c.native.unit()
	case c.def == nil:
		return ""
	}
	return c.def.unit
}

// PerProcess tells whether the value is one of a process, so that it has to be
// read for each target. With a foreign Instance all targets have the same.
func (c Counter) PerProcess() bool {
	if c.native != nil {
		return c.native.perProcess()
	}
	return c.def != nil && c.def.object.kind == process
}

// Instance is NAME of \Process(NAME)\…, which is the target if the name fits
// it; "" is the target itself. Other objects' instances are a device or "".
func (c Counter) Instance() string { return c.instance }

// Open prepares reading the counter for the process pid, 0 if there is none,
// and says what keeps it from working here. The caller closes the reader.
func (c Counter) Open(e Env, pid int) (Reader, error) {
	e = e.withDefaults()
	r, err := c.open(e, pid)
	if err != nil {
		return nil, fmt.Errorf("open counter %s: %w", c, err)
	}
	return r, nil
}

func (c Counter) open(e Env, pid int) (Reader, error) {
	if c.native == nil && c.def == nil {
		return nil, ErrUnknown
	}
	if c.PerProcess() && pid <= 0 && c.instance == "" {
		return nil, fmt.Errorf("it is one of a process, and there is no target: %w", ErrInstance)
	}
	m := &meter{name: c.String()}
	var err error
	if c.native != nil {
		if c.perSec {
			m.mode, m.scale = rate, 1
		}
		m.from, err = c.native.open(e, pid)
	} else {
		m.mode, m.scale, m.idle = c.def.mode, c.def.scale, c.def.idle
		m.from, err = c.def.open(e, c.instance, pid)
	}
	if err != nil {
		return nil, err
	}
	// A first reading shows now what would otherwise fail at the first sample.
	if err := m.try(); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// gone turns the errors of files of a process that has ended into ErrGone.
func gone(e Env, pid int, err error) error {
	if pid > 0 && isGone(err) {
		if _, statErr := os.Stat(e.of(pid, "stat")); statErr != nil || isNoProcess(err) {
			return fmt.Errorf("%w: PID %d", ErrGone, pid)
		}
	}
	return err
}
