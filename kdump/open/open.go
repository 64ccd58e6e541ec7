// Package open recognises the format of a kernel dump and opens it.
package open

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"procdump/kdump"
	"procdump/kdump/diskdump"
	"procdump/kdump/flat"
	"procdump/kdump/lime"
	"procdump/kdump/vmcore"
	"procdump/kdump/windump"
)

// headSize is how many bytes of a file its format is recognised by.
const headSize = 4096

// format is one format of dumps.
type format struct {
	name  string
	match func(head []byte) bool
	open  func(r io.ReaderAt, size int64) (*kdump.Dump, error)
}

// formats are those of a single file; the flattened one holds another.
var formats = []format{
	{"kdump-compressed", diskdump.Match, diskdump.Open},
	{"ELF core", vmcore.Match, vmcore.Open},
	{"LiME or AVML", lime.Match, lime.Open},
	{"Windows crash dump", windump.Is, windows},
}

// Match tells whether a file that begins with head has the format of a kernel
// dump. An ELF core may be that of a process just as well.
func Match(head []byte) bool {
	if flat.Match(head) {
		return true
	}
	for _, f := range formats {
		if f.match(head) {
			return true
		}
	}
	return false
}

// Dump opens a kernel dump of any format that is known. r must stay open as
// long as the dump is used. The error of a file of another format wraps
// kdump.ErrFormat.
func Dump(r io.ReaderAt, size int64) (*kdump.Dump, error) {
	head := make([]byte, headSize)
	n, err := r.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read dump: %w", err)
	}
	if head = head[:n]; n == 0 {
		return nil, fmt.Errorf("%w: it is empty", kdump.ErrFormat)
	}
	if flat.Match(head) {
		return flattened(r, size)
	}
	for _, f := range formats {
		if f.match(head) {
			return f.open(r, size)
		}
	}
	return nil, fmt.Errorf("%w: it begins with % x; known are %s", kdump.ErrFormat, head[:min(n, 8)], names())
}

func names() string {
	var b strings.Builder
	for _, f := range formats {
		b.WriteString(f.name + ", ")
	}
	return b.String() + "and flattened forms of these"
}

func windows(r io.ReaderAt, size int64) (*kdump.Dump, error) {
	w, err := windump.NewReader(r, size)
	if err != nil {
		return nil, err
	}
	return w.Dump()
}

// flattened opens the dump that a flattened file holds.
func flattened(r io.ReaderAt, size int64) (*kdump.Dump, error) {
	f, err := flat.NewReader(r, size)
	if err != nil {
		return nil, err
	}
	head := make([]byte, headSize)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read flattened dump: %w", err)
	}
	for _, g := range formats {
		if !g.match(head[:n]) {
			continue
		}
		d, err := g.open(f, f.Size())
		if err != nil {
			return nil, fmt.Errorf("flattened: %w", err)
		}
		d.Format = "flattened " + d.Format
		d.Incomplete = d.Incomplete || !f.Whole()
		return d, nil
	}
	return nil, fmt.Errorf("flattened file: %w", kdump.ErrFormat)
}
