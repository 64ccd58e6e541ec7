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
	if processCore(d) {
		return nil, fmt.Errorf("%w (an ELF core)", ErrProcess)
	}
	return linuxReport(d, size), nil
}

// Notes of process cores (include/uapi/linux/elf.h).
const (
	ntAuxv = 6
	ntFile = 0x46494c45
)

// processCore tells whether an ELF core is that of a process: it has the
// auxiliary vector of its program, which no kernel has.
func processCore(d *kdump.Dump) bool {
	if len(d.VMCoreInfo) > 0 {
		return false
	}
	for _, n := range d.Notes {
		if n.Name == "CORE" && (n.Type == ntAuxv || n.Type == ntFile) {
			return true
		}
	}
	return false
}

// searchFree is how much memory beyond that of the file, in bytes, a dump may
// have whose VMCOREINFO is searched for where it is missing: memory that a
// damaged header makes up takes as long as if it were there.
const searchFree = 64 << 30

// linuxReport inspects the dump of a Linux kernel, which is a file of size bytes.
func linuxReport(d *kdump.Dump, size int64) *Report {
	l := &linux{dump: d, crashed: -1, r: &Report{Format: d.Format, System: "Linux", Incomplete: d.Incomplete}}
	l.findNote(d)
	var ram uint64
	for _, run := range d.Runs {
		ram += run.Size
	}
	l.r.MemoryBytes = ram
	if l.note == nil && ram <= uint64(size)*8+searchFree {
		l.src = dumped.Open(d, dumped.Options{})
	}
	l.inspect()
	return l.r
}
