package diff

import (
	"fmt"
	"strings"
)

// summary says what grew most; inRAM as of growth.
func summary(r *Report, inRAM bool) string {
	var parts []string
	if n := growth(r.Before.Amount, r.After.Amount, inRAM); n != 0 {
		what := "memory"
		if len(r.Memory.Names) > 0 && n > 0 && r.Memory.Names[0].Growth() > 0 {
			what = fmt.Sprintf("memory, most of all %s", r.Memory.Names[0].Name)
		}
		parts = append(parts, fmt.Sprintf("%+d KiB of %s", n/1024, what))
	}
	if n := r.After.Threads - r.Before.Threads; n != 0 {
		text := fmt.Sprintf("%+d threads", n)
		if s := r.Stacks; n > 0 && len(s) > 0 && s[0].After > s[0].Before {
			text += fmt.Sprintf(", %+d of them in %s", s[0].After-s[0].Before, s[0].Functions[0])
		}
		parts = append(parts, text)
	}
	if n := r.After.Files - r.Before.Files; n != 0 && r.Before.Files > 0 && r.After.Files > 0 {
		text := fmt.Sprintf("%+d open files", n)
		if f := r.Files; n > 0 && len(f) > 0 && f[0].After > f[0].Before {
			text += fmt.Sprintf(", %+d of them %s", f[0].After-f[0].Before, f[0].Target)
		}
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		return unchanged(r)
	}
	return strings.Join(parts, "; ")
}

// unchanged is the summary where all sums are the same: what they are the sums of
// may have changed.
func unchanged(r *Report) string {
	same, equal := "memory and threads", "as much memory and as many threads"
	if r.Before.Files > 0 && r.After.Files > 0 {
		same, equal = "memory, threads and files", "as much memory, as many threads and files"
	}
	m := &r.Memory
	if len(m.Kinds)+len(m.Names)+len(r.ThreadsBorn)+len(r.ThreadsGone)+len(r.Stacks)+len(r.Files) > 0 {
		return fmt.Sprintf("Nothing grew or shrank in all: %s as before, but not the same", equal)
	}
	return "Nothing grew or shrank: the same " + same
}
