package layout

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// LogRecord is one message of the kernel's log.
type LogRecord struct {
	// Seq counts the messages since boot; 0 for all where the kernel's
	// records do not hold it (before 5.10).
	Seq      uint64
	Time     time.Duration // since boot
	Level    int           // 0 emergency to 7 debug
	Facility int
	Text     string // may have several lines
}

// String formats the record as dmesg(1) does.
func (r LogRecord) String() string {
	stamp := fmt.Sprintf("[%5d.%06d] ", r.Time/time.Second, r.Time%time.Second/time.Microsecond)
	return stamp + strings.ReplaceAll(r.Text, "\n", "\n"+strings.Repeat(" ", len(stamp)))
}

// maxLog bounds the ring buffers of the log; log_buf_len= allows up to 2 GiB,
// real ones are some MiB.
const maxLog = 256 << 20

// Log returns the kernel's log, oldest message first. With an error it may
// hold the messages that could be read.
func (k *Kernel) Log() ([]LogRecord, error) {
	if _, ok := k.Info.Symbol("prb"); ok {
		return k.ringLog()
	}
	if _, ok := k.Info.Symbol("log_buf"); ok {
		return k.recordLog()
	}
	return nil, &MissingError{What: "SYMBOL(prb) or SYMBOL(log_buf)", Why: "the kernel has no log: CONFIG_PRINTK"}
}

// keys reads offsets and sizes from VMCOREINFO and remembers the first that is
// missing.
type keys struct {
	info *Info
	err  error
}

func (q *keys) get(v uint64, ok bool, what string) uint64 {
	if !ok && q.err == nil {
		q.err = &MissingError{What: what}
	}
	if v > 1<<20 && q.err == nil {
		q.err = fmt.Errorf("layout: %s is %d: implausible", what, v)
	}
	return v
}

func (q *keys) offset(name string) uint64 {
	v, ok := q.info.Offset(name)
	return q.get(v, ok, "OFFSET("+name+")")
}

func (q *keys) size(name string) uint64 {
	v, ok := q.info.Size(name)
	return q.get(v, ok, "SIZE("+name+")")
}

// ring is the log of Linux 5.10 and later, kernel/printk/printk_ringbuffer.h:
// a ring of descriptors, one of struct printk_info beside it, and one of text.
type ring struct {
	count       uint64 // of descriptors, a power of two
	descs       []byte
	infos       []byte
	text        []byte
	head, tail  uint64 // ids of the newest and the oldest descriptor
	descSize    uint64
	infoSize    uint64
	state       uint64 // offsets within a descriptor …
	begin, next uint64
	stamp       uint64 // … and within an info
	length      uint64
	seq         uint64
}

func (k *Kernel) ringLog() ([]LogRecord, error) {
	r, err := k.readRing()
	if err != nil {
		return nil, fmt.Errorf("read kernel log: %w", err)
	}
	return r.records(), nil
}

// ringRanges are where a ring lies.
type ringRanges struct {
	symbol             uint64 // of the pointer to it
	ring               Range  // struct printk_ringbuffer
	descs, infos, text Range
}

// findRing finds the ring without reading what it holds.
func (k *Kernel) findRing() (*ring, ringRanges, error) {
	var at ringRanges
	q := &keys{info: k.Info}
	counter := q.offset("atomic_long_t.counter")
	descRing, textRing := q.offset("printk_ringbuffer.desc_ring"), q.offset("printk_ringbuffer.text_data_ring")
	countBits, descs, infos := q.offset("prb_desc_ring.count_bits"), q.offset("prb_desc_ring.descs"), q.offset("prb_desc_ring.infos")
	head, tail := q.offset("prb_desc_ring.head_id")+counter, q.offset("prb_desc_ring.tail_id")+counter
	sizeBits, data := q.offset("prb_data_ring.size_bits"), q.offset("prb_data_ring.data")
	block := q.offset("prb_desc.text_blk_lpos")
	at.ring.Size = q.size("printk_ringbuffer")
	r := &ring{
		descSize: q.size("prb_desc"), infoSize: q.size("printk_info"),
		state: q.offset("prb_desc.state_var") + counter,
		begin: block + q.offset("prb_data_blk_lpos.begin"), next: block + q.offset("prb_data_blk_lpos.next"),
		stamp: q.offset("printk_info.ts_nsec"), length: q.offset("printk_info.text_len"), seq: q.offset("printk_info.seq"),
	}
	if q.err != nil {
		return nil, at, q.err
	}
	if max(r.state, r.begin, r.next)+8 > r.descSize || max(r.stamp+8, r.length+4, r.seq+8) > r.infoSize {
		return nil, at, fmt.Errorf("layout: members lie outside of struct prb_desc or struct printk_info")
	}
	at.symbol, _ = k.Info.Symbol("prb")
	m := reader{space: k.Space}
	prb := m.uint64(at.symbol)
	bits, textBits := m.uint32(prb+descRing+countBits), m.uint32(prb+textRing+sizeBits)
	r.head, r.tail = m.uint64(prb+descRing+head), m.uint64(prb+descRing+tail)
	if m.err == nil && (bits > 26 || textBits > 28 || textBits < 3) {
		return nil, at, fmt.Errorf("layout: log of 2^%d messages and 2^%d bytes: implausible", bits, textBits)
	}
	r.count = 1 << bits
	at.ring.Addr = prb
	at.descs = Range{m.uint64(prb + descRing + descs), r.count * r.descSize}
	at.infos = Range{m.uint64(prb + descRing + infos), r.count * r.infoSize}
	at.text = Range{m.uint64(prb + textRing + data), 1 << textBits}
	return r, at, m.err
}

func (k *Kernel) readRing() (*ring, error) {
	r, at, err := k.findRing()
	if err != nil {
		return nil, err
	}
	m := reader{space: k.Space}
	r.descs = m.bytes(at.descs.Addr, at.descs.Size, maxLog)
	r.infos = m.bytes(at.infos.Addr, at.infos.Size, maxLog)
	r.text = m.bytes(at.text.Addr, at.text.Size, maxLog)
	return r, m.err
}

// The state of a descriptor is in the upper two bits of state_var, its id in
// the lower ones.
const (
	descCommitted = 1
	descFinalized = 2
	descIDMask    = 1<<62 - 1
)

func (r *ring) records() []LogRecord {
	var out []LogRecord
	for n, id := uint64(0), r.tail; n < r.count; n, id = n+1, (id+1)&descIDMask {
		if rec, ok := r.record(id); ok {
			out = append(out, rec)
		}
		if id == r.head {
			break
		}
	}
	return out
}

func (r *ring) record(id uint64) (LogRecord, bool) {
	le := binary.LittleEndian
	d := r.descs[id%r.count*r.descSize:]
	state := le.Uint64(d[r.state:])
	if s := state >> 62; state&descIDMask != id || s != descCommitted && s != descFinalized {
		return LogRecord{}, false
	}
	rec := r.header(r.infos[id%r.count*r.infoSize:])
	from, n, ok := r.block(le.Uint64(d[r.begin:]), le.Uint64(d[r.next:]), uint64(len(r.text)))
	if !ok {
		return LogRecord{}, false
	}
	n = min(n, r.textLen(r.infos[id%r.count*r.infoSize:]))
	rec.Text = string(r.text[from : from+n])
	return rec, true
}

// header reads struct printk_info: text_len u16, facility u8, flags 5 bits,
// level 3 bits.
func (r *ring) header(info []byte) LogRecord {
	le := binary.LittleEndian
	return LogRecord{
		Seq: le.Uint64(info[r.seq:]), Time: time.Duration(le.Uint64(info[r.stamp:])),
		Facility: int(info[r.length+2]), Level: int(info[r.length+3] >> 5),
	}
}

func (r *ring) textLen(info []byte) uint64 {
	return uint64(binary.LittleEndian.Uint16(info[r.length:]))
}

// block returns where in a ring of size bytes the text of a message lies, whose
// block goes from begin to next, and for how long at most.
func (r *ring) block(begin, next, size uint64) (from, n uint64, ok bool) {
	if begin&1 == 1 { // a message without text
		return 0, 0, begin == next || next&1 == 1
	}
	begin, next = begin%size, next%size
	if next == 0 { // the block ends where the ring does
		next = size
	}
	if begin > next { // a block that does not fit before the end lies at the beginning
		begin = 0
	}
	begin += 8 // the id of the descriptor
	if begin > next {
		return 0, 0, false
	}
	return begin, next - begin, true
}

// records is the log of kernels before 5.10: log_buf holds struct printk_log,
// each followed by its text.
type records struct {
	at                           [4]uint64 // of log_buf, log_buf_len, log_first_idx, log_next_idx
	buf                          Range
	first, end                   uint64 // offsets in buf: of the oldest message, and behind the newest
	head, stamp, length, textLen uint64 // struct printk_log: its size, and offsets
}

func (k *Kernel) findRecords() (*records, error) {
	q := &keys{info: k.Info}
	r := &records{head: q.size("printk_log"), stamp: q.offset("printk_log.ts_nsec"), length: q.offset("printk_log.len"), textLen: q.offset("printk_log.text_len")}
	if q.err == nil && max(r.stamp+8, r.length+2, r.textLen+6) > r.head {
		q.err = fmt.Errorf("layout: members lie outside of struct printk_log")
	}
	for i, name := range []string{"log_buf", "log_buf_len", "log_first_idx", "log_next_idx"} {
		a, ok := k.Info.Symbol(name)
		if !ok && q.err == nil {
			q.err = &MissingError{What: "SYMBOL(" + name + ")"}
		}
		r.at[i] = a
	}
	if q.err != nil {
		return nil, q.err
	}
	m := reader{space: k.Space}
	r.buf = Range{m.uint64(r.at[0]), uint64(m.uint32(r.at[1]))}
	r.first, r.end = uint64(m.uint32(r.at[2])), uint64(m.uint32(r.at[3]))
	if m.err == nil && r.buf.Size > maxLog {
		return nil, fmt.Errorf("layout: log of %d bytes: implausible", r.buf.Size)
	}
	return r, m.err
}

// walk calls f for each message, the oldest first, with its offset in the
// buffer and the bytes that it takes there. lengthAt reads 16 bits of the
// buffer.
func (r *records) walk(lengthAt func(off uint64) (uint64, error), f func(index, step uint64) error) error {
	size := r.buf.Size
	for index, n := r.first, uint64(0); index != r.end && n <= size; {
		if index+r.head > size {
			return fmt.Errorf("layout: message of the kernel log at %d of %d bytes", index, size)
		}
		step, err := lengthAt(index + r.length)
		if err != nil {
			return err
		}
		if step == 0 { // the rest of the buffer is not used
			if index == 0 {
				break
			}
			index, n = 0, n+r.head
			continue
		}
		if step < r.head || index+step > size {
			return fmt.Errorf("layout: message of the kernel log at %d has a length of %d", index, step)
		}
		if err := f(index, step); err != nil {
			return err
		}
		index, n = index+step, n+step
	}
	return nil
}

func (k *Kernel) recordLog() ([]LogRecord, error) {
	r, err := k.findRecords()
	if err != nil {
		return nil, fmt.Errorf("read kernel log: %w", err)
	}
	m := reader{space: k.Space}
	buf := m.bytes(r.buf.Addr, r.buf.Size, maxLog)
	if m.err != nil {
		return nil, fmt.Errorf("read kernel log: %w", m.err)
	}
	var out []LogRecord
	err = r.walk(func(off uint64) (uint64, error) { return uint64(binary.LittleEndian.Uint16(buf[off:])), nil }, func(index, step uint64) error {
		rec, err := r.record(buf[index : index+step])
		if err != nil {
			return fmt.Errorf("layout: message of the kernel log at %d: %w", index, err)
		}
		out = append(out, rec)
		return nil
	})
	return out, err
}

// record reads a message. After text_len come dict_len u16, facility u8, flags
// 5 bits, level 3 bits.
func (r *records) record(b []byte) (LogRecord, error) {
	le := binary.LittleEndian
	text := uint64(le.Uint16(b[r.textLen:]))
	if text > uint64(len(b))-r.head {
		return LogRecord{}, fmt.Errorf("text of %d bytes in %d", text, len(b))
	}
	return LogRecord{
		Time: time.Duration(le.Uint64(b[r.stamp:])), Facility: int(b[r.textLen+4]), Level: int(b[r.textLen+5] >> 5),
		Text: string(b[r.head : r.head+text]),
	}, nil
}

// reader reads virtual memory and keeps the first error.
type reader struct {
	space *Space
	err   error
}

func (m *reader) uint(va, size uint64) uint64 {
	if m.err != nil {
		return 0
	}
	v, err := m.space.Uint(va, size)
	m.err = err
	return v
}

func (m *reader) uint64(va uint64) uint64 { return m.uint(va, 8) }
func (m *reader) uint32(va uint64) uint32 { return uint32(m.uint(va, 4)) }

func (m *reader) bytes(va, n, limit uint64) []byte {
	if m.err != nil {
		return nil
	}
	if n > limit {
		m.err = fmt.Errorf("layout: %d bytes at %#x: implausible length", n, va)
		return nil
	}
	b, err := m.space.Bytes(va, n)
	m.err = err
	return b
}
