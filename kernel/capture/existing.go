package capture

import (
	"cmp"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"procdump/kdump/diskdump"
	"procdump/kdump/vmcore"
)

// Existing lists the files of the folder that have a name such as this one gives,
// and content that is that of a dump, by the time in their names. What merely
// has such a name is nobody's to remove. A folder that cannot be read has none.
func (n Name) Existing(isDump func(*os.File) bool) []string {
	entries, err := os.ReadDir(n.folder)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && n.Named(e.Name()) && Holds(n.folder+e.Name(), isDump) {
			names = append(names, e.Name())
		}
	}
	// The words of a mask are as long as what they stand for; what is put between
	// that and the extension numbers the dumps of the same second.
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(strings.Compare(a[:len(n.stem)], b[:len(n.stem)]), len(a)-len(b), strings.Compare(a, b))
	})
	for i := range names {
		names[i] = filepath.Join(n.folder, names[i])
	}
	return names
}

// Holds tells whether a path is that of a regular file whose content is that of
// a dump.
func Holds(path string, isDump func(*os.File) bool) bool {
	// It is not opened before: a named pipe would wait for its writer.
	if st, err := os.Lstat(path); err != nil || !st.Mode().IsRegular() {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return isDump(f)
}

// IsDump tells whether a file is of a format that a Job writes.
func IsDump(f *os.File) bool {
	head := make([]byte, 4096)
	n, _ := io.ReadFull(f, head)
	return diskdump.Match(head[:n]) || vmcore.Match(head[:n])
}
