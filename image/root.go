package image

import (
	"os"
	"path"
	"strings"
)

// maxLinks bounds the symbolic links of a path, as Linux does.
const maxLinks = 40

// below returns the path of a file whose name another machine uses, whose root is
// a folder here: symbolic links lead where they do there. What does not exist
// stays as it is.
func below(root, name string) string {
	if root == "" || root == "/" {
		// Two slashes would lead Windows to a file server that the dump names.
		return "/" + strings.TrimLeft(name, "/"+string(os.PathSeparator))
	}
	at := "/"
	parts := strings.Split(name, "/")
	for links := 0; len(parts) > 0; {
		part := parts[0]
		parts = parts[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, part)
		to, err := os.Readlink(root + next)
		if err != nil || links == maxLinks {
			at = next
			continue
		}
		if links++; strings.HasPrefix(to, "/") {
			at = "/"
		}
		parts = append(strings.Split(to, "/"), parts...)
	}
	return root + at
}
