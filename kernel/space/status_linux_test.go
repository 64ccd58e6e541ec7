package space

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"procdump/kernel/rescue"
	"procdump/kernel/settings"
	"procdump/kernel/small"
)

// TestSummary says what became of a crash.
func TestSummary(t *testing.T) {
	const dump, file = "/crash/vmcore.kdump", "/d/vmcore.kdump"
	for _, c := range []struct {
		o    Outcome
		want string
	}{
		{Outcome{Record: rescue.Record{Kind: settings.Kernel, SizeBytes: 5 * mib, Verified: true, File: file}, Dump: dump}, "kernel dump of 5.0 MB in " + dump},
		{Outcome{Record: rescue.Record{Kind: settings.Kernel, DiskBytes: 100, SizeBytes: mib, File: file}, Dump: dump}, "kernel dump of 100 bytes in " + dump + ", not verified"},
		{Outcome{Record: rescue.Record{File: file}, Notes: []string{"the disk was full"}}, "its dump was removed"},
		{Outcome{Record: rescue.Record{File: file}}, "its dump " + file + " is gone"},
		{Outcome{Record: rescue.Record{Finished: true}}, "no dump"},
		{Outcome{Record: rescue.Record{Step: "open target"}}, "no dump, the crash kernel ended at: open target"},
		{Outcome{Record: rescue.Record{Wanted: settings.Small}, Small: "/s/small.elf"}, "small dump /s/small.elf"},
		{Outcome{Record: rescue.Record{Wanted: settings.Complete, Kind: settings.Kernel, Verified: true, NoSpace: true, NeededBytes: 3 * gib, FreeBytes: gib}, Dump: dump},
			"kernel dump of 0 bytes in " + dump + "; the complete dump found no room: it needed 3.0 GB, and 1.0 GB were free"},
	} {
		if got := c.o.summary(); got != "the kernel crashed: "+c.want {
			t.Errorf("%+v: %q, want %q", c.o, got, c.want)
		}
	}
}

// TestStatusGone has somebody remove the space set aside.
func TestStatusGone(t *testing.T) {
	m := manager(t, t.TempDir())
	r := reserve(t, m)
	if err := os.Remove(r.File); err != nil {
		t.Fatal(err)
	}
	if s := m.Status(); s.File != "" || len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], r.File+", is gone") {
		t.Errorf("%+v", s)
	}
}

// TestHasNote: lengths are not believed.
func TestHasNote(t *testing.T) {
	note := func(name, desc uint32) []byte {
		b := binary.LittleEndian.AppendUint32(nil, name)
		b = binary.LittleEndian.AppendUint32(b, desc)
		b = binary.LittleEndian.AppendUint32(b, small.NoteType)
		return append(b, (small.NoteOwner + "\x00\x00\x00\x00\x00\x00\x00\x00")[:12]...)
	}
	for _, c := range []struct {
		name, desc uint32
		want       bool
	}{{9, 0, true}, {9, 1, false}, {9, 1<<32 - 1, false}, {1<<32 - 1, 0, false}, {13, 0, false}, {0, 0, false}} {
		if got := hasNote(note(c.name, c.desc), binary.LittleEndian); got != c.want {
			t.Errorf("name of %d bytes, content of %d: %v", c.name, c.desc, got)
		}
	}
	if hasNote([]byte("short"), binary.LittleEndian) {
		t.Error("a note without a header")
	}
}
