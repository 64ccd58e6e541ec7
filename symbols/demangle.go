package symbols

import (
	"strings"

	"github.com/ianlancetaylor/demangle"
)

// maxMangled bounds names that are demangled, in bytes; so long ones do not
// come from compilers.
const maxMangled = 16 << 10

// Demangle returns the name that a function of C++ or Rust has in its source,
// without its parameters; other names stay as they are. Symbol versions are cut
// off.
func Demangle(name string) string {
	if i := strings.IndexByte(name, '@'); i > 0 {
		name = name[:i]
	}
	if len(name) > maxMangled || !strings.HasPrefix(name, "_Z") && !strings.HasPrefix(name, "_R") && !strings.HasPrefix(name, "__Z") {
		return name
	}
	return demangled(name)
}

func demangled(name string) (out string) {
	defer func() {
		if recover() != nil {
			out = name
		}
	}()
	// At most 2^14 characters: a name can be made to grow without end.
	return demangle.Filter(name, demangle.NoParams, demangle.NoClones, demangle.MaxLength(14))
}

// withoutParameters cuts the parameters off a name that was demangled with them:
// "A::f(int) const" is "A::f".
func withoutParameters(name string) string {
	end := strings.TrimRight(name, " ")
	for again := true; again; {
		again = false
		for _, word := range []string{" const", " volatile", " &", " &&", " noexcept"} {
			if rest, ok := strings.CutSuffix(end, word); ok {
				end, again = rest, true
			}
		}
		// GCC's parts of functions: "f(int) [clone .cold]".
		if i := strings.LastIndex(end, " [clone "); i > 0 && strings.HasSuffix(end, "]") {
			end, again = end[:i], true
		}
	}
	if !strings.HasSuffix(end, ")") {
		if end == name || strings.Contains(name, " [clone ") {
			return end
		}
		return name
	}
	depth := 0
	for i := len(end) - 1; i >= 0; i-- {
		switch end[i] {
		case ')':
			depth++
		case '(':
			depth--
		}
		if depth > 0 {
			continue
		}
		head := end[:i]
		if head == "" || strings.HasSuffix(head, "operator") || strings.HasSuffix(head, "::") {
			return name // an operator(), an (anonymous namespace)
		}
		return withoutResult(head)
	}
	return name
}

// withoutResult cuts off the type that an instance of a template has in front:
// "int f<int>" is "f<int>".
func withoutResult(name string) string {
	if !strings.Contains(name, "<") || strings.Contains(name, "operator") || strings.Contains(name, " to ") {
		return name
	}
	depth, begin := 0, 0
	for i := range len(name) {
		switch name[i] {
		case '<', '(', '{', '[':
			depth++
		case '>', ')', '}', ']':
			depth--
		case ' ':
			if depth == 0 {
				begin = i + 1
			}
		}
	}
	return name[begin:]
}
