package kernel

import (
	"errors"
	"fmt"
	"io"

	"procdump/kdump"
	"procdump/kdump/open"
	"procdump/kdump/windump"
	"procdump/kernel/dumped"
)

// ErrProcess says that a file is the dump of a process.
var ErrProcess = errors.New("it is the dump of a process, not of a kernel")

// headSize is how many bytes of a file its format is recognised by.
const headSize = 4096

// Open inspects a dump of any format that is known. It fails if the file is
// none; whatever else cannot be read is a warning of the report.
func Open(r io.ReaderAt, size int64) (*Report, error) {
	head := make([]byte, headSize)
	n, err := r.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read dump: %w", err)
	}
	head = head[:n]
	switch {
	case len(head) >= 4 && string(head[:4]) == "MDMP":
		return nil, fmt.Errorf("%w (a minidump)", ErrProcess)
	case windump.Is(head):
		w, err := windump.NewReader(r, size)
		if err != nil {
			return nil, err
		}
		return windowsReport(w), nil
	}
	d, err := open.Dump(r, size)
	if err != nil {
		return nil, err
	}
	if d.OfProcess() {
		return nil, fmt.Errorf("%w (an ELF core)", ErrProcess)
	}
	return linuxReport(d), nil
}

// linuxReport inspects the dump of a Linux kernel.
func linuxReport(d *kdump.Dump) *Report {
	l := &linux{dump: d, crashed: -1, r: &Report{Format: d.Format, System: "Linux", Incomplete: d.Incomplete}}
	l.findNote()
	for _, run := range d.Runs {
		l.r.MemoryBytes += run.Size
	}
	if l.note == nil {
		l.src = dumped.Open(d, dumped.Options{})
	}
	l.inspect()
	return l.r
}
