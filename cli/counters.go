package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"procdump/monitor"
	"procdump/probe/counter"
	"procdump/target"
)

// counterSpan is how long a rate is measured for its first value.
const counterSpan = 500 * time.Millisecond

// counters lists what -p can watch, with the present values; of a target those
// of that process, too.
func (r *run) counters(ctx context.Context) int {
	pid := 0
	if r.o.Target != "" {
		sel, err := target.ParseSelector(r.o.Target)
		if err == nil {
			var found []target.Process
			if found, err = target.Find(sel); err == nil && len(found) > 1 {
				r.ambiguous(found)
				return ExitNoTarget
			}
			if err == nil {
				pid = found[0].PID
			}
		}
		if err != nil {
			r.console.Error(err)
			return exitCode(err)
		}
	}
	works, missing := counter.List(monitor.CounterEnv(), pid, counterSpan)
	if ctx.Err() != nil {
		return exitCode(context.Cause(ctx))
	}
	var b strings.Builder
	for _, v := range works {
		fmt.Fprintf(&b, "%-52s %14s %-9s %s\n", v.Counter, counterText(v.Value), v.Unit, v.About)
	}
	for _, v := range missing {
		fmt.Fprintf(&b, "%-52s %14s %-9s %v\n", v.Counter, "-", v.Unit, v.Err)
	}
	r.console.Counters(pid, append(works, missing...), b.String())
	return ExitOK
}

// counterText is a value with two decimals, without those that are 0.
func counterText(v float64) string {
	text := strconv.FormatFloat(v, 'f', 2, 64)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}
