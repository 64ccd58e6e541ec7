package capture

import (
	"os"

	"procdump/internal/sys/fsys"
)

// bounceSize is how many bytes that do not lie where direct writes want them
// are copied at a time.
const bounceSize = 1 << 20

// file is a dump in the making. It is written past the page cache where its
// file system can do that.
type file struct {
	*fsys.Temp
	direct *os.File // nil: not possible
	bounce []byte
}

// createFile makes a file without a name.
func createFile(folder string) (*file, error) {
	t, err := fsys.CreateTemp(folder)
	if err != nil {
		return nil, err
	}
	return newFile(t), nil
}

func newFile(t *fsys.Temp) *file {
	f := &file{Temp: t}
	var err error
	if f.direct, err = fsys.OpenDirect(t.File); err == nil {
		f.bounce = fsys.AlignedBuffer(bounceSize)
	}
	return f
}

// Discard closes the file, and removes it unless it got its name.
func (f *file) Discard() {
	if f.direct != nil {
		f.direct.Close()
	}
	f.Temp.Discard()
}

// WriteAt implements io.WriterAt, for one goroutine.
func (f *file) WriteAt(b []byte, off int64) (n int, err error) {
	for n < len(b) && f.direct != nil {
		part := b[n:]
		if !fsys.IsAligned(part, off+int64(n)) {
			part = f.bounce[:copy(f.bounce, part)]
			if !fsys.IsAligned(part, off+int64(n)) {
				break
			}
		}
		done, err := f.direct.WriteAt(part, off+int64(n))
		n += done
		switch {
		case fsys.IsDirectRefused(err):
			f.direct.Close()
			f.direct = nil
		case err != nil:
			return n, err
		}
	}
	if n == len(b) {
		return n, nil
	}
	done, err := f.Temp.WriteAt(b[n:], off+int64(n))
	fsys.StartWriteback(f.File, off+int64(n), int64(done))
	return n + done, err
}

// stream turns writes that follow each other into large aligned ones.
type stream struct {
	f   *file
	buf []byte
	n   int
	off int64 // of buf
}

func newStream(f *file) *stream { return &stream{f: f, buf: fsys.AlignedBuffer(bounceSize)} }

// Write implements io.Writer.
func (s *stream) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		n := copy(s.buf[s.n:], b[done:])
		s.n += n
		done += n
		if s.n == len(s.buf) {
			if err := s.flush(); err != nil {
				return done, err
			}
		}
	}
	return done, nil
}

func (s *stream) flush() error {
	if s.n == 0 {
		return nil
	}
	_, err := s.f.WriteAt(s.buf[:s.n], s.off)
	s.off += int64(s.n)
	s.n = 0
	return err
}
