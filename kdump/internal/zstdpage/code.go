package zstdpage

import "math/bits"

// The codes of literal lengths and match lengths (RFC 8878, 3.1.1.3.2.1.1): a
// range of values each, within which bits tell.
var (
	literalBits = [64]uint8{16: 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	matchBits   = [64]uint8{32: 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

	literalCodes = [64]uint8(smallCodes(64, literalBits[:36]))
	matchCodes   = [128]uint8(smallCodes(128, matchBits[:53]))
)

// smallCodes lists the codes of the values below n.
func smallCodes(n int, width []uint8) []uint8 {
	var codes []uint8
	for code, w := range width {
		for range 1 << w {
			if len(codes) == n {
				return codes
			}
			codes = append(codes, uint8(code))
		}
	}
	return codes
}

func literalCode(n uint32) uint8 {
	if n < 64 {
		return literalCodes[n]
	}
	return uint8(bits.Len32(n) - 1 + 19) // 64 has code 25
}

// matchCode is the code of a match length less minMatch.
func matchCode(n uint32) uint8 {
	if n < 128 {
		return matchCodes[n]
	}
	return uint8(bits.Len32(n) - 1 + 36) // 128 has code 43
}
