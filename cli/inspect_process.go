package cli

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"

	"procdump/elfcore"
	"procdump/image"
	"procdump/image/debuginfod"
	"procdump/inspect"
	"procdump/inspect/diff"
	"procdump/kdump"
	"procdump/kdump/open"
	"procdump/minidump"
	"procdump/render"
	"procdump/render/html"
	"procdump/snapshot"
	"procdump/zseek"
)

// inspectProcessHeap is the size of the Go heap, in bytes, that a report on a
// process may use before it collects garbage: debug information takes most.
const inspectProcessHeap = 112 << 20

// processReport makes the report on a process that runs, or that a file is a
// dump of; nil without an error: the file is of something else. A name of digits
// is a process.
func processReport(o *inspectOptions) (*inspect.Report, error) {
	s, err := inspectAny(o, o.In)
	if s == nil || err != nil {
		return nil, err
	}
	return s.Report, nil
}

// putProcess writes the report on a process in the forms that the command line
// wants.
func putProcess(o *inspectOptions, stdout *os.File, r *inspect.Report) error {
	if o.Redact {
		r.Redact()
	}
	if o.HTML != "" {
		if err := writeReport(o, o.HTML, func(w io.Writer) error { return html.Write(w, r) }); err != nil {
			return err
		}
		if o.Out == "" && !o.JSON {
			return nil
		}
	}
	return putReport(o, stdout, func(w io.Writer) error {
		if o.JSON {
			return render.JSON(w, r)
		}
		return render.Text(w, r)
	})
}

// inspectAny looks at a process that runs, or at the dump of one; nil: the file
// is of something else.
func inspectAny(o *inspectOptions, in string) (*diff.Subject, error) {
	if pid, err := strconv.Atoi(in); err == nil && pid > 0 {
		debug.SetMemoryLimit(inspectProcessHeap)
		return inspectLive(o, pid)
	}
	return inspectDump(o, in)
}

// inspectDump reports on a file; nil: it is not the dump of a process.
func inspectDump(o *inspectOptions, path string) (*diff.Subject, error) {
	f, err := openSeekable(path)
	if err != nil {
		return nil, nil // whoever looks at it next says so
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd) // of a block device, too
	if err != nil {
		return nil, nil
	}
	r, size, compressed, err := uncompressed(f, size)
	if err != nil {
		return nil, err
	}
	p, warnings, err := openProcess(r, size, compressed)
	if p == nil || err != nil {
		return nil, err
	}
	debug.SetMemoryLimit(inspectProcessHeap)
	set := image.NewSet(p, o.images())
	defer set.Close()
	o.slowSources(context.Background(), set)
	return &diff.Subject{Process: p, Report: inspect.Collect(p, set, warnings).Report()}, nil
}

// images says where the files of a dump's images are looked for.
func (o *inspectOptions) images(roots ...string) image.Options {
	i := image.Options{Roots: roots, DebugDirs: []string{image.DebugDir}}
	if o.SysRoot == "" {
		i.Roots = append(i.Roots, "")
	} else {
		i.Roots = append(i.Roots, o.SysRoot)
		i.DebugDirs = append([]string{filepath.Join(o.SysRoot, image.DebugDir)}, i.DebugDirs...)
	}
	return i
}

// slowSources adds the places that take long: symbol files, and the servers that
// the environment names.
func (o *inspectOptions) slowSources(ctx context.Context, set *image.Set) {
	set.SymbolsIn(o.SymPath)
	if c := debuginfod.New(ctx, os.Getenv); c != nil {
		set.FetchBy(c)
	}
}

// uncompressed is what a file of size bytes holds, and how much, and tells
// whether the file is compressed.
func uncompressed(r io.ReaderAt, size int64) (io.ReaderAt, int64, bool, error) {
	if !zseek.Detect(r) {
		return r, size, false, nil
	}
	z, err := zseek.NewReader(r, size)
	if err != nil {
		return nil, 0, false, err
	}
	return z, z.Size(), true, nil
}

// openProcess reads the dump of a process, which may have been compressed; nil:
// it is of something else.
func openProcess(r io.ReaderAt, size int64, compressed bool) (*snapshot.Process, []error, error) {
	head := make([]byte, 4)
	if _, err := r.ReadAt(head, 0); err != nil {
		if compressed {
			return nil, nil, err
		}
		return nil, nil, nil
	}
	switch {
	case bytes.Equal(head, []byte("MDMP")):
		d, err := minidump.NewReader(r, size)
		if err != nil {
			return nil, nil, err
		}
		p, warnings := d.Process()
		return p, warnings, nil
	case bytes.Equal(head, []byte(elf.ELFMAG)):
		d, kernel := open.Dump(r, size)
		if kernel == nil && d.VMCoreInfo != nil {
			break
		}
		c, err := elfcore.NewReader(r, size)
		if err != nil {
			return nil, nil, notCore(err)
		}
		p, warnings := c.Process()
		if compressed || knowsProcess(p) || kernel != nil && len(warnings) > 0 && mapsProcess(c) {
			return p, warnings, nil
		}
	}
	if compressed {
		return nil, nil, errCompressed
	}
	return nil, nil, nil
}

// errCompressed means that only dumps of processes are read compressed.
var errCompressed = errors.New("it is compressed as a whole, and not the dump of a process; decompress it first (zstd -d)")

// knowsProcess tells whether a core has what only those of processes have.
func knowsProcess(p *snapshot.Process) bool {
	return len(p.Auxv) > 0 || len(p.Modules) > 0 || p.Info.Tool != ""
}

// mapsProcess tells whether a core whose notes cannot be read, as those of a core
// of gdb that is cut off, for they are at its end, has the memory of a process: dumps
// of kernels have physical addresses.
func mapsProcess(c *elfcore.Reader) bool {
	found := false
	for _, s := range c.Progs {
		if s.Type != elf.PT_LOAD {
			continue
		}
		if s.Paddr != 0 {
			return false
		}
		found = found || s.Vaddr != 0 && s.Vaddr < 1<<63
	}
	return found
}

// notCore says what else an ELF file is.
func notCore(err error) error {
	if errors.Is(err, kdump.ErrFormat) {
		return nil
	}
	return fmt.Errorf("it is no core dump: %w", err)
}
