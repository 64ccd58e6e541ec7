package space

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"procdump/internal/sys/systemlog"
	"procdump/kernel/rescue"
	"procdump/kernel/settings"
	"procdump/kernel/small"
)

// smallDump is an ELF core file of one note.
func smallDump(owner string, kind uint32) []byte {
	var note bytes.Buffer
	owner += "\x00"
	desc := []byte("{}\x00\x00")
	binary.Write(&note, binary.LittleEndian, []uint32{uint32(len(owner)), uint32(len(desc)), kind})
	note.WriteString(owner + strings.Repeat("\x00", (4-len(owner)%4)%4))
	note.Write(desc)
	var b bytes.Buffer
	b.WriteString("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	binary.Write(&b, binary.LittleEndian, []uint16{4, 62})
	binary.Write(&b, binary.LittleEndian, uint32(1))
	binary.Write(&b, binary.LittleEndian, []uint64{0, 64, 0})
	binary.Write(&b, binary.LittleEndian, uint32(0))
	binary.Write(&b, binary.LittleEndian, []uint16{64, 56, 1, 64, 0, 0})
	binary.Write(&b, binary.LittleEndian, []uint32{4, 0})
	binary.Write(&b, binary.LittleEndian, []uint64{120, 0, 0, uint64(note.Len()), uint64(note.Len()), 4})
	b.Write(note.Bytes())
	return b.Bytes()
}

// crashed is a machine at the boot after a crash.
type crashed struct {
	t   *testing.T
	m   *Manager
	log []string
}

func newCrashed(t *testing.T) *crashed {
	c := &crashed{t: t, m: manager(t, t.TempDir())}
	levels := map[systemlog.Level]string{systemlog.Notice: "N", systemlog.Warning: "W"}
	c.m.Log = func(l systemlog.Level, text string) { c.log = append(c.log, levels[l]+" "+text) }
	return c
}

// put makes a file in the folder of the dumps.
func (c *crashed) put(name string, content []byte) string {
	c.t.Helper()
	path := filepath.Join(c.m.Settings.Folder, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, content, 0o600)); err != nil {
		c.t.Fatal(err)
	}
	return path
}

func (c *crashed) record(r rescue.Record) {
	c.t.Helper()
	b, err := r.Encode()
	if err != nil {
		c.t.Fatal(err)
	}
	c.put(rescue.RecordName, b)
}

func (c *crashed) boot() *Report {
	c.t.Helper()
	r, err := c.m.AfterBoot()
	if err != nil {
		c.t.Fatal(err)
	}
	if len(r.Warnings) > 0 {
		c.t.Errorf("warnings: %q", r.Warnings)
	}
	return r
}

func (c *crashed) files() string {
	c.t.Helper()
	var names []string
	err := filepath.WalkDir(c.m.Settings.Folder, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			p, err = filepath.Rel(c.m.Settings.Folder, p)
			names = append(names, p)
		}
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.Join(names, " ")
}

// good is the record of a dump as it should be.
func good() rescue.Record {
	return rescue.Record{Time: day0.Add(-time.Minute), Release: "6.1.0", Panic: "sysrq triggered crash", Wanted: settings.Automatic,
		Kind: settings.Automatic, File: "/crash/vmcore.kdump", SizeBytes: 34 * mib, DiskBytes: 34 * mib, Verified: true,
		Small: "/crash/small/small_260301_115900.elf", Step: "end", Finished: true}
}

var kdumpHead = append([]byte("KDUMP   "), make([]byte, 4088)...)

func ours() []byte { return smallDump(small.NoteOwner, small.NoteType) }
