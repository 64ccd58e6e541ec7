package rescue

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"procdump/internal/sys/fsys"
	"procdump/kernel/capture"
	"procdump/kernel/superblock"
)

// place is where dumps and the record go.
type place interface {
	// options completes those of a dump.
	options(o *capture.Options, file string) error
	// saveSmall writes a small dump, and returns its name for the record.
	saveSmall(b []byte, at time.Time) (string, error)
	saveRecord(r *Record) error
	// name is what the record calls a file of the place.
	name(path string) string
}

// folder is a place in a mounted file system.
type folder struct {
	root string // what is mounted of the file system when the machine runs
	path string
}

func (f *folder) options(o *capture.Options, file string) (err error) {
	if err := os.MkdirAll(f.path, 0o700); err != nil {
		return fmt.Errorf("make folder for dumps: %w", err)
	}
	o.Name, err = capture.ParseName(filepath.Join(f.path, filepath.Base(file)), capture.FormatAuto)
	o.Format = o.Name.Format()
	return err
}

func (f *folder) saveSmall(b []byte, at time.Time) (string, error) {
	var o capture.Options
	if err := f.options(&o, SmallName); err != nil {
		return "", err
	}
	for path := range o.Name.Alternatives(at) {
		switch err := fsys.WriteFile(path, b, 0o600, fsys.Durable); {
		case err == nil:
			return f.name(path), nil
		case !errors.Is(err, os.ErrExist):
			return "", fmt.Errorf("write small dump: %w", err)
		}
	}
	return "", errors.New("write small dump: no name is free")
}

func (f *folder) saveRecord(r *Record) error {
	b, err := r.Encode()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(f.path, 0o700); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	if err := fsys.WriteFile(filepath.Join(f.path, RecordName), b, 0o600, fsys.Overwrite|fsys.Durable); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	return nil
}

func (f *folder) name(path string) string {
	return "/" + strings.TrimPrefix(strings.TrimPrefix(path, f.root), "/")
}

// older are the dumps in the folder that have or could have the name of a new
// one.
func (f *folder) older(file string) []string {
	var o capture.Options
	if f.options(&o, file) != nil {
		return nil
	}
	return o.Name.Existing(capture.IsDump)
}

// device is a place on a block device that is written as it is.
type device struct {
	path  string
	size  int64
	small []byte
	rec   *Record
}

func openDevice(path string) (*device, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open device for dumps: %w", err)
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("open device for dumps: %w", err)
	}
	// The name may mean another device in this kernel, and the device may have
	// been put to another use.
	info, err := superblock.Read(f, size)
	switch {
	case errors.Is(err, superblock.ErrUnknown):
		return nil, fmt.Errorf("open device %s for dumps: %w: it may hold something else and is not written to", path, superblock.ErrNoMark)
	case err != nil:
		return nil, fmt.Errorf("open device %s for dumps: %w", path, err)
	case info.Class != superblock.DumpTarget:
		return nil, fmt.Errorf("open device %s for dumps: it holds %v and is not written to", path, info)
	}
	return &device{path: path, size: size}, nil
}

func (d *device) options(o *capture.Options, _ string) error {
	o.Device, o.Room = d.path, superblock.MarkOffset(d.size)
	return nil
}

func (d *device) saveSmall(b []byte, _ time.Time) (string, error) {
	d.small = bytes.Clone(b)
	rec := d.rec
	if rec == nil {
		rec = &Record{}
	}
	rec.SmallSizeBytes = int64(len(b))
	return d.path, d.saveRecord(rec)
}

func (d *device) saveRecord(r *Record) error {
	d.rec = r
	tail, err := encodeTail(r, d.small)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(d.path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	_, err = f.WriteAt(tail, tailOffset(d.size))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	return nil
}

func (d *device) name(path string) string { return path }
