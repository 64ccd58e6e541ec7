package window

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// Size is the size of a window in bytes.
	Size = 4 << 20
	// windows is how many there are at a time: who reads pages looks into the
	// page tables and the memory map in between.
	windows = 4
)

// ErrFault means that the file has a piece that cannot be read: broken memory, or
// what is not there any more.
var ErrFault = errors.New("window: memory fault")

// Reader reads a file. It is safe for use by several goroutines.
type Reader struct {
	f    *os.File
	size int64

	mu    sync.Mutex
	open  []*window // the one that was used last comes first
	plain map[int64]bool
}

// window is a piece of the file; its offset is a multiple of Size.
type window struct {
	off  int64
	data []byte
}

// NewReader reads the first size bytes of a file. Close closes the file, too.
func NewReader(f *os.File, size int64) *Reader {
	return &Reader{f: f, size: size, plain: map[int64]bool{}}
}

// ReadAt implements io.ReaderAt.
func (r *Reader) ReadAt(b []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("window: negative offset")
	}
	for n < len(b) {
		at := off + int64(n)
		if at >= r.size {
			return n, io.EOF
		}
		part := b[n:]
		in := at % Size
		part = part[:min(int64(len(part)), Size-in, r.size-at)]
		done, err := r.read(part, at-in, in)
		n += done
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// read fills b from a window on. What cannot be mapped, such as notes of
// devices in /proc/vmcore that share a page with memory, is read.
func (r *Reader) read(b []byte, base, in int64) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.window(base)
	if w == nil {
		return r.f.ReadAt(b, base+in)
	}
	return fetch(b, w.data[in:], base+in)
}

// fetch copies from a mapping. Memory that is broken raises SIGBUS.
func fetch(b, from []byte, off int64) (n int, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil {
			n, err = 0, fmt.Errorf("read at offset %#x: %w", off, ErrFault)
		}
	}()
	return copy(b, from), nil
}

// window returns the window at an offset, or nil if it cannot be mapped.
func (r *Reader) window(base int64) *window {
	for i, w := range r.open {
		if w.off == base {
			copy(r.open[1:], r.open[:i])
			r.open[0] = w
			return w
		}
	}
	if r.plain[base] {
		return nil
	}
	if len(r.open) == windows {
		unix.Munmap(r.open[windows-1].data)
		r.open = r.open[:windows-1]
	}
	data, err := unix.Mmap(int(r.f.Fd()), base, int(min(Size, r.size-base)), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		const most = 1 << 16
		if len(r.plain) < most {
			r.plain[base] = true
		}
		return nil
	}
	r.open = append(r.open, nil)
	copy(r.open[1:], r.open)
	r.open[0] = &window{base, data}
	return r.open[0]
}

// Close closes the file. No read may be under way.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	for _, w := range r.open {
		err = errors.Join(err, unix.Munmap(w.data))
	}
	r.open = nil
	return errors.Join(err, r.f.Close())
}
