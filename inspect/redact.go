package inspect

import (
	"strings"
	"unicode/utf8"
)

// Redacted stands in the place of a value that is not shown.
const Redacted = "…"

// Redact hides the values of the process's environment and arguments: names of
// variables and options stay, and the program's own name.
func (r *Report) Redact() {
	p := &r.Process
	environ, args := make([]string, len(p.Environ)), make([]string, len(p.Args))
	for i, v := range p.Environ {
		environ[i] = hideValue(v)
	}
	for i, a := range p.Args {
		switch {
		case i == 0:
			args[i] = hideTitle(a, p.Exe)
		case strings.HasPrefix(a, "-"):
			args[i] = hideOption(a)
		default:
			args[i] = Redacted
		}
	}
	p.Environ, p.Args = environ, args
}

// hideTitle keeps the program's own name. A program that says what it does in the
// place of its arguments may have put all of these there: "app --token x".
func hideTitle(s, exe string) string {
	name, _, more := strings.Cut(s, " ")
	if !more || s == exe {
		return s
	}
	return name + " " + Redacted
}

// hideValue keeps the name of NAME=value.
func hideValue(s string) string {
	name, _, ok := strings.Cut(s, "=")
	if !ok {
		return Redacted
	}
	return name + "=" + Redacted
}

// hideOption keeps the name of an option. What follows a single letter may be
// its value: -psecret.
func hideOption(s string) string {
	if !strings.HasPrefix(s, "--") && len(s) > 2 {
		_, letter := utf8.DecodeRuneInString(s[1:])
		return s[:1+letter] + Redacted
	}
	if i := strings.IndexAny(s, "=: "); i >= 0 {
		return s[:i+1] + Redacted
	}
	return s
}
