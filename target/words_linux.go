package target

import (
	"path/filepath"
	"strings"
)

// Words are such that a process which the selector means has one of them, in
// upper or lower case, in the path of its image, in its argument 0, or in the
// arguments up to the first that does not begin with a dash; none: nothing of
// that kind is known. They are for a quick look at what a process is about to
// execute.
func (s Selector) Words() []string {
	for _, t := range s.terms { // all must hold: one term is enough
		switch t.key {
		case keyName:
			name := t.text
			if n := len(name) - len(".exe"); n > 0 && strings.EqualFold(name[n:], ".exe") {
				name = name[:n] // see nameRank
			}
			return []string{name}
		case keyExe:
			words := []string{base(t.text)}
			if abs, err := filepath.Abs(t.text); err == nil {
				if real, err := filepath.EvalSymlinks(abs); err == nil {
					words = append(words, base(real))
				}
			}
			return words
		}
	}
	return nil
}
