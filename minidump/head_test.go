package minidump

import (
	"errors"
	"testing"

	"procdump/arch"
)

// fullDisk takes so many bytes.
type fullDisk int

var errFull = errors.New("disk full")

func (d *fullDisk) Write(p []byte) (int, error) {
	if *d -= fullDisk(len(p)); *d < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestWriteHeadFails(t *testing.T) {
	p, ranges := sample(arch.AMD64)
	for i := range 300 {
		p.Threads = append(p.Threads, p.Threads[0])
		p.Threads[len(p.Threads)-1].TID = 100_000 + i
	}
	l, err := NewLayout(p, ranges, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, room := range []fullDisk{0, 100 << 10, fullDisk(l.HeadSize() - 1)} {
		if err := l.WriteHead(&room); !errors.Is(err, errFull) {
			t.Errorf("got %v, want the writer's error", err)
		}
	}
	room := fullDisk(l.HeadSize())
	if err := l.WriteHead(&room); err != nil || room != 0 {
		t.Errorf("%d bytes are left, %v", room, err)
	}
}
