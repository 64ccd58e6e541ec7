//go:build linux && amd64 && !nointerp

package interp

import "procdump/unwind"

// frame is a frame that the profiler has found.
type frame struct {
	// pc is where a native frame stands, or goes on after a call if returns is
	// set; 0 for one of a script.
	pc      uint64
	returns bool
	// script is the function of a script, nil for a native frame.
	script *unwind.Script
}

// stack is what the profiler has found of a thread's stack, the innermost frame
// first.
type stack struct {
	frames []frame
	// whole tells that the walk came to the outermost frame.
	whole bool
}

// scripts tells whether there is a frame of a script.
func (s *stack) scripts() bool {
	for i := range s.frames {
		if s.frames[i].script != nil {
			return true
		}
	}
	return false
}

// mix returns a stack with the functions of scripts in it. Both ways to walk it
// have found native frames, by which they are laid side by side; where code that
// a runtime has generated lies between, only the runtime's data tell the way.
func (t *target) mix(own *unwind.Stack, found *stack) unwind.Stack {
	out := unwind.Stack{Cut: own.Cut}
	at, script := 0, false // the next of own; a script's function came since the last frame that both have
	for _, f := range found.frames {
		if f.script != nil {
			script = true
			out.Frames = append(out.Frames, unwind.Frame{How: unwind.ByRuntime, Script: f.script})
			continue
		}
		k := at
		for k < len(own.Frames) && own.Frames[k].PC != f.pc {
			k++
		}
		if k == len(own.Frames) {
			out.Frames = append(out.Frames, unwind.Frame{PC: f.pc, How: unwind.ByRuntime, Exact: !f.returns})
			continue
		}
		for _, g := range own.Frames[at:k] {
			if !script && !g.How.Guess() && t.set.Find(g.CodePC()) != nil {
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
	case found.whole:
		out.Complete = true
	default:
		out.End = "the runtime's data do not tell who called it"
	}
	return out
}
