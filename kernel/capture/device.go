package capture

import (
	"errors"
	"fmt"
	"io"
	"os"

	"procdump/internal/sys/fsys"
)

// headerSize is how many bytes of a dump no reader does without.
const headerSize = 4096

// prepareDevice opens the device that takes the dump. What it holds is a dump no
// more: a header that stays would be taken for that of the pages to come.
func (j *Job) prepareDevice() error {
	name, room := j.options.Device, j.options.Room
	j.Plan.Free = room
	if j.Plan.Estimate > room {
		return fmt.Errorf("write dump to %s: %w: it needs about %d MB and there is room for %d MB; take a larger device, a smaller kind, or zstd",
			name, ErrNoSpace, j.Plan.Estimate>>20+1, room>>20)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open device for dump: %w", err)
	}
	j.file = newFile(&fsys.Temp{File: f})
	if _, err := j.file.WriteAt(fsys.AlignedBuffer(headerSize), 0); err != nil {
		return fmt.Errorf("write dump to %s: %w", name, err)
	}
	return nil
}

// explainDevice says what to do about an error of the device.
func (j *Job) explainDevice(err error) error {
	if fsys.IsNoSpace(err) || errors.Is(err, ErrNoSpace) {
		return fmt.Errorf("write dump to %s: %w; take a larger device, a smaller kind, or zstd (%w)", j.options.Device, ErrNoSpace, err)
	}
	return err
}

// limited is an output that ends before its end.
type limited struct {
	w    io.WriterAt
	room int64
}

// WriteAt implements io.WriterAt.
func (l limited) WriteAt(b []byte, off int64) (int, error) {
	if int64(len(b)) > l.room-off {
		return 0, fmt.Errorf("the room of %d bytes is used up: %w", l.room, ErrNoSpace)
	}
	return l.w.WriteAt(b, off)
}
