package capture

import (
	"fmt"
	"time"

	"procdump/internal/sys/fsys"
	"procdump/kdump"
)

// WriteBytes puts a dump that is in memory where the options say, like the
// dump of a Job: under its name only when it is complete and on disk. at is the
// time in its name.
func WriteBytes(b []byte, at time.Time, o Options) (*Result, error) {
	j := &Job{options: o, dump: &kdump.Dump{Time: at}}
	res := &Result{Disk: -1, Size: int64(len(b))}
	if o.Stream != nil {
		_, err := o.Stream.Write(b)
		return res, err
	}
	folder := o.Name.Folder()
	if free, err := fsys.Free(folder); err == nil && int64(len(b)) > free {
		return nil, fmt.Errorf("write dump in %s: %w: it needs %d bytes and %d are free; free some or name another folder", folder, ErrNoSpace, len(b), free)
	}
	var err error
	if j.file, err = createFile(folder); err != nil {
		return nil, fmt.Errorf("make dump file: %w", err)
	}
	defer j.Discard()
	if _, err := j.file.WriteAt(b, 0); err != nil {
		return nil, j.explain(err)
	}
	if err := j.finish(res); err != nil {
		return nil, j.explain(err)
	}
	return res, nil
}
