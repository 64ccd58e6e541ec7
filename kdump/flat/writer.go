package flat

import (
	"encoding/binary"
	"io"
)

// bufferSize is how much data a record holds at most when pieces join.
const bufferSize = 1 << 20

// Writer turns writes at offsets into a stream. It is an io.WriterAt for one
// goroutine; writes that follow each other directly become one record.
type Writer struct {
	w     io.Writer
	begun bool
	off   int64 // of buf
	buf   []byte
	err   error
}

// NewWriter returns a Writer to w. Close must be called to end the stream.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// WriteAt implements io.WriterAt. Once a write has failed all others do.
func (f *Writer) WriteAt(b []byte, off int64) (int, error) {
	if off != f.off+int64(len(f.buf)) || len(f.buf)+len(b) > bufferSize {
		f.flush()
		f.off = off
	}
	switch {
	case f.err != nil:
		return 0, f.err
	case len(b) >= bufferSize/2:
		f.flush()
		f.record(off, b)
		f.off = off + int64(len(b))
	default:
		f.buf = append(f.buf, b...)
	}
	if f.err != nil {
		return 0, f.err
	}
	return len(b), nil
}

// WriteOnce tells writers of dumps to write no range twice: makedumpfile lets
// the later of two records count, crash does not.
func (f *Writer) WriteOnce() {}

// Close writes what is left and the end record. It does not close the
// underlying writer.
func (f *Writer) Close() error {
	f.flush()
	f.begin()
	var end [recordSize]byte
	for i := range end {
		end[i] = 0xff
	}
	f.write(end[:])
	return f.err
}

func (f *Writer) flush() {
	if len(f.buf) > 0 {
		f.record(f.off, f.buf)
	}
	f.off += int64(len(f.buf))
	f.buf = f.buf[:0]
}

func (f *Writer) record(off int64, b []byte) {
	f.begin()
	var h [recordSize]byte
	binary.BigEndian.PutUint64(h[:], uint64(off))
	binary.BigEndian.PutUint64(h[8:], uint64(len(b)))
	f.write(h[:])
	f.write(b)
}

func (f *Writer) begin() {
	if f.begun {
		return
	}
	f.begun = true
	b := make([]byte, headerSize)
	copy(b, Signature)
	binary.BigEndian.PutUint64(b[16:], flatType)
	binary.BigEndian.PutUint64(b[24:], version)
	f.write(b)
}

func (f *Writer) write(b []byte) {
	if f.err == nil {
		_, f.err = f.w.Write(b)
	}
}
