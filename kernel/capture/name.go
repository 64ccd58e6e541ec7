package capture

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// DefaultMask is the name of a dump that was given none, without extension.
const DefaultMask = "vmcore_YYMMDD_HHMMSS"

// Name is where a dump goes. Words of the file name, in upper case, stand for
// the local time of the dump: YYMMDD, HHMMSS.
type Name struct {
	folder string // absolute, with a separator at its end
	stem   string
	ext    string
	format Format
}

// ParseName reads a dump path as the command line has it: "" is DefaultMask in
// the current folder; an existing folder, or a path that ends in a separator,
// is DefaultMask there; anything else is a file in a folder that exists.
//
// The extension chooses the format where format does not (.elf, .core, .vmcore:
// ELF; .kdump: kdump-compressed). Where it is not one of the format's, the
// format's is added, except to the name vmcore, which dumps of either format
// have.
func ParseName(path string, format Format) (Name, error) {
	folder, file := filepath.Split(path)
	if st, err := os.Stat(path); err == nil && path != "" {
		switch {
		case st.IsDir():
			folder, file = path, ""
		case !st.Mode().IsRegular():
			return Name{}, fmt.Errorf("write dump to %q: it is neither a file nor a folder; a dump goes to a file of its own, made new, or to standard output with -", path)
		}
	}
	if strings.ContainsRune(path, 0) {
		return Name{}, fmt.Errorf("parse dump path %q: it has a NUL byte", path)
	}
	abs, err := filepath.Abs(folder)
	if err != nil {
		return Name{}, fmt.Errorf("find current folder: %w", err)
	}
	if st, err := os.Stat(abs); err != nil || !st.IsDir() {
		if err == nil {
			err = errors.New("not a folder")
		}
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err // the path is said once
		}
		return Name{}, fmt.Errorf("open dump folder %q: %w; create it or give another one", abs, err)
	}
	if file == "" {
		file = DefaultMask
	}
	n := Name{folder: strings.TrimSuffix(abs, string(filepath.Separator)) + string(filepath.Separator)}
	n.setExt(file, format)
	const maxName = 255 // bytes, in every file system
	if longest := len(n.stem) + len("-99999") + len(n.ext); longest > maxName {
		return Name{}, fmt.Errorf("parse dump path: file name %.20q… is too long", file)
	}
	return n, nil
}

// setExt splits a file name into stem and extension and settles the format.
func (n *Name) setExt(file string, format Format) {
	n.stem, n.format = file, format
	ext := filepath.Ext(file)
	told := FormatAuto
	switch strings.ToLower(ext) {
	case ".kdump":
		told = KDump
	case ".elf", ".core", ".vmcore":
		told = ELF
	}
	if n.format == FormatAuto {
		n.format = KDump
		if told != FormatAuto {
			n.format = told
		}
	}
	switch {
	case told == n.format && len(ext) < len(file):
		n.stem, n.ext = strings.TrimSuffix(file, ext), ext
	case file == "vmcore":
	default:
		n.ext = "." + n.format.String()
	}
}

// Folder is where the dump goes, absolute.
func (n Name) Folder() string { return n.folder }

// Format is never FormatAuto.
func (n Name) Format() Format { return n.format }

// Path is the dump's path as long as no file is there.
func (n Name) Path(at time.Time) string { return n.path(at, 0) }

// Alternatives yields the paths to try, in order: Path, then the same with -1,
// -2, … before the extension.
func (n Name) Alternatives(at time.Time) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range 100_000 {
			if !yield(n.path(at, i)) {
				return
			}
		}
	}
}

func (n Name) path(at time.Time, i int) string {
	at = at.Local()
	stem := strings.NewReplacer("YYMMDD", at.Format("060102"), "HHMMSS", at.Format("150405")).Replace(n.stem)
	if i > 0 {
		stem += fmt.Sprintf("-%d", i)
	}
	return n.folder + stem + n.ext
}

// Named tells whether a file of the folder is called as a dump of this name is,
// of whatever time and number.
func (n Name) Named(file string) bool {
	words := strings.NewReplacer("YYMMDD", "[0-9]{6}", "HHMMSS", "[0-9]{6}").Replace(regexp.QuoteMeta(n.stem))
	ok, err := regexp.MatchString("^"+words+"(-[0-9]+)?"+regexp.QuoteMeta(n.ext)+"$", file)
	return ok && err == nil
}
