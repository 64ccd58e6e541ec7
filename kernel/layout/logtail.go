package layout

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// Range is a range of virtual addresses.
type Range struct {
	Addr, Size uint64
}

// End is the address behind the range.
func (r Range) End() uint64 { return r.Addr + r.Size }

// LogTail is where the last messages of the kernel's log lie: what a reader of
// the log needs of memory, if all else of the log's buffers reads as zeros.
type LogTail struct {
	// Head are variables and structures that lead to the buffers.
	Head []Range
	// Kept are the parts of the buffers that hold the messages.
	Kept []Range
	// Buffers are the whole buffers, Kept included.
	Buffers []Range
	// Records are the messages in Kept, the oldest first, as far as they can be
	// read; Logged is how many the log has.
	Records []LogRecord
	Logged  int
	// First is 0, or the address of a variable of 32 bits that has to be
	// FirstValue: before 5.10 it tells where the oldest message is.
	First      uint64
	FirstValue uint32
}

// LogTail finds the last messages of the log that take up to budget bytes of
// its buffers. It reads little more than that.
func (k *Kernel) LogTail(budget uint64) (*LogTail, error) {
	t := &LogTail{}
	var err error
	if _, ok := k.Info.Symbol("prb"); ok {
		err = k.ringTail(t, budget)
	} else if _, ok := k.Info.Symbol("log_buf"); ok {
		err = k.recordTail(t, budget)
	} else {
		err = &MissingError{What: "SYMBOL(prb) or SYMBOL(log_buf)", Why: "the kernel has no log: CONFIG_PRINTK"}
	}
	if err != nil {
		return nil, fmt.Errorf("find the end of the kernel log: %w", err)
	}
	return t, nil
}

// ringTail is LogTail for Linux 5.10 and later.
func (k *Kernel) ringTail(t *LogTail, budget uint64) error {
	r, at, err := k.findRing()
	if err != nil {
		return err
	}
	t.Head = []Range{{at.symbol, 8}, at.ring}
	t.Buffers = []Range{at.descs, at.infos, at.text}
	if n := (r.head - r.tail) & descIDMask; n < r.count {
		t.Logged = int(n) + 1
	}
	var begin, end uint64 // of the text
	steps, desc, info := uint64(0), make([]byte, r.descSize), make([]byte, r.infoSize)
	for id, n := r.head, uint64(1); n <= r.count; id, n = (id-1)&descIDMask, n+1 {
		if _, err := k.Space.ReadVirt(desc, at.descs.Addr+id%r.count*r.descSize); err != nil {
			break
		}
		b, e, state := begin, end, binary.LittleEndian.Uint64(desc[r.state:])
		counts := state&descIDMask == id && (state>>62 == descCommitted || state>>62 == descFinalized)
		from, to := binary.LittleEndian.Uint64(desc[r.begin:]), binary.LittleEndian.Uint64(desc[r.next:])
		if counts && from&1 == 0 && to&1 == 0 && to-from <= at.text.Size {
			b = from
			if e == 0 {
				e = to
			}
		}
		if e-b > at.text.Size || n*(r.descSize+r.infoSize)+e-b > budget {
			break
		}
		begin, end, steps = b, e, n
		if counts {
			if _, err := k.Space.ReadVirt(info, at.infos.Addr+id%r.count*r.infoSize); err == nil {
				t.add(k, r, info, from, to, at.text)
			}
		}
		if id == r.tail {
			break
		}
	}
	slices.Reverse(t.Records)
	first := r.head - steps + 1
	t.keep(at.descs, r.descSize, first, steps)
	t.keep(at.infos, r.infoSize, first, steps)
	t.keep(at.text, 1, begin, end-begin)
	return nil
}

// add adds a message of the ring, newer ones first.
func (t *LogTail) add(k *Kernel, r *ring, info []byte, begin, next uint64, text Range) {
	rec := r.header(info)
	from, n, ok := r.block(begin, next, text.Size)
	if !ok {
		return
	}
	b := make([]byte, min(n, r.textLen(info)))
	got, _ := k.Space.ReadVirt(b, text.Addr+from)
	rec.Text = string(b[:got])
	t.Records = append(t.Records, rec)
}

// keep adds n elements of a ring, from number first on.
func (t *LogTail) keep(ring Range, size, first, n uint64) {
	total := ring.Size / size
	first %= total
	n = min(n, total)
	if over := first + n; over > total {
		t.Kept = append(t.Kept, Range{ring.Addr, (over - total) * size})
		n = total - first
	}
	if n > 0 {
		t.Kept = append(t.Kept, Range{ring.Addr + first*size, n * size})
	}
}

// recordTail is LogTail for kernels before 5.10. A reader begins at
// log_first_idx, which therefore has to name the first message that is kept.
func (k *Kernel) recordTail(t *LogTail, budget uint64) error {
	r, err := k.findRecords()
	if err != nil {
		return err
	}
	for i, size := range []uint64{8, 4, 4, 4} {
		t.Head = append(t.Head, Range{r.at[i], size})
	}
	t.Buffers = []Range{r.buf}
	// The last messages that fit, by a walk over the lengths of all: where each
	// begins in the buffer, and how many bytes come before it in the log.
	var starts, offs []uint64
	total := uint64(0)
	err = r.walk(func(off uint64) (uint64, error) { return k.Space.Uint(r.buf.Addr+off, 2) }, func(index, step uint64) error {
		t.Logged++
		starts, offs = append(starts, index), append(offs, total)
		total += step
		for len(offs) > 0 && total-offs[0] > budget {
			starts, offs = starts[1:], offs[1:]
		}
		return nil
	})
	if t.Logged == 0 {
		return err
	}
	if len(starts) == 0 {
		return nil
	}
	for i := range starts {
		next := total
		if i+1 < len(starts) {
			next = offs[i+1]
		}
		b, err := k.Space.Bytes(r.buf.Addr+starts[i], next-offs[i])
		if err != nil {
			continue
		}
		if rec, err := r.record(b); err == nil {
			t.Records = append(t.Records, rec)
		}
	}
	t.First, t.FirstValue = r.at[2], uint32(starts[0])
	if from, to := starts[0], r.end; from < to {
		t.Kept = []Range{{r.buf.Addr + from, to - from}}
	} else {
		// The log goes on at the beginning of the buffer, behind a length of zero
		// at the end of what is used of it.
		last := from
		for _, s := range starts {
			last = max(last, s)
		}
		size, err := k.Space.Uint(r.buf.Addr+last+r.length, 2)
		if err != nil {
			return err
		}
		t.Kept = []Range{{r.buf.Addr, to}, {r.buf.Addr + from, min(last+size, r.buf.Size) - from}}
	}
	return nil
}
