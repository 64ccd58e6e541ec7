package inspect

import (
	"errors"
	"fmt"

	"procdump/interp"
	"procdump/unwind"
)

// scripts puts the functions of scripts between the frames of the runtimes that
// run them. w was made of an earlier snapshot; nil: there is none.
func (c *Collected) scripts(w interp.Walker) {
	var err error
	if w != nil {
		err = w.Attach(c.p, c.set)
	} else if w, err = interp.New(c.p, c.set); err == nil {
		defer w.Close()
	}
	if err != nil {
		if !errors.Is(err, interp.ErrNone) {
			c.warnings = append(c.warnings, err.Error())
		}
		return
	}
	failed := 0
	var why error
	for i := range c.stacks {
		found, err := w.Stack(&c.p.Threads[i])
		if err != nil {
			failed, why = failed+1, err
		}
		if found.Scripts() {
			c.stacks[i] = c.mixed(&c.stacks[i], &found)
		}
	}
	if failed > 0 {
		c.warnings = append(c.warnings, fmt.Sprintf("the functions of scripts on %d stacks were not found: %v", failed, why))
	}
}

// mixed is a stack with the functions of scripts in it. Both ways to walk it
// have found native frames, by which they are laid side by side; where code that
// a runtime has generated lies between, only the runtime's data tell the way.
func (c *Collected) mixed(own *unwind.Stack, found *interp.Stack) unwind.Stack {
	out := unwind.Stack{Cut: own.Cut}
	at, script := 0, false // the next of own; a script's function came since the last frame that both have
	for _, f := range found.Frames {
		if f.Script != nil {
			script = true
			out.Frames = append(out.Frames, unwind.Frame{How: unwind.ByRuntime, Script: f.Script})
			continue
		}
		k := at
		for k < len(own.Frames) && own.Frames[k].PC != f.PC {
			k++
		}
		if k == len(own.Frames) {
			out.Frames = append(out.Frames, unwind.Frame{PC: f.PC, How: unwind.ByRuntime, Exact: !f.Return})
			continue
		}
		for _, g := range own.Frames[at:k] {
			if !script && !g.How.Guess() && c.set.Find(g.CodePC()) != nil {
				out.Frames = append(out.Frames, g)
			}
		}
		both := own.Frames[k]
		if both.How.Guess() {
			both.How = unwind.ByRuntime
		}
		out.Frames = append(out.Frames, both)
		at, script = k+1, false
	}
	// Below the last that both have, own goes on.
	switch {
	case !script && at > 0:
		out.Frames = append(out.Frames, own.Frames[at:]...)
		out.Complete, out.End = own.Complete, own.End
	case found.Whole:
		out.Complete = true
	default:
		out.End = "the runtime's data do not tell who called it"
	}
	return out
}
