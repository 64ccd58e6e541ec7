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
