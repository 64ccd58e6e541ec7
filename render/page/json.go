package page

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// JSON writes a value as one indented JSON object. Characters that a terminal may
// take for a command are written by their numbers.
func JSON(w io.Writer, v any) error {
	o := &objectWriter{w: escaping{w}}
	o.json = json.NewEncoder(&o.piece)
	o.json.SetEscapeHTML(false)
	o.value(reflect.ValueOf(v), "")
	o.text("\n")
	return o.err
}

// escaping writes JSON. What encoding/json leaves as it is and cannot be seen, it
// escapes: DEL, the commands from U+0080 on, and what turns the order of
// characters round.
type escaping struct{ w io.Writer }

func (e escaping) Write(p []byte) (int, error) {
	done := 0 // bytes of p that are written
	for i := 0; i < len(p); {
		if p[i] < 0x7f {
			i++
			continue
		}
		r, n := utf8.DecodeRune(p[i:])
		if unicode.IsPrint(r) {
			i += n
			continue
		}
		code := fmt.Sprintf(`\u%04x`, r)
		if high, low := utf16.EncodeRune(r); high != unicode.ReplacementChar {
			code = fmt.Sprintf(`\u%04x\u%04x`, high, low)
		}
		for _, part := range [][]byte{p[done:i], []byte(code)} {
			if _, err := e.w.Write(part); err != nil {
				return done, err
			}
		}
		i += n
		done = i
	}
	if _, err := e.w.Write(p[done:]); err != nil {
		return done, err
	}
	return len(p), nil
}
