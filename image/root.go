package image

import (
	"fmt"
	"os"
	"path"
	"strings"
)

// maxLinks bounds the symbolic links of a path, as Linux does.
const maxLinks = 40

// below returns the path of a file whose name another machine uses, whose root is
// a folder here: symbolic links lead where they do there. What does not exist
// stays as it is. A path of more links than Linux follows is an error: here it might
// lead out of the folder.
func below(root, name string) (string, error) {
	if root == "" || root == "/" {
		// Two slashes would lead Windows to a file server that the dump names.
		for name != "" && os.IsPathSeparator(name[0]) {
			name = name[1:]
		}
		return "/" + name, nil
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
		if err != nil {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("%s below %s: more than %d symbolic links", name, root, maxLinks)
		}
		if strings.HasPrefix(to, "/") {
			at = "/"
		}
		parts = append(strings.Split(to, "/"), parts...)
	}
	return root + at, nil
}
