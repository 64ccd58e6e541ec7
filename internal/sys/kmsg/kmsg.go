// Package kmsg writes lines to the kernel's log, by its file /dev/kmsg
// (Documentation/ABI/testing/dev-kmsg).
package kmsg

import (
	"fmt"
	"io"
	"strings"
)

// File is the kernel's log.
const File = "/dev/kmsg"

// Level says how much a line matters.
type Level int

// The levels, by their numbers in syslog(3).
const (
	Warning Level = 4
	Notice  Level = 5
	Info    Level = 6
)

// Priority is the level with the facility of programs that run in the background
// (LOG_DAEMON).
func (l Level) Priority() int { return 3<<3 | int(l) }

// maxText is how many bytes of a text the log takes for certain: 1,024 with a
// prefix of up to 48. It refuses a longer line as a whole (kernel/printk/printk.c,
// devkmsg_write).
const maxText = 900

// Write writes a line to the log, which is open as w. What it does not take of a
// long text is cut off.
func Write(w io.Writer, level Level, text string) error {
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "")
	}
	_, err := io.WriteString(w, fmt.Sprintf("<%d>procdump: %s\n", level.Priority(), text))
	return err
}
