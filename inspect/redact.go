package inspect

import "strings"

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
			args[i] = a
		case strings.HasPrefix(a, "-"):
			args[i] = hideOption(a)
		default:
			args[i] = Redacted
		}
	}
	p.Environ, p.Args = environ, args
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
	name, _, ok := strings.Cut(s, "=")
	switch {
	case !strings.HasPrefix(s, "--") && len(s) > 2:
		return s[:2] + Redacted
	case ok:
		return name + "=" + Redacted
	}
	return s
}
