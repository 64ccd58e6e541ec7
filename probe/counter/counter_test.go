package counter

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, want, unit string
		perProcess       bool
		instance         string
	}{
		{`\Process(nginx)\Handle Count`, `\Process(nginx)\Handle Count`, "", true, "nginx"},
		{`\process(Nginx)\handlecount`, `\Process(Nginx)\Handle Count`, "", true, "Nginx"},
		{`Process(nginx)\Thread  Count`, `\Process(nginx)\Thread Count`, "", true, "nginx"},
		{`  \Process ( nginx#1 )\ % processor time `, `\Process(nginx#1)\% Processor Time`, "%", true, "nginx#1"},
		{`\Process\Thread Count`, `\Process\Thread Count`, "", true, ""},
		{`\Process(*)\Thread Count`, `\Process\Thread Count`, "", true, ""},
		{`\Process()\Thread Count`, `\Process\Thread Count`, "", true, ""},
		{`\\Process(nginx)\\Private Bytes`, `\Process(nginx)\Private Bytes`, "bytes", true, "nginx"},
		{`\Process V2(nginx:12)\Working Set`, `\Process(nginx:12)\Working Set`, "bytes", true, "nginx:12"},
		{`\Process(a(b)\c)\ID Process`, `\Process(a(b)\c)\ID Process`, "", true, `a(b)\c`},
		{`\Process(x)\IO Read Bytes / sec`, `\Process(x)\IO Read Bytes/sec`, "bytes/s", true, "x"},
		{`\Processor(_total)\%Processor Time`, `\Processor(_Total)\% Processor Time`, "%", false, "_Total"},
		{`\Processor\% User Time`, `\Processor(_Total)\% User Time`, "%", false, "_Total"},
		{`\Processor Information(0,1)\% Idle Time`, `\Processor(1)\% Idle Time`, "%", false, "1"},
		{`\Memory\available mbytes`, `\Memory\Available MBytes`, "MB", false, ""},
		{`\System\Processor Queue Length`, `\System\Processor Queue Length`, "", false, ""},
		{`\PhysicalDisk(sda)\Avg. Disk sec/Read`, `\PhysicalDisk(sda)\Avg. Disk sec/Read`, "s", false, "sda"},
		{`\Network Interface(eth0)\Bytes Total/sec`, `\Network Interface(eth0)\Bytes Total/sec`, "bytes/s", false, "eth0"},
		{"psi:memory.some.avg10", "psi:memory.some.avg10", "%", false, ""},
		{"PSI:cgroup.IO.Full.total", "psi:cgroup.io.full.total", "µs", true, ""},
		{"psi:cpu.some.total/sec", "psi:cpu.some.total/sec", "µs/s", false, ""},
		{"cgroup:memory.current", "cgroup:memory.current", "bytes", true, ""},
		{"cgroup:memory.stat:anon", "cgroup:memory.stat:anon", "bytes", true, ""},
		{"cgroup:memory.stat:pgfault/sec", "cgroup:memory.stat:pgfault/sec", "1/s", true, ""},
		{"proc:status:VmHWM", "proc:status:VmHWM", "bytes", true, ""},
		{"proc:io:read_bytes/sec", "proc:io:read_bytes/sec", "bytes/s", true, ""},
		{"proc:stat:10", "proc:stat:10", "", true, ""},
		{"proc:oom_score", "proc:oom_score", "", true, ""},
		{`prom:http://localhost:1/metrics#a{b="c/sec"}`, `prom:http://localhost:1/metrics#a{b="c/sec"}`, "", false, ""},
		{"prom:unix:/run/x.sock:/metrics#sum(a)/sec", "prom:unix:/run/x.sock:/metrics#sum(a)/sec", "1/s", false, ""},
	} {
		got, err := Parse(c.name)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got.String() != c.want || got.Unit() != c.unit || got.PerProcess() != c.perProcess || got.Instance() != c.instance {
			t.Errorf("%s: %s [%s] per process %v, instance %q; want %s [%s] %v %q", c.name,
				got, got.Unit(), got.PerProcess(), got.Instance(), c.want, c.unit, c.perProcess, c.instance)
		}
		again, err := Parse(got.String())
		if err != nil || again.String() != got.String() {
			t.Errorf("%s read again: %v, %v", got, again, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{`\Process(nginx)\Handel Count`, `\Process\Handle Count`},
		{`\Process(nginx)\Threads`, `\Process\Thread Count`},
		{`\Procesor(_Total)\% Processor Time`, `\Processor(_Total)\% Processor Time`},
		{`\Memory\Private Bytes`, `\Process\Private Bytes`},
		{`Handle Count`, `\Process\Handle Count`},
		{`\Memory\Available`, `\Memory\Available Bytes`},
		{`\GPU Engine\Utilization`, "procdump -counters"},
		{"", "procdump -counters"},
		{`\Process(_Total)\Thread Count`, "no sum"},
		{`\Memory(x)\Available MBytes`, "leave (x) out"},
		{`\PhysicalDisk(*)\Disk Reads/sec`, "(_Total)"},
		{"psi:memory.some", "avg10"},
		{"psi:disk.some.avg10", "cpu|memory|io"},
		{"psi:cgroup", "avg10"},
		{"cgroup:../../etc/passwd", "cgroup:FILE"},
		{"cgroup:", "cgroup:FILE"},
		{"proc:../../etc/passwd:root", "proc:FILE:LINE"},
		{"proc:smaps_rollup:Pss", "RssAnon"},
		{"proc:status", "proc:status:LINE"},
		{"proc:stat:3", "from 4 to 52"},
		{"proc:stat:x", "from 4 to 52"},
		{"proc:oom_score:x", "one number"},
		{"prom:http://localhost/metrics", "#METRIC"},
		{"prom:localhost/metrics#a", "http://HOST"},
		{"prom:http://localhost/metrics#rate(a)", "rate"},
	} {
		got, err := Parse(c.name)
		if err == nil {
			t.Errorf("%s: parsed as %s", c.name, got)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %q does not say %s", c.name, err, c.want)
		}
	}
	for _, name := range []string{`\A\B`, "psi:x", "prom:x"} {
		if _, err := Parse(name); !strings.Contains(err.Error(), "procdump -counters") {
			t.Errorf("%s: %v does not name procdump -counters", name, err)
		}
	}
	if _, err := Parse(`\A\B`); !errors.Is(err, ErrUnknown) {
		t.Errorf("%v is not ErrUnknown", err)
	}
}

// TestNamesAreDistinct: find takes the first that fits.
func TestNamesAreDistinct(t *testing.T) {
	for _, d := range defs {
		c := Counter{def: d, instance: d.object.example()}
		if got, err := Parse(c.String()); err != nil || got.def != d {
			t.Errorf("%s is found as %s, %v", c, got, err)
		}
		if d.about == "" || (d.mode == rate) != (d.unit == "1/s" || strings.HasSuffix(d.name, "/sec")) && d.unit != "%" && d.unit != "" {
			t.Errorf("%s: unit %q, about %q", c, d.unit, d.about)
		}
	}
}

// readings is a sampler of given numbers.
type readings []reading

func (r *readings) sample(now time.Time) (reading, error) {
	next := (*r)[0]
	*r = (*r)[1:]
	if next.at.IsZero() {
		next.at = now
	}
	return next, nil
}

func (r *readings) Close() error { return nil }

func TestMeter(t *testing.T) {
	type want struct {
		v  float64
		ok bool
	}
	for _, c := range []struct {
		name string
		m    meter
		r    readings // one a second
		want []want
	}{
		{"gauge", meter{mode: gauge, scale: 2}, readings{{num: 3}, {num: 4}}, []want{{6, true}, {8, true}}},
		{"rate", meter{mode: rate, scale: 10}, readings{{num: 3}, {num: 5}, {num: 5}}, []want{{0, false}, {20, true}, {0, true}}},
		{"rate that begins anew", meter{mode: rate}, readings{{num: 3}, {num: 1}, {num: 2}}, []want{{0, false}, {0, false}, {1, true}}},
		{"ratio", meter{mode: ratio, scale: 100}, readings{{num: 1, den: 10}, {num: 2, den: 14}}, []want{{0, false}, {25, true}}},
		{"ratio without a tick", meter{mode: ratio}, readings{{num: 1, den: 10}, {num: 1, den: 10}, {num: 2, den: 12}, {num: 2, den: 12}},
			[]want{{0, false}, {0, false}, {.5, true}, {.5, true}}},
		{"ratio by nothing", meter{mode: ratio, idle: true}, readings{{num: 1, den: 10}, {num: 1, den: 10}, {num: 2, den: 12}}, []want{{0, false}, {0, true}, {.5, true}}},
		{"nothing yet", meter{mode: gauge}, readings{{none: true}, {num: 1}}, []want{{0, false}, {1, true}}},
	} {
		m := c.m
		m.from = &c.r
		now := time.Unix(1, 0)
		for i, w := range c.want {
			v, ok, err := m.Read(now)
			if v != w.v || ok != w.ok || err != nil {
				t.Errorf("%s: reading %d is %v %v %v, want %v", c.name, i, v, ok, err, w)
			}
			now = now.Add(time.Second)
		}
	}
}

// TestMeterSameReading: polled faster than its source changes, a rate stays.
func TestMeterSameReading(t *testing.T) {
	a, b := time.Unix(1, 0), time.Unix(3, 0)
	m := meter{mode: rate, from: &readings{{num: 1, at: a}, {num: 1, at: a}, {num: 9, at: b}, {num: 9, at: b}}}
	for i, w := range []float64{0, 0, 4, 4} {
		if v, ok, _ := m.Read(time.Unix(int64(i), 0)); v != w || ok != (i > 1) {
			t.Errorf("reading %d: %v %v, want %v", i, v, ok, w)
		}
	}
}

func FuzzParseName(f *testing.F) {
	for _, d := range defs {
		f.Add(Counter{def: d, instance: d.object.example()}.String())
	}
	f.Add("psi:cgroup.memory.some.avg10/sec")
	f.Add(`prom:http://a/b#c{d="e"}/sec`)
	f.Fuzz(func(t *testing.T, name string) {
		c, err := Parse(name)
		if err != nil {
			if c != (Counter{}) {
				t.Errorf("%q: %+v with %v", name, c, err)
			}
			return
		}
		again, err := Parse(c.String())
		if err != nil || again.String() != c.String() {
			t.Errorf("%q is %q, which is %q, %v", name, c, again, err)
		}
	})
}
