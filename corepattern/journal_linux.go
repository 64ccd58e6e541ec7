package corepattern

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"procdump/internal/sys/systemlog"
)

// maxLog is the length, in bytes, from which on a new log file is begun and the
// last one kept.
const maxLog = 4 << 20

// journal says what handlers do: a log file beside the dumps, and the system's
// log or, where none listens, the kernel's.
type journal struct {
	folder string // "" while it is not known
	now    func() time.Time
}

// dumped tells of a dump; lost of one that there is not, and why.
func (j *journal) dumped(text string) { j.write(systemlog.Notice, text) }
func (j *journal) lost(text string)   { j.write(systemlog.Warning, text) }

func (j *journal) write(level systemlog.Level, text string) {
	text = oneLine(text)
	if j.folder != "" {
		j.file(text)
	}
	systemlog.Write(level, text)
}

// file appends a line in one write, so that lines of several handlers do not mix.
func (j *journal) file(text string) {
	path := filepath.Join(j.folder, LogName)
	if st, err := os.Lstat(path); err == nil && st.Size() > maxLog {
		os.Rename(path, path+".1")
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	io.WriteString(f, j.now().Format(time.RFC3339)+" "+text+"\n")
}

// oneLine writes what is not printable, for a process chooses its own name, as
// Go does in a string.
func oneLine(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return text
	}
	q := strconv.Quote(text)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}
