// Package printable makes text that others chose fit for a terminal: processes
// choose their names and command lines, and a dump may say anything.
package printable

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text puts a question mark in the place of each character that ends a line, moves
// the cursor, or changes or hides other text, and of what is no character.
func Text(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
