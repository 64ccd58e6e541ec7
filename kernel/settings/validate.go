package settings

import (
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxSmallCount is the largest number of small dumps to keep: of 64 KiB each,
// some 600 MB.
const maxSmallCount = 10000

// maxName is the longest name of a dump in bytes: file systems take 255
// (NAME_MAX), and a number may be added.
const maxName = 200

// Validate returns an *Error if a value cannot be meant, or nil. It asks
// nothing of the machine: whether a folder is there and can be written at a
// crash is found out when the crash kernel is loaded.
func (s Settings) Validate() error {
	if e := s.check(); e != nil {
		return e
	}
	return nil
}

func (s Settings) check() *Error {
	if !slices.Contains(kinds, s.Kind) {
		return wrong("kind", "choose "+kindList(), "%q is no kind of dump", string(s.Kind))
	}
	if e := checkPath("folder", s.Folder, true); e != nil {
		return e
	}
	if e := checkFile(s.File); e != nil {
		return e
	}
	if e := checkPath("small_folder", s.SmallFolder, false); e != nil {
		return e
	}
	if s.SmallCount < 1 || s.SmallCount > maxSmallCount {
		return wrong("small_count", "choose 1 to 10000", "%d small dumps cannot be kept", s.SmallCount)
	}
	if !slices.Contains(compressions, s.Compression) {
		return wrong("compression", "choose "+strings.Join(compressions, ", "), "%q is no method of compression", s.Compression)
	}
	return nil
}

// checkPath checks a folder, or a device where that is allowed.
func checkPath(key, p string, device bool) *Error {
	if e := checkText(key, p); e != nil {
		return e
	}
	switch {
	case p == "":
		return wrong(key, "give the path of a folder, such as "+Default().Folder, "it is empty")
	case !path.IsAbs(p):
		return wrong(key, "give the whole path, from /", "%q is not absolute: nobody has a current folder at a crash", p)
	case path.Clean(p) != p:
		return wrong(key, "write "+path.Clean(p), "%q is not written in the shortest way", p)
	case p == "/":
		return wrong(key, "give a folder of its own, such as "+Default().Folder, "dumps cannot go to the root folder")
	case isDevice(p):
		if !device {
			return wrong(key, "give a folder; only folder may be a device", "%q is a device", p)
		}
		return nil
	}
	for _, v := range []string{"/proc", "/sys", "/run", "/dev"} {
		if p == v || strings.HasPrefix(p, v+"/") {
			return wrong(key, "give a folder on a disk, such as "+Default().Folder, "what is in %q does not outlive a reboot", p)
		}
	}
	return nil
}

// isDevice tells by its name whether a path is a device: all are below /dev,
// and /dev itself has folders that hold files (shm), file systems (mqueue,
// hugepages) and terminals (pts) only.
func isDevice(p string) bool {
	rest, ok := strings.CutPrefix(p, "/dev/")
	if !ok || rest == "" {
		return false
	}
	for _, folder := range []string{"shm", "mqueue", "hugepages", "pts"} {
		if rest == folder || strings.HasPrefix(rest, folder+"/") {
			return false
		}
	}
	return true
}

// checkFile checks the name of a dump.
func checkFile(name string) *Error {
	const key = "file"
	if e := checkText(key, name); e != nil {
		return e
	}
	example := "give a name such as " + Default().File
	switch {
	case name == "":
		return wrong(key, example, "it is empty")
	case strings.Contains(name, "/"):
		return wrong(key, "set folder to the folder and file to the name", "%q has a folder in it", name)
	case strings.HasPrefix(name, "."):
		return wrong(key, example, "%q is hidden: names that begin with a dot are procdump's own", name)
	case len(name) > maxName:
		return wrong(key, example, "the name has %d bytes, which is more than %d", len(name), maxName)
	}
	return nil
}

// checkText checks that a text can be a path that people can read.
func checkText(key, s string) *Error {
	if !utf8.ValidString(s) {
		return wrong(key, "use UTF-8", "%q is not text", s)
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return wrong(key, "leave it out", "%q has a control character", s)
		}
	}
	return nil
}

func kindList() string {
	var names []string
	for _, k := range kinds {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}
