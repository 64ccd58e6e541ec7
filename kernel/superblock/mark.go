package superblock

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// MarkSize is how many bytes a device's Mark takes. The dump has the bytes before
// it, the crash kernel's record those after it.
const MarkSize = 4096

// afterMark is how much room there is at least between a mark and the end.
const afterMark = 128 << 10

// markMagic begins a mark. JSON of a Mark follows, then zeros.
const markMagic = "procdump dump target v1\n"

// Mark is what procdump writes near the end of a device that takes dumps without a
// file system. The crash kernel writes to no device that has it not: names such
// as /dev/sdb may mean another device there.
type Mark struct {
	UUID string `json:"uuid"`
}

// ErrNoMark says that a device is not marked.
var ErrNoMark = errors.New("superblock: the device has no mark of procdump")

// NewMark makes a mark with a random UUID.
func NewMark() Mark {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // RFC 9562: version 4
	return Mark{UUID: formatUUID(b[:])}
}

// MarkOffset is where the mark of a device of that size is, and where a dump has
// to end at the latest. It is negative if the device is too small.
func MarkOffset(size int64) int64 { return (size-afterMark)/MarkSize*MarkSize - MarkSize }

// ReadMark reads the mark of a device of that many bytes. The error is ErrNoMark
// if it has none.
func ReadMark(r io.ReaderAt, size int64) (Mark, error) {
	if MarkOffset(size) < 0 {
		return Mark{}, ErrNoMark
	}
	b := make([]byte, MarkSize)
	if n, err := r.ReadAt(b, MarkOffset(size)); n < len(b) {
		return Mark{}, fmt.Errorf("read mark: %w", err)
	}
	content, ok := bytes.CutPrefix(b, []byte(markMagic))
	if !ok {
		return Mark{}, ErrNoMark
	}
	var m Mark
	if json.Unmarshal(bytes.TrimRight(content, "\x00"), &m) != nil || m.UUID == "" {
		return Mark{}, ErrNoMark
	}
	return m, nil
}

// Block is the mark as it is on the device, MarkSize bytes.
func (m Mark) Block() ([]byte, error) {
	content, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("write mark: %w", err)
	}
	if len(markMagic)+len(content) > MarkSize {
		return nil, fmt.Errorf("write mark: %d bytes are too many", len(content))
	}
	b := make([]byte, MarkSize)
	copy(b[copy(b, markMagic):], content)
	return b, nil
}

// Write writes the mark to a device of that many bytes.
func (m Mark) Write(w io.WriterAt, size int64) error {
	b, err := m.Block()
	if err != nil {
		return err
	}
	if MarkOffset(size) < 0 {
		return fmt.Errorf("write mark: a device of %d bytes is too small", size)
	}
	if _, err := w.WriteAt(b, MarkOffset(size)); err != nil {
		return fmt.Errorf("write mark: %w", err)
	}
	return nil
}
