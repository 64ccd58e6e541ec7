//go:build !linux

package fsys

import (
	"errors"
	"os"
)

// Free is not known here; the caller goes on without it.
func Free(string) (int64, error) { return 0, errors.ErrUnsupported }

// Space is not known here.
func Space(string) (size, free int64, err error) { return 0, 0, errors.ErrUnsupported }

// Allocated returns the file's length: holes are not counted here.
func Allocated(f *os.File) int64 {
	st, err := f.Stat()
	if err != nil {
		return 0
	}
	return st.Size()
}

// IsNoSpace tells whether an error means that the disk is full.
func IsNoSpace(error) bool { return false }

// IsTooLarge tells whether an error means that a file may not grow further.
func IsTooLarge(error) bool { return false }

// MayKeep allows everything: there is no such limit.
func MayKeep(int) error { return nil }

// DescriptorLimit is not known here.
func DescriptorLimit() (uint64, bool) { return 0, false }

// IsExhausted tells whether an error says that there are no descriptors left.
func IsExhausted(error) bool { return false }

// Remedy is what to do about an exhausted error: nothing is known here.
func Remedy(error) string { return "" }

// Temp is a file without its final name.
type Temp struct {
	*os.File
	path   string
	linked bool
}

// CreateTemp makes a file of mode 0600 with a temporary name in dir.
func CreateTemp(dir string) (*Temp, error) {
	f, err := os.CreateTemp(dir, ".procdump-*.tmp")
	if err != nil {
		return nil, err
	}
	return &Temp{File: f, path: f.Name()}, nil
}

// Link closes the file, since Windows renames no open one, and gives it its
// final name. An existing file of that name is os.ErrExist, or is replaced if
// overwrite is set. After ErrExist another name may be tried.
func (t *Temp) Link(name string, overwrite bool) error {
	t.File.Close()
	if overwrite {
		if err := os.Rename(t.path, name); err != nil {
			return err
		}
		t.linked = true
		return nil
	}
	// A hard link refuses an existing name, and leaves no moment without one.
	if err := os.Link(t.path, name); err != nil {
		return err
	}
	t.linked = true
	os.Remove(t.path)
	return nil
}

// Discard closes the file and removes it unless it was linked.
func (t *Temp) Discard() {
	t.File.Close()
	if !t.linked {
		os.Remove(t.path)
	}
}

// StartWriteback does nothing here.
func StartWriteback(*os.File, int64, int64) {}

// SyncDir does nothing here.
func SyncDir(string) error { return nil }

// TerminalWidth returns 0: not a terminal as far as we know.
func TerminalWidth(*os.File) int { return 0 }
