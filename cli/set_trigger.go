package cli

import (
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"procdump/internal/signals"
	"procdump/monitor"
	"procdump/probe/counter"
)

// The ranges of what triggers are given.
const (
	maxCPU    = 100_000 // percent: a thousand cores
	maxMB     = 1 << 40 // an exabyte
	maxMillis = 24 * 3600 * 1000
	minMillis = 10
)

func setTotal(o *Options, v []string) *UsageError {
	n, err := number("-ntotal", "number of dumps", v[0], 1, maxCount)
	o.Limits.Total = n
	return err
}

func setPeriod(o *Options, v []string) *UsageError {
	n, err := number("-pf", "number of milliseconds", v[0], minMillis, maxMillis)
	o.Rules.Period = time.Duration(n) * time.Millisecond
	return err
}

func setCooldown(o *Options, v []string) *UsageError {
	n, err := number("-cooldown", "number of seconds", v[0], 0, maxSeconds)
	o.Limits.Cooldown = time.Duration(n) * time.Second
	return err
}

func setGroup(o *Options, v []string) *UsageError {
	n, err := number("-pgid", "process group", v[0], 1, maxPID)
	o.Target, o.Group, o.All = "pgid:"+strconv.Itoa(n), true, true
	return err
}

// decimal parses a number with a fraction.
func decimal(name, what, text string, lowest, highest float64) (float64, *UsageError) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || f < lowest || f > highest {
		return 0, usagef(name, "", "%q is not a %s from %g to %g", text, what, lowest, highest)
	}
	return f, nil
}

func setCPU(below bool) func(*Options, []string) *UsageError {
	name := "-c"
	if below {
		name = "-cl"
	}
	return func(o *Options, v []string) *UsageError {
		f, err := decimal(name, "percentage", strings.TrimSuffix(v[0], "%"), 0, maxCPU)
		o.Rules.CPU = append(o.Rules.CPU, monitor.Bound{Value: f, Below: below})
		return err
	}
}

// setCommit reads "100", "100,200,300" or "90%".
func setCommit(below bool) func(*Options, []string) *UsageError {
	name := "-m"
	if below {
		name = "-ml"
	}
	return func(o *Options, v []string) *UsageError {
		list := strings.Split(v[0], ",")
		for _, text := range list {
			c := monitor.Commit{Bound: monitor.Bound{Below: below}, Listed: len(list) > 1, WrittenAs: text}
			var err *UsageError
			if percent, ok := strings.CutSuffix(text, "%"); ok {
				c.Percent = true
				c.Value, err = decimal(name, "percentage", percent, 0, 100)
			} else {
				c.Value, err = decimal(name, "number of MB", text, 0, maxMB)
				c.Value *= 1 << 20
				c.WrittenAs += " MB"
			}
			if err != nil {
				return err
			}
			o.Rules.Commit = append(o.Rules.Commit, c)
		}
		return nil
	}
}

func setBound(name, what string, list func(*monitor.Rules) *[]monitor.Bound) func(*Options, []string) *UsageError {
	return func(o *Options, v []string) *UsageError {
		n, err := number(name, what, v[0], 1, maxCount*100)
		l := list(&o.Rules)
		*l = append(*l, monitor.Bound{Value: float64(n)})
		return err
	}
}

func setCounter(name string, below bool) func(*Options, []string) *UsageError {
	return func(o *Options, v []string) *UsageError {
		if _, err := counter.Parse(v[0]); err != nil {
			return usagef(name, "", "%v", err)
		}
		f, err := decimal(name, "number", v[1], -math.MaxFloat64, math.MaxFloat64)
		o.Rules.Counters = append(o.Rules.Counters, monitor.Counter{Name: v[0], Bound: monitor.Bound{Value: f, Below: below}})
		return err
	}
}

func setException(o *Options, v []string) *UsageError {
	o.Rules.Unhandled = true
	if len(v) > 0 {
		if v[0] != "1" {
			return usagef("-e", "-e alone is unhandled ones, -e 1 all", "%q is not 1", v[0])
		}
		o.Rules.FirstChance = true
	}
	return nil
}

func setSignals(o *Options, v []string) *UsageError {
	for text := range strings.SplitSeq(v[0], ",") {
		n, err := signals.Parse(text)
		if err != nil {
			return usagef("-sig", "give numbers or names as kill -l has them, with commas", "%v", err)
		}
		if n == signals.KILL {
			return usagef("-sig", "use -t, which sees every end", "SIGKILL is never delivered")
		}
		o.Rules.Signals = append(o.Rules.Signals, n)
	}
	return nil
}

func setEndpoint(o *Options, v []string) *UsageError {
	u, err := url.Parse(v[0])
	ok := err == nil && u.Host != ""
	switch {
	case ok && (u.Scheme == "http" || u.Scheme == "https"):
	case ok && u.Scheme == "tcp" && u.Port() != "":
	default:
		return usagef("-hp", "give http://HOST[:PORT]/PATH, https://... or tcp://HOST:PORT", "%q is no address of a server", v[0])
	}
	o.Rules.Endpoints = append(o.Rules.Endpoints, v[0])
	return nil
}

func addFilter(exclude bool) func(*Options, []string) *UsageError {
	return func(o *Options, v []string) *UsageError {
		if exclude {
			o.exclude = append(o.exclude, v[0])
		} else {
			o.include = append(o.include, v[0])
		}
		return nil
	}
}

// setKeep reads "100,10GB,30d": a number of dumps, a size, an age, in any order.
func setKeep(o *Options, v []string) *UsageError {
	bad := func(text string) *UsageError {
		return usagef("-keep", "give a number of dumps, a size (10GB) and an age (30d), with commas", "%q is none of these", text)
	}
	units := []struct {
		suffix string
		bytes  float64
		age    time.Duration
	}{
		{"TB", 1 << 40, 0}, {"GB", 1 << 30, 0}, {"MB", 1 << 20, 0},
		{"d", 0, 24 * time.Hour}, {"h", 0, time.Hour},
	}
	for text := range strings.SplitSeq(v[0], ",") {
		digits, size, age := text, 0.0, time.Duration(0)
		for _, u := range units {
			if len(text) > len(u.suffix) && strings.EqualFold(text[len(text)-len(u.suffix):], u.suffix) {
				digits, size, age = text[:len(text)-len(u.suffix)], u.bytes, u.age
				break
			}
		}
		n, err := decimal("-keep", "limit", digits, 1, maxCount)
		if err != nil {
			return bad(text)
		}
		switch {
		case size > 0:
			o.Keep.Bytes = uint64(n * size)
		case age > 0:
			o.Keep.Age = time.Duration(n * float64(age))
		case n != math.Trunc(n):
			return bad(text)
		default:
			o.Keep.Count = int(n)
		}
	}
	return nil
}

func setRate(o *Options, v []string) *UsageError {
	n, err := number("-rate", "number of dumps", v[0], 1, maxCount)
	o.Rate = n
	return err
}
