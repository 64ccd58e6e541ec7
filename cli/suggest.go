package cli

import (
	"fmt"
	"strings"
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
			cost := distance(name, candidate)
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

// distance is the number of bytes to insert, delete or replace, or of
// neighbours to swap, to make b of a; 99 where the lengths rule a guess out.
func distance(a, b string) int {
	if len(a) > len(b)+2 || len(b) > len(a)+2 {
		return 99
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		for j := range rows[i] {
			if i == 0 || j == 0 {
				rows[i][j] = i + j
				continue
			}
			replace := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
