package fsys

import (
	"io/fs"
	"path/filepath"
)

// WriteFlag says how WriteFile goes about it.
type WriteFlag int

const (
	// Overwrite replaces a file that is there, at once.
	Overwrite WriteFlag = 1 << iota
	// Durable waits until the file and its name are on disk.
	Durable
)

// WriteFile makes a file of these permission bits, whatever the umask, that is
// there complete or not at all. Without Overwrite a file that is there is
// fs.ErrExist.
func WriteFile(path string, content []byte, mode fs.FileMode, flags WriteFlag) error {
	t, err := CreateTemp(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer t.Discard()
	if _, err := t.Write(content); err != nil {
		return err
	}
	// That of CreateTemp is 0600. Some file systems have no bits to change.
	if mode != 0o600 {
		if err := t.Chmod(mode); err != nil {
			return err
		}
	}
	if flags&Durable != 0 {
		if err := t.Sync(); err != nil {
			return err
		}
	}
	if err := t.Link(path, flags&Overwrite != 0); err != nil || flags&Durable == 0 {
		return err
	}
	return SyncDir(filepath.Dir(path))
}
