package symbols

import (
	"fmt"
	"time"
)

// maxDebugTime bounds how long the debug information of a process is read. Sound
// one takes seconds; what a damaged file takes, whose units share large tables,
// depends on how often it is asked.
const maxDebugTime = 2 * time.Minute

// errLate means that debug information has taken too long.
var errLate = fmt.Errorf("debug information takes more than %v: no more lines and inlined functions", maxDebugTime)

// clock measures how long debug information is read.
type clock struct {
	left  time.Duration
	until time.Time // of what is read now
}

// run does something unless no time is left for it.
func (c *clock) run(do func() error) error {
	if c.left <= 0 {
		return errLate
	}
	begin := time.Now()
	c.until = begin.Add(c.left)
	defer func() { c.left -= time.Since(begin) }()
	return do()
}

// late tells whether what is read now should end.
func (c *clock) late() bool { return time.Now().After(c.until) }
