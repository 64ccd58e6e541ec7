package counter

import (
	"slices"
	"time"
)

// Value is a counter with its present value.
type Value struct {
	Counter Counter
	Value   float64
	Unit    string
	About   string // one line of meaning
	Err     error  // why it does not work here; nil in the first result of List
}

// Form describes a form of counters that Windows does not have.
type Form struct{ Form, About string }

// Forms are the forms that take names of the user's choice.
var Forms = []Form{
	{`psi:RESOURCE.KIND.FIELD`, "pressure of the machine: cpu, memory, io or irq; some or full; avg10, avg60, avg300 in % or total in µs"},
	{`psi:cgroup.RESOURCE.KIND.FIELD`, "the same of the process's control group (version 2)"},
	{`cgroup:FILE  cgroup:FILE:LINE`, "a number of the process's control group: cgroup:memory.current, cgroup:memory.stat:anon"},
	{`proc:FILE:LINE`, "a number of /proc/PID/status, io or sched: proc:status:VmHWM, proc:io:read_bytes"},
	{`proc:stat:N  proc:statm:N`, "a field, numbered as in proc_pid_stat(5)"},
	{`prom:URL#SELECTOR`, `a series of a Prometheus endpoint: prom:http://localhost:9090/metrics#sum(http_requests{code="500"})`},
	{`….../sec`, "any of these with /sec behind it: its change per second"},
}

// listed are native counters that List tries, beside all pressures.
var listed = []struct{ name, about string }{
	{"cgroup:memory.current", "memory of the control group"},
	{"cgroup:memory.peak", "most memory of the control group so far"},
	{"cgroup:memory.swap.current", "swapped-out memory of the control group"},
	{"cgroup:memory.stat:anon", "memory of the group's processes that is their own"},
	{"cgroup:memory.stat:file", "files cached for the control group"},
	{"cgroup:memory.events:oom_kill", "processes of the control group killed for want of memory"},
	{"cgroup:pids.current", "threads of the control group"},
	{"cgroup:cpu.stat:nr_throttled", "periods in which the control group had used up its processor time"},
	{"cgroup:cpu.stat:usage_usec/sec", "processor time of the control group; 1,000,000 is one processor"},
	{"cgroup:memory.usage_in_bytes", "memory of the control group (version 1)"},
	{"cgroup:memory.max_usage_in_bytes", "most memory of the control group so far (version 1)"},
	{"cgroup:memory.memsw.usage_in_bytes", "memory and swap of the control group (version 1)"},
	{"cgroup:memory.failcnt", "times the limit of memory was reached (version 1)"},
	{"cgroup:memory.stat:rss", "memory of the group's processes that is their own (version 1)"},
	{"cgroup:memory.stat:cache", "files cached for the control group (version 1)"},
	{"cgroup:cpuacct.usage/sec", "processor time of the control group; 1,000,000,000 is one processor (version 1)"},
	{"proc:status:VmHWM", "most memory in RAM so far"},
	{"proc:status:voluntary_ctxt_switches/sec", "times the first thread went to sleep"},
	{"proc:io:read_bytes/sec", "read from disks; needs the right to trace"},
	{"proc:io:write_bytes/sec", "written to disks, sooner or later; needs the right to trace"},
	{"proc:oom_score", "how likely the kernel is to kill it for want of memory, of 2,000"},
}

// List returns every counter that works here with its present value, and those
// that this package knows but cannot read here, with the reason. Rates are
// measured over the interval, for which List sleeps. pid 0 leaves out what
// belongs to a process.
func List(e Env, pid int, interval time.Duration) (works, missing []Value) {
	e = e.withDefaults()
	all := candidates(e, pid)
	readers := make([]Reader, len(all))
	for i := range all {
		readers[i], all[i].Err = all[i].Counter.Open(e, pid)
	}
	defer func() {
		for _, r := range readers {
			if r != nil {
				r.Close()
			}
		}
	}()
	needsTime := false
	for i := range all {
		if all[i].Err != nil {
			continue
		}
		v, ok, err := readers[i].Read(time.Now())
		all[i].Value, all[i].Err = v, err
		needsTime = needsTime || err == nil && !ok
	}
	if needsTime {
		time.Sleep(interval)
	}
	for i := range all {
		if all[i].Err == nil {
			if v, ok, err := readers[i].Read(time.Now()); err != nil || ok {
				all[i].Value, all[i].Err = v, err
			}
		}
		if all[i].Err == nil {
			works = append(works, all[i])
		} else {
			missing = append(missing, all[i])
		}
	}
	return works, missing
}

func candidates(e Env, pid int) []Value {
	var all []Value
	add := func(c Counter, about string) {
		if pid > 0 || !c.PerProcess() {
			all = append(all, Value{Counter: c, Unit: c.Unit(), About: about})
		}
	}
	for group := range slices.Values([][]*def{processDefs, processorDefs, memoryDefs, systemDefs, diskDefs, networkDefs}) {
		for _, instance := range group[0].object.instances(e) {
			for _, d := range group {
				add(Counter{def: d, instance: instance}, d.about)
			}
		}
	}
	for _, cgroup := range []bool{false, true} {
		for _, resource := range psiResources {
			for _, kind := range psiKinds {
				add(Counter{native: pressure{cgroup, resource, kind, "avg10"}}, pressureText(cgroup, resource, kind))
			}
		}
	}
	for _, l := range listed {
		if c, err := Parse(l.name); err == nil {
			add(c, l.about)
		}
	}
	return all
}

func pressureText(cgroup bool, resource, kind string) string {
	who, what := "some task", map[string]string{"cpu": "a processor", "memory": "memory", "io": "disks", "irq": "interrupts"}[resource]
	if kind == "full" {
		who = "every task"
	}
	text := "share of the last 10 s in which " + who + " waited for " + what
	if cgroup {
		text += ", in the control group"
	}
	return text
}
