package capture

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"procdump/kdump/diskdump"
	"procdump/kernel/pages"
)

// device is a file that stands for a device of this many bytes, with something
// of an older dump in all of it.
func device(t *testing.T, size int) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "device")
	if err := os.WriteFile(name, append([]byte(diskdump.Signature), bytes.Repeat([]byte{0xee}, size-len(diskdump.Signature))...), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func content(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestDevice: a dump takes the beginning of a device, and no more than its room.
func TestDevice(t *testing.T) {
	const size, room = 8 << 20, 6 << 20
	m := newMachine(1000, pages.Kernel)
	name := device(t, size)
	j := NewJob(m, Options{Kind: Kernel, Compression: diskdump.Stored, Device: name, Room: room})
	defer j.Discard()
	if err := j.Prepare(context.Background()); err != nil {
		t.Fatal(err)
	}
	if b := content(t, name); !bytes.Equal(b[:headerSize], make([]byte, headerSize)) || b[headerSize] != 0xee {
		t.Error("the older dump's header is there, or more than that is gone")
	}
	res, err := j.Run(context.Background())
	if err != nil || res.Path != name || res.Disk != res.Size || res.Pages != 1000 || j.Plan.Free != room {
		t.Fatalf("%+v, %v", res, err)
	}
	b := content(t, name)
	wantPages(t, read(t, b), m, Kernel)
	if len(b) != size || !bytes.Equal(b[room:], bytes.Repeat([]byte{0xee}, size-room)) {
		t.Error("something behind the room was written to")
	}
}

// TestDeviceNoRoom: where the dump does not fit it says so, at best before
// anything is written.
func TestDeviceNoRoom(t *testing.T) {
	m := newMachine(1000, pages.Kernel)
	for _, foreseen := range []bool{true, false} {
		name := device(t, 8<<20)
		before := content(t, name)
		const room = 1 << 20
		j := NewJob(m, Options{Kind: Kernel, Compression: diskdump.Stored, Device: name, Room: room})
		defer j.Discard()
		if !foreseen {
			j.options.Room = 8 << 20
		}
		err := j.Prepare(context.Background())
		if !foreseen {
			if err != nil {
				t.Fatal(err)
			}
			j.options.Room = room
			_, err = j.Run(context.Background())
		}
		if !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "take a larger device") {
			t.Errorf("foreseen %v: %v", foreseen, err)
		}
		after := content(t, name)
		if foreseen && !bytes.Equal(after, before) || !bytes.Equal(after[room:], before[room:]) {
			t.Errorf("foreseen %v: the device was written to", foreseen)
		}
		if bytes.HasPrefix(after, []byte(diskdump.Signature)) != foreseen {
			t.Errorf("foreseen %v: the device has a header of a dump: %q", foreseen, after[:8])
		}
	}
}
