package execgate

import "bytes"

// maxWords is the length of all words together, in bytes, each with a null byte.
const maxWords = 64 << 10

// joinWords makes one message of the words.
func joinWords(words []string) []byte {
	var b []byte
	for _, w := range words {
		b = append(append(b, w...), 0)
	}
	return b
}

func splitWords(b []byte) (words []string) {
	for w := range bytes.SplitSeq(bytes.TrimSuffix(b, []byte{0}), []byte{0}) {
		if len(w) > 0 {
			words = append(words, string(w))
		}
	}
	return words
}

// matcher tells which programs are held: those with one of the words in their
// path or arguments; none: all.
type matcher [][]byte

func newMatcher(words []string) matcher {
	var m matcher
	for _, w := range words {
		m = append(m, []byte(w))
	}
	return m
}

// match tells whether one of the words is part of the text, in whatever case.
func (m matcher) match(text []byte) bool {
	for _, w := range m {
		for i := 0; i+len(w) <= len(text); i++ {
			if bytes.EqualFold(text[i:i+len(w)], w) {
				return true
			}
		}
	}
	return false
}
