package rescue

import (
	"encoding/binary"
	"fmt"
	"io"

	"procdump/kernel/superblock"
)

// tailOffset is where the tail of a device of this size is, or negative if it is
// too small for one.
func tailOffset(size int64) int64 {
	mark := superblock.MarkOffset(size)
	if mark < 0 {
		return -1
	}
	return mark + superblock.MarkSize
}

// encodeTail returns the tail of a device that holds a record and perhaps a
// small dump.
func encodeTail(r *Record, small []byte) ([]byte, error) {
	b, err := r.Encode()
	if err != nil {
		return nil, err
	}
	if len(b) > TailSize-smallRoom-tailHeader {
		short := *r
		short.Log = nil
		if b, err = short.Encode(); err != nil {
			return nil, err
		}
	}
	if len(b) > TailSize-smallRoom-tailHeader || len(small) > smallRoom {
		return nil, fmt.Errorf("write record: %d bytes, and a small dump of %d: too much for the end of the device", len(b), len(small))
	}
	tail := make([]byte, TailSize)
	copy(tail, tailMagic)
	binary.LittleEndian.PutUint64(tail[len(tailMagic):], uint64(len(b)))
	copy(tail[tailHeader:], b)
	copy(tail[TailSize-smallRoom:], small)
	return tail, nil
}

// ReadTail reads the record of the last crash, and the small dump if there is
// one, from a device of this size. The error is ErrNoRecord if it has none.
func ReadTail(r io.ReaderAt, size int64) (rec *Record, small []byte, err error) {
	at := tailOffset(size)
	if at < 0 {
		return nil, nil, ErrNoRecord
	}
	tail := make([]byte, TailSize)
	if n, err := r.ReadAt(tail, at); n < len(tail) {
		return nil, nil, fmt.Errorf("read record at the end of the device: %w", err)
	}
	n := binary.LittleEndian.Uint64(tail[len(tailMagic):])
	if string(tail[:len(tailMagic)]) != tailMagic || n > TailSize-smallRoom-tailHeader {
		return nil, nil, ErrNoRecord
	}
	if rec, err = ParseRecord(tail[tailHeader : tailHeader+n]); err != nil {
		return nil, nil, err
	}
	if n := rec.SmallSizeBytes; n > 0 && n <= smallRoom {
		small = tail[TailSize-smallRoom:][:n]
	}
	return rec, small, nil
}
