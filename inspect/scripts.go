package inspect

import (
	"errors"
	"fmt"

	"procdump/interp"
)

// scripts puts the functions of scripts between the frames of the runtimes that
// run them. w was made of an earlier snapshot; nil: there is none.
func (c *Collected) scripts(w interp.Walker) {
	var err error
	if w != nil {
		err = w.Attach(c.p, c.set)
	} else if w, err = interp.New(c.p, c.set); w != nil {
		defer w.Close()
	}
	if err != nil && !errors.Is(err, interp.ErrNone) {
		c.warnings = append(c.warnings, err.Error())
	}
	if w == nil {
		return
	}
	failed := 0
	var why error
	for i := range c.stacks {
		if c.stacks[i], err = w.Stack(&c.p.Threads[i], &c.stacks[i]); err != nil {
			failed, why = failed+1, err
		}
	}
	if failed > 0 {
		c.warnings = append(c.warnings, fmt.Sprintf("the functions of scripts on %d stacks were not found: %v", failed, why))
	}
}
