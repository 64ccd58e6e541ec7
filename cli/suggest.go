package cli

import (
	"fmt"
	"strings"

	"procdump/internal/spelling"
)

// otherWords are names that people try for what is spelled otherwise here.
var otherWords = map[string]string{
	"full": "-ma", "mini": "-mm", "triage": "-mt", "miniplus": "-mp", "core": "-format elf", "elf": "-format elf",
	"minidump": "-format minidump", "dmp": "-format minidump", "compress": "-z", "zstd": "-z", "comment": "-dc TEXT",
	"force": "-o", "overwrite": "-o", "timeout": "-at SEC", "count": "-n N", "interval": "-s SEC",
	"output": "TARGET FILE", "out": "TARGET FILE", "pid": "the PID as a word of its own",
}

// unknown is the error for a word that looks like a switch and is none.
func unknown(arg string) *UsageError {
	remedy := "procdump -? lists the switches"
	name := strings.ToLower(strings.TrimLeft(arg, "-"))
	if s := suggest(name); s != "" {
		remedy = "did you mean " + s + "?"
	}
	return usagef(arg, remedy, "unknown switch")
}

// suggest returns what was probably meant by name, "" if there is no guess.
func suggest(name string) string {
	if word, ok := otherWords[name]; ok {
		return word
	}
	// -n3, -n=3, -mc:1f
	if i := strings.IndexAny(name, "=:0123456789"); i > 0 {
		if s := lookup(name[:i]); s != nil && len(s.values) > 0 {
			return fmt.Sprintf("%s %s", s.typed(), strings.TrimLeft(name[i:], "=:"))
		}
	}
	best, bestCost := "", 0
	for i := range switches {
		s := &switches[i]
		if s.section == secHidden && !s.later {
			continue
		}
		for _, candidate := range []string{s.name, s.also} {
			cost := spelling.Distance(name, candidate)
			// A guess that changes half of the letters is none.
			if candidate == "" || 2*cost > max(len(name), len(candidate)) || cost > 2 {
				continue
			}
			if s.later {
				cost++ // of two equally near ones, the one that works
			}
			if best == "" || cost < bestCost {
				best, bestCost = s.typed(), cost
			}
		}
	}
	return best
}
