package cli

import (
	"fmt"
	"math"
	"strings"

	"procdump/monitor"
)

// liveRows is how many lines the live view takes at most.
const liveRows = 20

// Live draws the live view: a line for each watched value of each process,
// under all that is printed. Where there is no terminal it draws nothing.
func (c *Console) Live(rows []monitor.Row) {
	width := c.config.Width()
	if width <= 0 || c.config.JSON {
		return
	}
	lines := liveLines(rows, width-1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.spool.idle() {
		return // the terminal is held, or slow
	}
	c.clearBar()
	c.bar.below = len(lines)
	c.spool.put(c.config.Err, []byte(strings.Join(lines, "\n")+"\n"))
}

// liveLines are the view's lines, none wider than width columns.
func liveLines(rows []monitor.Row, width int) []string {
	var out []string
	for i, r := range rows {
		p := consoleProcess(r.Process)
		state := dumpsText(r.Dumps)
		if r.Dumping {
			state = "dumping"
		}
		gauges := r.Gauges
		if len(gauges) == 0 {
			gauges = []monitor.Reading{{}}
		}
		if len(out)+len(gauges) > liveRows-1 && i < len(rows)-1 {
			out = append(out, fitColumns(fmt.Sprintf("and %d more processes", len(rows)-i), width))
			break
		}
		for k, g := range gauges {
			name := ""
			if k == 0 {
				name = p.String()
			}
			line := fmt.Sprintf("%-24.24s %-9.9s", name, state)
			if g.Name != "" {
				held := ""
				if g.Held > 0 {
					held = fmt.Sprintf("%.0f of %.0f s", g.Held.Seconds(), g.Hold.Seconds())
				}
				line += fmt.Sprintf(" %-10.10s %s %9s %-12s %s", g.Name, sparkline(g), g.Text, g.Limit, held)
			}
			out = append(out, fitColumns(line, width))
			state = ""
		}
	}
	if len(rows) == 0 {
		out = append(out, fitColumns("no process yet", width))
	}
	return out
}

// fitColumns cuts a line; every character of it is one column wide.
func fitColumns(line string, width int) string {
	line = strings.TrimRight(line, " ")
	if r := []rune(line); len(r) > width {
		return string(r[:max(width, 0)])
	}
	return line
}

// sparkWidth is how many looks a sparkline shows.
const sparkWidth = 20

// sparkline draws the last looks at a value, the full height being the limit,
// or the largest value if that is beyond it.
func sparkline(g monitor.Reading) string {
	bars := []rune("▁▂▃▄▅▆▇█")
	history := g.History[max(0, len(g.History)-sparkWidth):]
	top := math.Abs(g.Value)
	for _, v := range history {
		if !math.IsNaN(v) {
			top = max(top, v)
		}
	}
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", sparkWidth-len(history)))
	for _, v := range history {
		switch {
		case math.IsNaN(v) || top <= 0:
			b.WriteRune(' ')
		default:
			b.WriteRune(bars[min(max(int(v/top*float64(len(bars)-1)+0.5), 0), len(bars)-1)])
		}
	}
	return b.String()
}

func dumpsText(n int) string {
	if n == 1 {
		return "1 dump"
	}
	return fmt.Sprintf("%d dumps", n)
}
