package output

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// clean makes text of bytes that may be anything.
func clean(b []byte) string {
	if plain(b) {
		return string(b)
	}
	var s strings.Builder
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && n <= 1:
			fmt.Fprintf(&s, `\x%02x`, b[0])
			n = 1
		case r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)):
			for _, c := range b[:n] {
				fmt.Fprintf(&s, `\x%02x`, c)
			}
		default:
			s.Write(b[:n])
		}
		b = b[n:]
	}
	return s.String()
}

// plain tells whether there is nothing to escape in printable ASCII.
func plain(b []byte) bool {
	for _, c := range b {
		if c != '\t' && (c < ' ' || c > '~') {
			return false
		}
	}
	return true
}

// wholeRunes returns how many of the first limit bytes hold whole characters.
func wholeRunes(b []byte, limit int) int {
	if len(b) <= limit {
		return len(b)
	}
	for back := 0; back < utf8.UTFMax-1; back++ {
		if i := limit - back; utf8.RuneStart(b[i]) {
			return i
		}
	}
	return limit
}

// syslogText returns the text of a message to syslog: of "<PRI>text", or the
// MESSAGE field of systemd-journald's native protocol
// (https://systemd.io/JOURNAL_NATIVE_PROTOCOL).
func syslogText(b []byte) ([]byte, bool) {
	if rest, ok := bytes.CutPrefix(b, []byte("<")); ok {
		pri, text, ok := bytes.Cut(rest, []byte(">"))
		if !ok || len(pri) == 0 || len(pri) > 3 {
			return nil, false
		}
		for _, c := range pri {
			if c < '0' || c > '9' {
				return nil, false
			}
		}
		return text, true
	}
	return journalMessage(b)
}

// journalMessage finds the field in lines of "NAME=value" and, for values that
// may hold newlines, "NAME", newline, length as 64 bits little-endian, value.
func journalMessage(b []byte) ([]byte, bool) {
	const lengthSize = 8
	for len(b) > 0 {
		line, rest, _ := bytes.Cut(b, []byte("\n"))
		name, value, text := bytes.Cut(line, []byte("="))
		if !fieldName(name) {
			return nil, false
		}
		if !text {
			if len(rest) < lengthSize {
				return nil, false
			}
			n := uint64(0)
			for i := lengthSize - 1; i >= 0; i-- {
				n = n<<8 | uint64(rest[i])
			}
			rest = rest[lengthSize:]
			value = rest[:min(n, uint64(len(rest)))]
			rest = bytes.TrimPrefix(rest[len(value):], []byte("\n"))
		}
		if string(name) == "MESSAGE" {
			return value, true
		}
		b = rest
	}
	return nil, false
}

func fieldName(b []byte) bool {
	for _, c := range b {
		if c != '_' && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return len(b) > 0
}
