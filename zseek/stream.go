package zseek

import (
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// stream decodes one frame forward. zstd's state cannot be copied cheaply, so
// going back means starting again.
type stream struct {
	dec *zstd.Decoder
	in  io.Reader // the frame being decoded; nil when there is none
	off int64     // of that frame
	pos int64     // position in the content of the next byte out of dec
}

// read fills p with the content of f from position start on.
func (s *stream) read(r io.ReaderAt, f frame, start int64, p []byte) error {
	err := s.seek(r, f, start)
	if err == nil {
		var n int
		n, err = io.ReadFull(s.dec, p)
		s.pos += int64(n)
	}
	if err == nil {
		return nil
	}
	s.in = nil
	var failed *readError
	switch {
	case errors.As(err, &failed):
		return failed.err
	case errors.Is(err, zstd.ErrDecoderSizeExceeded):
		// What the decoder says to a single segment that is over its window.
		return errWindow
	case isEnd(err):
		return fmt.Errorf("%w: frame ends at %#x, not %#x", ErrCorrupt, s.pos, f.start+f.len)
	}
	return decodeError(err)
}

// seek brings the stream to position start of the content.
func (s *stream) seek(r io.ReaderAt, f frame, start int64) (err error) {
	if s.in == nil || s.off != f.off || s.pos > start {
		if s.dec == nil {
			if s.dec, err = newDecoder(); err != nil {
				return err
			}
		}
		s.in, s.off, s.pos = &errorMarker{io.NewSectionReader(r, f.off, f.size)}, f.off, f.start
		if err := s.dec.Reset(s.in); err != nil {
			return err
		}
	}
	n, err := io.CopyN(io.Discard, s.dec, start-s.pos)
	s.pos += n
	return err
}

func isEnd(err error) bool { return err == io.EOF || err == io.ErrUnexpectedEOF }

// errorMarker tells errors of the file from those of the decoder.
type errorMarker struct{ r io.Reader }

type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }

func (m *errorMarker) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if err != nil && err != io.EOF {
		err = &readError{err}
	}
	return n, err
}
