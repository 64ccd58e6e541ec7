package image

import (
	"bytes"
	"fmt"
	"strings"
)

// Fetcher gets files of programs and libraries from elsewhere.
type Fetcher interface {
	// Fetch returns the path of the file of a build id, "" if there is none. kind
	// is "executable" or "debuginfo". A file for which fits has an error is not
	// the one.
	Fetch(id []byte, kind string, fits func(path string) error) string
	// Warnings lists what went wrong.
	Warnings() []string
}

// FetchBy makes a Set ask a Fetcher for what this machine does not have, from now
// on; that may take long.
func (s *Set) FetchBy(f Fetcher) { s.fetcher = f }

// minFetched is the shortest build id that files are fetched by, in bytes.
const minFetched = 8

// fetch gets a file by its build id; nil: it is not to be had.
func (im *Image) fetch(id []byte, kind string) *File {
	f := im.set.fetcher
	if f == nil || len(id) < minFetched {
		return nil
	}
	open := func(path string) (*File, error) {
		d, err := openFile(path)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(d.BuildID, id) {
			d.close()
			return nil, fmt.Errorf("it has another build id (%x)", d.BuildID)
		}
		return d, nil
	}
	path := f.Fetch(id, kind, func(path string) error {
		d, err := open(path)
		if err == nil {
			d.close()
		}
		return err
	})
	if path == "" {
		return nil
	}
	d, err := open(path)
	if err != nil {
		im.set.warn("%s: %v", path, err)
		return nil
	}
	im.files = append(im.files, d)
	return d
}

// library tells whether an image has the name of a library.
func (im *Image) library() bool {
	return im.Module.SOName != "" || strings.Contains(im.Module.Path, ".so")
}
