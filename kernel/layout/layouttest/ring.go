package layouttest

import (
	"encoding/binary"
	"fmt"
)

// RingKeys are the keys of VMCOREINFO that tell of printk's ring buffer, of Linux
// 6.1 on x86-64.
const RingKeys = `SIZE(printk_ringbuffer)=88
OFFSET(printk_ringbuffer.desc_ring)=0
OFFSET(printk_ringbuffer.text_data_ring)=48
OFFSET(prb_desc_ring.count_bits)=0
OFFSET(prb_desc_ring.descs)=8
OFFSET(prb_desc_ring.infos)=16
OFFSET(prb_desc_ring.head_id)=24
OFFSET(prb_desc_ring.tail_id)=32
SIZE(prb_desc)=24
OFFSET(prb_desc.state_var)=0
OFFSET(prb_desc.text_blk_lpos)=8
OFFSET(prb_data_blk_lpos.begin)=0
OFFSET(prb_data_blk_lpos.next)=8
SIZE(printk_info)=88
OFFSET(printk_info.seq)=0
OFFSET(printk_info.ts_nsec)=8
OFFSET(printk_info.text_len)=16
OFFSET(prb_data_ring.size_bits)=0
OFFSET(prb_data_ring.data)=8
OFFSET(atomic_long_t.counter)=0
`

// Sizes of the ring's structures in bytes.
const (
	ringSize = 88
	descSize = 24
	infoSize = 88
)

// Ring is printk's ring buffer (kernel/printk/printk_ringbuffer.h).
type Ring struct {
	DescBits, TextBits uint   // how many descriptors and how many bytes of text there are, as powers of two
	Tail, Head         uint64 // numbers of the oldest and the newest descriptor
	Descs              []RingDesc
	Text               []byte // of 2^TextBits bytes; what is missing is zero
}

// RingDesc is a descriptor of a message and its information.
type RingDesc struct {
	ID, State       uint64
	Begin, Next     uint64 // of its text, counted on and on
	Seq             uint64
	Nanoseconds     uint64
	Length          uint16
	Facility, Level byte
}

// Put stores the ring by put, which returns the address of what it has stored,
// and returns the lines of VMCOREINFO that lead to it.
func (r *Ring) Put(put func([]byte) uint64) (info string) {
	le := binary.LittleEndian
	count := uint64(1) << r.DescBits
	descs, infos, text := make([]byte, count*descSize), make([]byte, count*infoSize), make([]byte, 1<<r.TextBits)
	for _, d := range r.Descs {
		b := descs[d.ID%count*descSize:]
		le.PutUint64(b, d.ID|d.State<<62)
		le.PutUint64(b[8:], d.Begin)
		le.PutUint64(b[16:], d.Next)
		b = infos[d.ID%count*infoSize:]
		le.PutUint64(b, d.Seq)
		le.PutUint64(b[8:], d.Nanoseconds)
		le.PutUint16(b[16:], d.Length)
		b[18], b[19] = d.Facility, d.Level<<5
	}
	copy(text, r.Text)
	prb := make([]byte, ringSize)
	le.PutUint32(prb, uint32(r.DescBits))
	le.PutUint64(prb[8:], put(descs))
	le.PutUint64(prb[16:], put(infos))
	le.PutUint64(prb[24:], r.Head)
	le.PutUint64(prb[32:], r.Tail)
	le.PutUint32(prb[48:], uint32(r.TextBits))
	le.PutUint64(prb[56:], put(text))
	pointer := put(le.AppendUint64(nil, put(prb)))
	return fmt.Sprintf("%sSYMBOL(prb)=%x\n", RingKeys, pointer)
}
