package minidump

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf16"

	"procdump/snapshot"
)

// comment writes the comment stream, n UTF-16 units long with what it is
// padded with.
func (h *head) comment(p *snapshot.Process, n int) {
	u := commentUnits(p)
	u = u[:min(len(u), n-1)]
	h.begin(CommentStreamW)
	h.utf16(u)
	h.zeros(2 * int64(n-len(u)))
	h.end()
}

func commentUnits(p *snapshot.Process) []uint16 {
	return utf16.Encode([]rune(commentText(&p.Info)))
}

// commentText is what a debugger shows: why there is a dump, what the user
// says of it, and how it was made.
func commentText(i *snapshot.Info) string {
	var lines []string
	for _, s := range []string{i.Reason, i.Comment} {
		if s != "" {
			lines = append(lines, s)
		}
	}
	var how []string
	if i.Tool != "" {
		how = append(how, "written by "+i.Tool)
	}
	if i.Kind != "" {
		how = append(how, "kind "+i.Kind)
	}
	if i.Method != "" {
		how = append(how, i.Method)
	}
	if i.PauseMicros > 0 {
		how = append(how, fmt.Sprintf("target paused for %v", time.Duration(i.PauseMicros)*time.Microsecond))
	}
	if n := len(i.Unreadable); n > 0 {
		how = append(how, fmt.Sprintf("%d unreadable ranges are zero", n))
	}
	if len(i.CommandLine) > 0 {
		how = append(how, "command line: "+strings.Join(i.CommandLine, " "))
	}
	if len(how) > 0 {
		lines = append(lines, strings.Join(how, "; "))
	}
	return strings.Join(lines, "\n")
}

// Comment returns the text of the CommentW stream or else of CommentA.
func (r *Reader) Comment() (string, error) {
	b, err := r.Stream(CommentStreamW)
	if err == nil {
		return text16(b), nil
	}
	if !errors.Is(err, ErrNoStream) {
		return "", err
	}
	if b, err = r.Stream(CommentStreamA); err != nil {
		return "", err
	}
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b), nil
}
