package zseek

import (
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// jobFrames bounds the frames of a job: with it a terabyte of zeros passes in
// pieces that fit a job's buffer.
const jobFrames = 256

// job is a run of frames on their way through a worker.
type job struct {
	seq     int
	in      []byte    // content of the data segments, one after the other; at most a frame
	segs    []segment // at most jobFrames
	out     []byte
	entries []entry // of the frames in out
}

// segment becomes one frame.
type segment struct {
	size int
	zero bool // zeros, which are not in job.in
}

func (j *job) reset(seq, frameSize int) {
	if j.in == nil {
		// Pages that are never reached are never touched, so this costs only
		// what a dump fills.
		j.in = make([]byte, 0, frameSize)
		j.out = make([]byte, 0, frameSize+jobFrames*int(zeroFrameLen(int64(frameSize))+blockHeaderSize))
	}
	j.seq, j.in, j.segs, j.out, j.entries = seq, j.in[:0], j.segs[:0], j.out[:0], j.entries[:0]
}

// data returns the segment that takes further data.
func (j *job) data() *segment {
	if n := len(j.segs); n == 0 || j.segs[n-1].zero {
		j.segs = append(j.segs, segment{})
	}
	return &j.segs[len(j.segs)-1]
}

// addData takes what fits of p.
func (j *job) addData(p []byte, frameSize int) int {
	n := min(len(p), frameSize-len(j.in))
	j.data().size += n
	j.in = append(j.in, p[:n]...)
	return n
}

// addZeroData takes up to n zeros as data.
func (j *job) addZeroData(n, frameSize int) int {
	end := len(j.in)
	n = min(n, frameSize-end)
	j.data().size += n
	j.in = j.in[:end+n]
	clear(j.in[end:])
	return n
}

func (j *job) addZeroFrame(n int) { j.segs = append(j.segs, segment{n, true}) }

func (j *job) full(frameSize int) bool {
	return len(j.in) == frameSize || len(j.segs) == jobFrames
}

// encode fills out and entries from in and segs.
func (j *job) encode(enc *zstd.Encoder, frameSize int, zeroFrame []byte) {
	in := j.in
	for _, s := range j.segs {
		start := len(j.out)
		switch {
		case !s.zero:
			j.out = enc.EncodeAll(in[:s.size], j.out)
			in = in[s.size:]
		case s.size == frameSize:
			j.out = append(j.out, zeroFrame...)
		default:
			j.out = appendZeroFrame(j.out, s.size)
		}
		j.entries = append(j.entries, entry{uint32(len(j.out) - start), uint32(s.size)})
	}
}

// job returns the job to fill, which has room.
func (w *Writer) job() (*job, error) {
	if w.cur == nil {
		j, err := w.takeFree()
		if err != nil {
			return nil, err
		}
		j.reset(w.next, w.frameSize)
		w.next++
		w.cur = j
	}
	return w.cur, nil
}

func (w *Writer) takeFree() (*job, error) {
	select {
	case j := <-w.free:
		// With both ready, select may choose this one.
		return j, w.check()
	case <-w.done:
		return nil, w.check()
	}
}

func (w *Writer) dispatchIfFull() error {
	if !w.cur.full(w.frameSize) {
		return nil
	}
	return w.dispatch()
}

func (w *Writer) dispatch() error {
	select {
	case w.work <- w.cur:
		w.cur = nil
		return nil
	case <-w.done:
		return w.check()
	}
}

// compress is a worker. Jobs are taken in order, so the holder of the turn is
// always at work and the others never wait in vain.
func (w *Writer) compress(enc *zstd.Encoder) {
	defer w.wg.Done()
	defer enc.Close()
	for {
		select {
		case j := <-w.work:
			j.encode(enc, w.frameSize, w.zeroFrame)
			if err := w.store(j); err != nil {
				w.fail(err)
				return
			}
			w.free <- j
		case <-w.done:
			return
		}
	}
}

// store waits for j's turn, gives it its place in the file, and writes it
// there. The next job's turn comes before the write, so writes overlap.
func (w *Writer) store(j *job) error {
	w.mu.Lock()
	for w.turn != j.seq && w.err == nil {
		w.turned.Wait()
	}
	if w.err == nil && len(w.entries)+len(j.entries) > maxFrames {
		w.mu.Unlock()
		return fmt.Errorf("zseek: more than %d frames", maxFrames)
	}
	off, err := w.off, w.err
	if err == nil {
		w.entries = append(w.entries, j.entries...)
		w.off += int64(len(j.out))
		w.turn++
		w.turned.Broadcast()
	}
	w.mu.Unlock()
	if err != nil {
		return err
	}
	if _, err := w.f.WriteAt(j.out, off); err != nil {
		return fmt.Errorf("zseek: write frames: %w", err)
	}
	return nil
}
