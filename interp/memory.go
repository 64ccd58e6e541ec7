package interp

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
)

const maxName = 4096 // bytes of a function's or a file's name

// reader reads a process's memory (image.Set).
type reader interface {
	ReadMemory(p []byte, addr uint64) (int, error)
}

// memory is a process's memory as the data of a runtime are read from it: what
// cannot be read is 0, and leaves a mark.
type memory struct {
	budget
	set    reader
	failed bool // a read, since somebody has cleared it
}

func newMemory(set reader) memory { return memory{budget: newBudget(), set: set} }

func (m *memory) read(b []byte, addr uint64) bool {
	if m.take() {
		if n, _ := m.set.ReadMemory(b, addr); n == len(b) {
			return true
		}
	}
	m.failed = true
	clear(b)
	return false
}

func (m *memory) u8(addr uint64) byte {
	var b [1]byte
	m.read(b[:], addr)
	return b[0]
}

func (m *memory) u32(addr uint64) uint32 {
	var b [4]byte
	m.read(b[:], addr)
	return binary.LittleEndian.Uint32(b[:])
}

func (m *memory) u64(addr uint64) uint64 {
	var b [8]byte
	m.read(b[:], addr)
	return binary.LittleEndian.Uint64(b[:])
}

// text reads a string of so many bytes, or the beginning of a long one.
func (m *memory) text(addr, size uint64) string {
	b := make([]byte, min(size, maxName))
	if !m.read(b, addr) {
		return ""
	}
	return strings.ToValidUTF8(string(b), "\ufffd")
}

// cString reads a string that ends with a zero byte.
func (m *memory) cString(addr uint64) string {
	const step = 64
	var all []byte
	for addr != 0 && addr < math.MaxUint64-maxName && len(all) < maxName {
		// No read goes over the end of a page: the next one may not be there.
		b := make([]byte, step-addr%step)
		if !m.read(b, addr) {
			break
		}
		if i := bytes.IndexByte(b, 0); i >= 0 {
			return strings.ToValidUTF8(string(append(all, b[:i]...)), "\ufffd")
		}
		all, addr = append(all, b...), addr+uint64(len(b))
	}
	return ""
}
