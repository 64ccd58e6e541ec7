package zstdpage

import "math/bits"

// The predefined distributions of the three codes of a sequence, and the
// accuracy of their tables in bits (RFC 8878, 3.1.1.3.2.2). -1 is a symbol that
// is rarer than one in the table's size.
var (
	literalNorm = []int8{4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1}
	matchNorm   = []int8{1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1}
	offsetNorm  = []int8{1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1}
)

const (
	literalLog, matchLog, offsetLog = 6, 6, 5
	maxSymbols                      = 64
)

// fse is an encoder's table of finite state entropy: for each symbol how a
// state becomes bits and the next state.
type fse struct {
	states  [1 << 6]uint16
	symbols [maxSymbols]transform
}

// transform turns a state: (state+bits)>>16 is the number of low bits of it
// that are written, and the rest, plus find, is the place of the next state.
type transform struct {
	bits uint32
	find int32
}

var (
	literalTable = newFSE(literalNorm, literalLog)
	matchTable   = newFSE(matchNorm, matchLog)
	offsetTable  = newFSE(offsetNorm, offsetLog)
)

// newFSE builds the table of a distribution as the decoder does (RFC 8878,
// 4.1.1), turned round.
func newFSE(norm []int8, log uint) *fse {
	f := new(fse)
	size := 1 << log
	symbols := make([]int, size)
	high := size - 1
	first := make([]int, len(norm)+1)
	for s, n := range norm {
		if n == -1 {
			first[s+1] = first[s] + 1
			symbols[high] = s
			high--
			continue
		}
		first[s+1] = first[s] + int(n)
	}
	step, at := size>>1+size>>3+3, 0
	for s, n := range norm {
		for range max(int(n), 0) {
			symbols[at] = s
			for at = (at + step) & (size - 1); at > high; {
				at = (at + step) & (size - 1)
			}
		}
	}
	next := append([]int(nil), first...)
	for i, s := range symbols {
		f.states[next[s]] = uint16(size + i)
		next[s]++
	}
	for s, n := range norm {
		if n == -1 || n == 1 {
			f.symbols[s] = transform{uint32(log<<16) - 1<<log, int32(first[s] - 1)}
			continue
		}
		out := log + 1 - uint(bits.Len(uint(n-1)))
		f.symbols[s] = transform{uint32(out<<16) - uint32(n)<<out, int32(first[s] - int(n))}
	}
	return f
}

// start is the state before the last symbol.
func (f *fse) start(symbol uint8) uint32 {
	t := f.symbols[symbol%maxSymbols]
	n := (t.bits + 1<<15) >> 16
	v := n<<16 - t.bits
	return uint32(f.states[int32(v>>n)+t.find])
}
