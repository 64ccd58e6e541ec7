package kernel

import (
	"fmt"
	"strings"

	"procdump/inspect/kernel"
)

const (
	maxFrames     = 40 // of the stack of a processor
	maxTaskFrames = 20 // of the stack of a task that is shown line by line
	maxProcessors = 16 // that are shown
	maxNames      = 8  // tasks of a group that are named
	maxHung       = 15 // groups of tasks in state D that are shown
	maxRunnable   = 10
	maxOthers     = 12
	maxChain      = 10 // frames of a stack that is shown in a line
)

// stack writes a stack, a frame a line.
func (p *page) stack(t kernel.Trace, limit int, registers bool) {
	if t.FromLog {
		p.line("    (as the kernel wrote it to its log)")
	}
	on := ""
	for i, f := range t.Frames {
		if i == limit {
			p.line("      … and %d more", len(t.Frames)-i)
			break
		}
		if f.Stack != on && f.Stack != "" {
			p.line("    on the %s stack:", stackName(f.Stack))
		} else if f.Stack != on {
			p.line("    on the task's stack:")
		}
		on = f.Stack
		mark := " "
		if f.Unreliable {
			mark = "?"
		}
		note := ""
		if f.Exact && i > 0 {
			note = "   <- interrupted here"
		}
		p.line("    %s %s%s", mark, f.String(), note)
		if registers && f.Exact && i > 0 {
			p.registers(f.Registers, "        ")
			registers = false
		}
	}
	if t.Broken != "" && len(t.Frames) > 0 {
		p.text("      ", "      ", "(the stack could not be followed further: "+t.Broken+")")
	} else if t.Broken != "" {
		p.text("      ", "      ", "(no stack: "+t.Broken+")")
	}
}

func stackName(s string) string {
	switch s {
	case "irq":
		return "interrupt"
	case "nmi":
		return "NMI"
	}
	return s
}

// registers writes registers, three in a line.
func (p *page) registers(all []kernel.Register, indent string) {
	var cells []string
	for _, r := range all {
		cells = append(cells, fmt.Sprintf("%-9s%016x", r.Name, uint64(r.Value)))
	}
	for len(cells) > 0 {
		n := min(3, len(cells))
		p.line("%s", indent+strings.Join(cells[:n], "  "))
		cells = cells[n:]
	}
}

// processors writes what the processors did, that which crashed first.
func (p *page) processors(r *kernel.Report) {
	if r.System == "Windows" {
		p.places(r.Processors)
		return
	}
	var idle, unknown, busy []kernel.Processor
	for _, c := range r.Processors {
		switch {
		case c.Crashed:
			busy = append([]kernel.Processor{c}, busy...)
		case c.Doing == "idle":
			idle = append(idle, c)
		case c.Doing == "unknown" && c.Task == nil:
			unknown = append(unknown, c)
		default:
			busy = append(busy, c)
		}
	}
	for i, c := range busy {
		if i == maxProcessors {
			p.section("… and %s more that did something", plural(len(busy)-i, "processor"))
			break
		}
		p.processor(&c)
	}
	p.numbers("idle", idle)
	p.numbers("whose registers the dump does not have", unknown)
}

func (p *page) numbers(what string, all []kernel.Processor) {
	if len(all) == 0 {
		return
	}
	var numbers []string
	for _, c := range all {
		numbers = append(numbers, fmt.Sprint(c.Number))
	}
	p.line("")
	p.text("", "  ", fmt.Sprintf("%s %s: %s", plural(len(all), "processor"), what, list(numbers, 64)))
}

func (p *page) processor(c *kernel.Processor) {
	title := fmt.Sprintf("CPU %d", c.Number)
	if c.Crashed {
		title += ", which crashed"
	}
	if t := c.Task; t != nil && t.PID == 0 {
		title += ": idle task"
	} else if t != nil {
		title += fmt.Sprintf(": %s (PID %d)", t.Comm, t.PID)
	}
	switch c.Doing {
	case "user mode":
		title += ", in user mode"
		if c.UserPC != 0 {
			title += " at " + c.UserPC.String()
		}
	case "unknown":
		title += ", registers unknown"
	}
	p.section("%s", title)
	p.stack(c.Trace, maxFrames, c.Crashed)
	if len(c.Frames) == 1 && c.Crashed {
		p.registers(c.Frames[0].Registers, "        ")
	}
	if c.UserPC != 0 && c.Doing != "user mode" && len(c.Frames) > 0 {
		p.line("      user mode at %v", c.UserPC)
	}
}

// stateNames are the letters of ps(1) in words.
var stateNames = map[string]string{
	"D": "waiting, not interruptible", "R": "runnable", "S": "sleeping", "I": "idle kernel threads", "T": "stopped",
	"t": "stopped by a tracer", "Z": "zombies", "X": "dead", "P": "parked", "?": "of unknown state",
}

func (p *page) tasks(t *kernel.Tasks) {
	if t == nil {
		return
	}
	var states []string
	for _, s := range []string{"D", "R", "T", "t", "S", "I", "P", "Z", "X", "?"} {
		if n := t.States[s]; n > 0 {
			states = append(states, fmt.Sprintf("%d %s", n, stateNames[s]))
		}
	}
	p.line("")
	p.text("", "  ", fmt.Sprintf("%s: %s", plural(t.Total, "task"), strings.Join(states, ", ")))
	shown, left, leftTasks := map[string]int{}, 0, 0
	limits := map[string]int{"D": maxHung, "R": maxRunnable}
	others := 0
	for _, g := range t.Groups {
		limit, special := limits[g.State]
		n := shown[g.State]
		if !special {
			limit, n = maxOthers, others
		}
		if n >= limit {
			left++
			leftTasks += len(g.Tasks)
			continue
		}
		shown[g.State]++
		if special {
			p.group(&g, true)
		} else {
			others++
			p.group(&g, false)
		}
	}
	if left > 0 {
		p.line("")
		p.line("  … and %s with %s more", plural(leftTasks, "task"), plural(left, "stack"))
	}
}

// group writes tasks that have the same stack: frame by frame if it is long,
// else in a line.
func (p *page) group(g *kernel.TaskGroup, long bool) {
	var names []string
	for _, t := range g.Tasks {
		names = append(names, fmt.Sprintf("%s (%d)", t.Comm, t.PID))
	}
	count := ""
	if n := len(names); n > 1 {
		count = fmt.Sprintf("%d × ", n)
	}
	p.line("")
	p.text("  "+g.State+" "+count, "    ", list(names, maxNames))
	if long {
		p.stack(g.Trace, maxTaskFrames, false)
		return
	}
	var chain []string
	for _, f := range g.Frames {
		s := f.String()
		if name, _, ok := strings.Cut(s, "+"); ok && f.Symbol != "" {
			s = name
			if f.Module != "" {
				s += " [" + f.Module + "]"
			}
		}
		if f.Unreliable {
			s = "? " + s
		}
		chain = append(chain, s)
	}
	if n := len(chain); n > maxChain {
		chain = append(chain[:maxChain], fmt.Sprintf("… %d more", n-maxChain))
	}
	p.text("      ", "      ", strings.Join(chain, " < "))
	if g.Broken != "" && len(g.Frames) == 0 {
		p.text("      ", "      ", "(no stack: "+g.Broken+")")
	}
}

// places writes where each processor of a Windows dump was: only that is known.
func (p *page) places(all []kernel.Processor) {
	at := make(map[string][]string)
	var order []string
	for _, c := range all {
		place := c.Doing
		if len(c.Frames) > 0 {
			place = c.Frames[0].String()
		}
		if at[place] == nil {
			order = append(order, place)
		}
		at[place] = append(at[place], fmt.Sprint(c.Number))
	}
	if len(all) > 0 {
		p.section("%s, by where they were", plural(len(all), "processor"))
	}
	for i, place := range order {
		if i == maxProcessors {
			p.line("    … and %s more", plural(len(order)-i, "place"))
			break
		}
		p.text(fmt.Sprintf("    %-30s  ", place), strings.Repeat(" ", 36), "CPU "+list(at[place], 64))
	}
}
