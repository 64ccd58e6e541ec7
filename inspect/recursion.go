package inspect

import (
	"fmt"
	"strings"

	"procdump/snapshot"
)

// recursion says how deep the blamed thread's stack is, how large, and which
// functions call each other again and again.
func (c *Collected) recursion(frames []Frame) string {
	t := blamed(c.p)
	size := ""
	if t != nil {
		sp := t.Registers.SP()
		for i := range c.p.Regions {
			if g := &c.p.Regions[i]; g.Addr+near > sp && g.Perm&snapshot.Write != 0 && g.End() > sp && g.Addr <= sp+near {
				size = fmt.Sprintf(" of %d KiB", g.Size>>10)
				break
			}
		}
	}
	more := ""
	for i := range c.stacks {
		if t != nil && c.p.Threads[i].TID == t.TID && c.stacks[i].Cut {
			more = "more than "
		}
	}
	s := fmt.Sprintf("%s with %s%s", size, more, plural(len(frames), "frame"))
	if circle := circleOf(frames); len(circle) == 1 {
		s += ", " + circle[0] + " calls itself"
	} else if len(circle) > 1 {
		s += ", " + strings.Join(append(circle, circle[0]), " calls ")
	}
	return s
}

// circleOf finds the functions that call each other, in the order of the calls:
// the shortest round that repeats, from one of the innermost frames on. Nil:
// nothing repeats.
func circleOf(frames []Frame) []string {
	const (
		skipped = 16 // innermost frames that may be no part of it
		longest = 8
		times   = 4 // that it must repeat
	)
	for length := 1; length <= longest; length++ {
		for from := 0; from <= skipped && from+length*times <= len(frames); from++ {
			if !repeats(frames[from:from+length*times], length) {
				continue
			}
			var circle []string
			for i := length - 1; i >= 0; i-- {
				circle = append(circle, frames[from+i].Function)
			}
			return circle
		}
	}
	return nil
}

// repeats tells whether all frames are functions that are known, and the same
// as those so many before.
func repeats(frames []Frame, length int) bool {
	for i := range frames {
		if f := frames[i].Function; f == "" || i >= length && f != frames[i-length].Function {
			return false
		}
	}
	return true
}
