package zseek

import (
	"bufio"
	"fmt"
	"io"
)

// HeadWriter stores the head of a Writer, which is written to it in pieces. It
// keeps little of it in memory.
type HeadWriter struct {
	w    *Writer
	b    *bufio.Writer
	done int64 // bytes of the head that were written
	err  error
}

// Head returns a writer for the head, from its start on. It may be called at
// any time before Close, and again to replace the head.
func (w *Writer) Head() *HeadWriter {
	return &HeadWriter{w: w, b: bufio.NewWriterSize(io.NewOffsetWriter(w.f, 0), 64<<10), err: w.check()}
}

// Write takes the next bytes of the head. It fails if they are more than the
// size given to NewWriter.
func (h *HeadWriter) Write(p []byte) (n int, err error) {
	if left := h.w.headSize - h.done; h.err == nil && int64(len(p)) > left {
		h.err = fmt.Errorf("zseek: head has %d bytes or more, room is for %d", h.done+int64(len(p)), h.w.headSize)
	}
	var buf [frameHeaderSize]byte
	for n < len(p) && h.err == nil {
		// Frames hold frameSize bytes, their blocks maxBlockSize, the last
		// ones of the head and of each frame what is left.
		inFrame := h.done % int64(h.w.frameSize)
		frame := min(int64(h.w.frameSize), h.w.headSize-(h.done-inFrame))
		if inFrame == 0 {
			h.b.Write(appendFrameHeader(buf[:0], int(frame)))
		}
		inBlock := inFrame % maxBlockSize
		block := min(maxBlockSize, frame-(inFrame-inBlock))
		if inBlock == 0 {
			h.b.Write(appendBlockHeader(buf[:0], rawBlock, int(block), inFrame+block == frame))
		}
		k := min(len(p)-n, int(block-inBlock))
		// bufio.Writer keeps its first error and every method returns it.
		if _, err := h.b.Write(p[n : n+k]); err != nil {
			h.err = h.w.fail(fmt.Errorf("zseek: write head: %w", err))
		}
		n, h.done = n+k, h.done+int64(k)
	}
	return n, h.err
}

// Close ends the head. It fails unless all of it was written.
func (h *HeadWriter) Close() error {
	if h.err == nil && h.done != h.w.headSize {
		h.err = fmt.Errorf("zseek: head has %d bytes, room is for %d", h.done, h.w.headSize)
	}
	if h.err != nil {
		return h.err
	}
	if err := h.b.Flush(); err != nil {
		h.err = h.w.fail(fmt.Errorf("zseek: write head: %w", err))
		return h.err
	}
	h.w.headDone = true
	return nil
}
