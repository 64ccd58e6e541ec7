package dumpkind

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"procdump/snapshot"
)

// hideUser overwrites user names in the paths of a text, one to a line at most.
// Lengths stay, and so does the last element of each path. A text without any
// is returned as it is.
func hideUser(text []byte) []byte {
	out := text
	var parents [2]string // the two elements before
	for start := 0; start < len(out); {
		n := bytes.IndexAny(out[start:], "/\\\n")
		if n < 0 {
			break
		}
		end := start + n
		if out[end] == '\n' {
			parents, start = [2]string{}, end+1
			continue
		}
		element := string(out[start:end])
		if parentOfUsers(parents) {
			if &out[0] == &text[0] {
				out = bytes.Clone(text)
			}
			copy(out[start:end], strings.Repeat("*", n))
		}
		parents, start = [2]string{parents[1], element}, end+1
	}
	return out
}

// parentOfUsers tells whether the folder with this path, of which the last two
// elements are known, has one folder for each user.
func parentOfUsers(path [2]string) bool {
	switch path[1] {
	case "home", "Users", "users":
		return true
	case "media": // /media/NAME, /run/media/NAME
		return path[0] == "run" || path[0] == "" || strings.HasSuffix(path[0], " ")
	}
	return false
}

func hideUserIn(path string) string { return string(hideUser([]byte(path))) }

// hideUserInRegions hides users in the paths of regions. There may be very many,
// so they are copied only if there is something to hide.
func hideUserInRegions(regions []snapshot.Region) []snapshot.Region {
	out := regions
	for i := range regions {
		path := regions[i].Path
		if path == "" || path[0] == '[' {
			continue
		}
		hidden := hideUserIn(path)
		if hidden == path {
			continue
		}
		if &out[0] == &regions[0] {
			out = slices.Clone(regions)
		}
		out[i].Path = hidden
	}
	return out
}

// names hides users in the names of the linker's list, in memory: of those that
// the dump holds with their NUL, not of the list's structures.
func (s *scrubber) names(h heldMemory) {
	for _, r := range s.p.Linker.Ranges {
		if r.Size == 0 || r.Size > maxPath {
			continue
		}
		if b := h.all(r); b != nil && bytes.IndexByte(b, 0) == len(b)-1 {
			s.hidden = append(s.hidden, hiddenName{r.Addr, hideUser(b)})
		}
	}
	slices.SortFunc(s.hidden, func(a, b hiddenName) int { return cmp.Compare(a.addr, b.addr) })
}
