package zseek

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Options tune a Writer. The zero value is the fast setting a dump wants.
type Options struct {
	Level     int // zstd's scale, 1 (fastest) to 19; 0 is 1. Levels above 2 need much more memory.
	Workers   int // goroutines that compress; 0 is two, or one on a machine with one CPU
	FrameSize int // uncompressed bytes in a frame; 0 is 4 MiB, which is also the most
}

const (
	// zeroCut is the shortest run of zeros that gets a frame of its own. A
	// shorter one goes through the encoder: a frame costs 9 bytes, 8 in the
	// seek table, and the encoder's history.
	zeroCut = 128 << 10

	// windowSize bounds the encoder's history, and so its memory. Cutting it
	// from 4 MiB to 1 costs next to nothing in size at the fastest level.
	windowSize = 1 << 20
)

// Writer compresses a stream into a seekable zstd file. Frames are compressed
// by several goroutines and stored in the order of the stream. It holds
// (Workers+1) × 2 frames in memory.
//
// Write, WriteZeros, the HeadWriter, Flush and Close must not be used at the
// same time; Abort may be called at any time. After the first error every
// method returns that error, and nothing more is written.
type Writer struct {
	f         io.WriterAt
	headSize  int64
	headDone  bool
	frameSize int
	zeroCut   int
	zeroFrame []byte // a compressed frame of frameSize zeros
	payload   int64  // bytes taken by Write and WriteZeros

	cur   *job      // being filled; nil when the next one is not yet taken
	next  int       // seq of the next job to fill
	free  chan *job // holds each job that is neither being filled nor in work
	nJobs int
	work  chan *job
	done  chan struct{} // closed at the first error, Abort, and the end of Close
	wg    sync.WaitGroup

	mu      sync.Mutex
	turned  sync.Cond // turn or err changed
	turn    int       // seq of the job that may take its place in the file
	off     int64     // where in the file that is
	entries []entry
	err     error
}

var errClosed = errors.New("zseek: writer closed")

// entry is one of the seek table.
type entry struct{ Compressed_Size, Decompressed_Size uint32 }

// NewWriter returns a Writer to f, which should be empty. The content is a
// head of headSize bytes, for which it reserves room, and the payload. The
// Writer neither syncs nor closes f. The caller must end with Close or Abort.
func NewWriter(f io.WriterAt, headSize int64, opts Options) (*Writer, error) {
	if headSize < 0 {
		return nil, fmt.Errorf("zseek: head size %d", headSize)
	}
	if opts.FrameSize == 0 {
		opts.FrameSize = maxFrameSize
	}
	if opts.FrameSize < 1 || opts.FrameSize > maxFrameSize {
		return nil, fmt.Errorf("zseek: frame size %d is not from 1 to %d", opts.FrameSize, maxFrameSize)
	}
	if opts.Workers <= 0 {
		opts.Workers = min(2, runtime.NumCPU())
	}
	w := &Writer{
		f: f, headSize: headSize, headDone: headSize == 0,
		frameSize: opts.FrameSize, zeroCut: min(zeroCut, opts.FrameSize),
		zeroFrame: appendZeroFrame(nil, opts.FrameSize),
		nJobs:     opts.Workers + 1,
		work:      make(chan *job, opts.Workers),
		done:      make(chan struct{}),
	}
	w.turned.L = &w.mu
	w.reserveHead()
	w.free = make(chan *job, w.nJobs)
	for range w.nJobs {
		w.free <- new(job)
	}
	for range opts.Workers {
		enc, err := newEncoder(max(opts.Level, 1))
		if err != nil {
			w.Abort()
			return nil, fmt.Errorf("zseek: make encoder: %w", err)
		}
		w.wg.Add(1)
		go w.compress(enc)
	}
	return w, nil
}

// newEncoder makes one for EncodeAll from one goroutine. Every frame declares
// its size (that is what a single segment means), as the Reader and other
// tools want it.
func newEncoder(level int) (*zstd.Encoder, error) {
	return zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)),
		zstd.WithEncoderConcurrency(1),
		zstd.WithLowerEncoderMem(true),
		zstd.WithWindowSize(windowSize),
		zstd.WithSingleSegment(true),
		zstd.WithEncoderCRC(false))
}

// reserveHead enters the head's frames, whose compressed sizes are known
// before their content because they are stored.
func (w *Writer) reserveHead() {
	for left := w.headSize; left > 0; {
		n := min(left, int64(w.frameSize))
		left -= n
		w.entries = append(w.entries, entry{uint32(rawFrameLen(n)), uint32(n)})
		w.off += rawFrameLen(n)
	}
}

// Write appends p to the payload. It keeps no reference to p. An error that
// befell earlier data is returned as soon as it is known.
func (w *Writer) Write(p []byte) (n int, err error) {
	if err := w.check(); err != nil {
		return 0, err
	}
	for n < len(p) {
		j, err := w.job()
		if err != nil {
			return n, err
		}
		took := j.addData(p[n:], w.frameSize)
		n += took
		w.payload += int64(took)
		if err := w.dispatchIfFull(); err != nil {
			return n, err
		}
	}
	return n, nil
}

// WriteZeros appends n zeros to the payload. A long run costs 32 bytes of file
// per MiB, which is the best the format can do, and no memory.
func (w *Writer) WriteZeros(n int64) error {
	if err := w.check(); err != nil {
		return err
	}
	if n < 0 {
		return fmt.Errorf("zseek: write %d zeros", n)
	}
	own := n >= int64(w.zeroCut)
	for n > 0 {
		j, err := w.job()
		if err != nil {
			return err
		}
		var took int64
		if own {
			took = min(n, int64(w.frameSize))
			j.addZeroFrame(int(took))
		} else {
			took = int64(j.addZeroData(int(n), w.frameSize))
		}
		n -= took
		w.payload += took
		if err := w.dispatchIfFull(); err != nil {
			return err
		}
	}
	return nil
}

// Flush stores what was written up to now, which ends a frame, and gives back
// the memory that frames take on their way, until more is written.
func (w *Writer) Flush() error {
	if err := w.check(); err != nil {
		return err
	}
	if err := w.drain(); err != nil {
		return err
	}
	for range w.nJobs {
		w.free <- new(job)
	}
	return nil
}

// drain waits until all that was written is stored, and takes all jobs.
func (w *Writer) drain() error {
	if w.cur != nil {
		if err := w.dispatch(); err != nil {
			return err
		}
	}
	for range w.nJobs {
		if _, err := w.takeFree(); err != nil {
			return err
		}
	}
	return nil
}

// Size is the number of uncompressed bytes so far, the head's included.
func (w *Writer) Size() int64 { return w.headSize + w.payload }

// Close writes what is left and the seek table. It fails if the head is
// missing. On error the file is not valid.
func (w *Writer) Close() error {
	if err := w.check(); err != nil {
		return err
	}
	if !w.headDone {
		return w.fail(errors.New("zseek: close: head not written"))
	}
	if err := w.drain(); err != nil {
		return err
	}
	if err := w.writeSeekTable(); err != nil {
		return w.fail(err)
	}
	if err := w.fail(errClosed); err != errClosed {
		return err // Abort came first
	}
	w.wg.Wait()
	return nil
}

// Abort stops the goroutines and returns when they have ended. What is in the
// file is not valid. After Close it does nothing.
func (w *Writer) Abort() {
	w.fail(ErrAborted)
	w.wg.Wait()
}

func (w *Writer) writeSeekTable() error {
	b := bufio.NewWriterSize(io.NewOffsetWriter(w.f, w.off), 64<<10)
	var buf [seekTableFooterSize]byte
	le := binary.LittleEndian
	h := le.AppendUint32(buf[:0], seekTableMagicNumber)
	b.Write(le.AppendUint32(h, uint32(len(w.entries)*seekTableEntrySize+seekTableFooterSize)))
	for _, e := range w.entries {
		h = le.AppendUint32(buf[:0], e.Compressed_Size)
		b.Write(le.AppendUint32(h, e.Decompressed_Size))
	}
	h = le.AppendUint32(buf[:0], uint32(len(w.entries)))
	b.Write(le.AppendUint32(append(h, 0), seekableMagicNumber))
	if err := b.Flush(); err != nil {
		return fmt.Errorf("zseek: write seek table: %w", err)
	}
	return nil
}

// check returns the error that ends all methods.
func (w *Writer) check() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// fail records the error that ends the Writer unless it has ended already, lets
// everyone who waits see it, and returns the one that counts.
func (w *Writer) fail(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
		close(w.done)
		w.turned.Broadcast()
	}
	return w.err
}
