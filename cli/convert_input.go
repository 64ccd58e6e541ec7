package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"procdump/internal/safeopen"
	"procdump/kdump"
	"procdump/kdump/open"
	"procdump/kdump/windump"
)

// openKernelFile opens a dump of a Linux kernel: a file, or a block device
// with a dump at its beginning.
func openKernelFile(path string) (*os.File, *kdump.Dump, error) {
	f, err := openDumpFile(path)
	if err != nil {
		return nil, nil, err
	}
	d, err := readKernelFile(f, path)
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, d, nil
}

// openDumpFile opens a file or a block device, or says why it cannot be read.
func openDumpFile(path string) (*os.File, error) {
	f, err := openSeekable(path)
	if err != nil {
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err // the path is said once
		}
		return nil, readError(path, err)
	}
	return f, nil
}

// readError says of which file something cannot be read.
func readError(path string, err error) error { return fmt.Errorf("read dump %q: %w", path, err) }

// errNoFile means that a dump cannot be read at any place of it.
var errNoFile = errors.New("it is neither a file nor a block device")

// openSeekable opens a file or a block device. To open a named pipe would wait
// for who writes to it, and a terminal or another device has no dump.
func openSeekable(path string) (*os.File, error) {
	f, _, err := safeopen.File(path, func(st fs.FileInfo) error {
		if m := st.Mode(); !m.IsRegular() && m&fs.ModeDevice == 0 || m&fs.ModeCharDevice != 0 {
			return errNoFile
		}
		return nil
	})
	var missing *fs.PathError
	if errors.As(err, &missing) {
		missing.Op = "open" // which was asked for
	}
	return f, err
}

func readKernelFile(f *os.File, path string) (*kdump.Dump, error) {
	size, err := f.Seek(0, io.SeekEnd) // of a block device, too
	if err != nil {
		return nil, fmt.Errorf("read dump %q: %w", path, err)
	}
	head := make([]byte, 16)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read dump %q: %w", path, err)
	}
	if problem := otherFormat(head[:n]); problem != "" {
		return nil, fmt.Errorf("read dump %q: %s", path, problem)
	}
	d, err := open.Dump(f, size)
	if errors.Is(err, kdump.ErrFormat) {
		err = unknownDump(head[:n], err, kernelFormats)
	}
	if err != nil {
		return nil, fmt.Errorf("read dump %q: %w", path, err)
	}
	if d.OfProcess() {
		return nil, fmt.Errorf("read dump %q: it is the core dump of a process, but says nothing of it", path)
	}
	return d, nil
}

// otherFormat says of what begins with head why it is not read, or "".
func otherFormat(head []byte) string {
	switch {
	case windump.Is(head):
		return "it is a crash dump of Windows, and no debugger reads its memory in another format; open it with WinDbg"
	}
	return compressedWhole(head)
}

// Formats of dumps that are read, of processes and of kernels.
const (
	processFormats = "an ELF core or a minidump, compressed by zstd or not"
	kernelFormats  = "kdump-compressed, ELF, flattened, LiME or AVML"
)

// unknownDump says of what begins with head, and what err says of, what could be
// read in its place.
func unknownDump(head []byte, err error, kernels string) error {
	if open.Match(head) {
		return fmt.Errorf("it is no dump that is known: %w", err)
	}
	begin := "it is empty"
	if len(head) > 0 {
		begin = fmt.Sprintf("it begins with % x", head[:min(len(head), 8)])
	}
	return fmt.Errorf("it is no dump that is known: %s; name the dump of a process (%s) or of a kernel (%s)", begin, processFormats, kernels)
}

// compressedWhole says what to do about a file that a compressor has made, or "".
func compressedWhole(head []byte) string {
	switch {
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return "it is compressed as a whole; decompress it first (zstd -d)"
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return "it is compressed as a whole; decompress it first (gzip -d)"
	}
	return ""
}
