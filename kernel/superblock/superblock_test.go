package superblock

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"procdump/victims/need"
)

// image makes a file of that size, and has a command do something with it.
func image(t *testing.T, mib int64, command ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(file)
	if err == nil {
		err = errors.Join(f.Truncate(mib<<20), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(need.Tool(t, command[0]), append(command[1:], file)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", command, err, out)
	}
	return file
}

func readFile(t *testing.T, file string) (Info, error) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return Read(f, st.Size())
}

// TestRead compares with blkid what programs make.
func TestRead(t *testing.T) {
	for _, c := range []struct {
		name    string
		class   Class
		mib     int64
		command []string
	}{
		{"ext2", FileSystem, 8, []string{"mkfs.ext4", "-q", "-t", "ext2"}},
		{"ext3", FileSystem, 16, []string{"mkfs.ext4", "-q", "-t", "ext3"}},
		{"ext4", FileSystem, 16, []string{"mkfs.ext4", "-q"}},
		{"xfs", FileSystem, 320, []string{"mkfs.xfs", "-q"}},
		{"btrfs", FileSystem, 128, []string{"mkfs.btrfs", "-q"}},
		{"vfat", FileSystem, 1, []string{"mkfs.vfat", "-F", "12"}},
		{"vfat", FileSystem, 16, []string{"mkfs.vfat", "-F", "16"}},
		{"vfat", FileSystem, 64, []string{"mkfs.vfat", "-F", "32"}},
		{"swap", Swap, 8, []string{"mkswap", "-q"}},
	} {
		t.Run(strings.Join(c.command, " "), func(t *testing.T) {
			file := image(t, c.mib, c.command...)
			got, err := readFile(t, file)
			if err != nil || got.Type != c.name || got.Class != c.class {
				t.Fatalf("%+v, %v", got, err)
			}
			out, err := exec.Command(need.Tool(t, "blkid"), "-p", "-o", "export", file).Output()
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{}
			for line := range strings.Lines(string(out)) {
				k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
				want[k] = v
			}
			if got.Type != want["TYPE"] || got.UUID != want["UUID"] || got.UUID == "" {
				t.Errorf("%+v; blkid says %v", got, want)
			}
		})
	}
}

// TestReadMade are those that no program here makes.
func TestReadMade(t *testing.T) {
	const uuid = "00112233-4455-6677-8899-aabbccddeeff"
	raw := []byte{0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}
	const size = 4 << 20
	for name, c := range map[string]struct {
		put  map[int][]byte
		want Info
	}{
		"LUKS":     {map[int][]byte{0: []byte("LUKS\xba\xbe\x00\x02"), 168: []byte(uuid)}, Info{Class: Volume, Type: "crypto_LUKS", UUID: uuid}},
		"LVM":      {map[int][]byte{512: []byte("LABELONE"), 536: []byte("LVM2 001"), 544: []byte("abcdefghijklmnopqrstuvwxyz012345")}, Info{Class: Volume, Type: "LVM2_member", UUID: "abcdefghijklmnopqrstuvwxyz012345"}},
		"md 1.2":   {map[int][]byte{4096: []byte("\xfc\x4e\x2b\xa9"), 4112: raw}, Info{Class: Volume, Type: "linux_raid_member", UUID: uuid}},
		"md 1.0":   {map[int][]byte{size - 8<<10: []byte("\xfc\x4e\x2b\xa9")}, Info{Class: Volume, Type: "linux_raid_member"}},
		"md 0.90":  {map[int][]byte{size - 64<<10: []byte("\xfc\x4e\x2b\xa9")}, Info{Class: Volume, Type: "linux_raid_member"}},
		"zfs":      {map[int][]byte{130 << 10: binary.LittleEndian.AppendUint64(nil, 0x00bab10c)}, Info{Class: Volume, Type: "zfs_member"}},
		"squashfs": {map[int][]byte{0: []byte("hsqs")}, Info{Class: FileSystem, Type: "squashfs"}},
		"f2fs":     {map[int][]byte{1024: []byte("\x10\x20\xf5\xf2"), 1132: raw}, Info{Class: FileSystem, Type: "f2fs", UUID: uuid}},
		"gpt":      {map[int][]byte{512: []byte("EFI PART"), 568: raw, 510: []byte("\x55\xaa"), 450: {0xee}, 454: {1, 0, 0, 0, 0xff}}, Info{Class: PartitionTable, Type: "gpt", UUID: uuid}},
		// By one feature each, and the device of a journal.
		"extents":   {map[int][]byte{1080: []byte("\x53\xef"), 1024 + 0x5c: {4}, 1024 + 0x60: {0x40}, 1024 + 0x68: raw}, Info{Class: FileSystem, Type: "ext4", UUID: uuid, Devices: 1}},
		"dir_nlink": {map[int][]byte{1080: []byte("\x53\xef"), 1024 + 0x5c: {4}, 1024 + 0x64: {0x20}, 1024 + 0x68: raw}, Info{Class: FileSystem, Type: "ext4", UUID: uuid, Devices: 1}},
		"journal":   {map[int][]byte{1080: []byte("\x53\xef"), 1024 + 0x60: {8}, 1024 + 0x68: raw}, Info{Class: Volume, Type: "jbd", UUID: uuid}},
		"btrfs":     {map[int][]byte{0x10040: []byte("_BHRfS_M"), 0x10020: raw, 0x10088: {3}}, Info{Class: FileSystem, Type: "btrfs", UUID: uuid, Devices: 3}},
		// Sectors of 512 bytes and so on, but neither a root folder nor FAT32.
		"no FAT": {map[int][]byte{11: {0, 2, 8, 1, 0, 2, 0, 0, 0, 0, 0xf8, 9, 0}, 510: []byte("\x55\xaa")}, Info{}},
		// The first byte of an entry is 0 or 0x80.
		"no table": {map[int][]byte{446: {0x12, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 0x10, 0, 0}, 510: []byte("\x55\xaa")}, Info{}},
		// Active, of type 83, from sector 2048 on.
		"dos":       {map[int][]byte{446: {0x80, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 0x10, 0, 0}, 510: []byte("\x55\xaa")}, Info{Class: PartitionTable, Type: "dos"}},
		"boot code": {map[int][]byte{0: []byte("\xeb\x3c"), 510: []byte("\x55\xaa")}, Info{}},
		"dump":      {map[int][]byte{0: []byte("KDUMP   ")}, Info{}},
	} {
		b := make([]byte, size)
		for off, v := range c.put {
			copy(b[off:], v)
		}
		got, err := Read(bytes.NewReader(b), size)
		if c.want == (Info{}) {
			if !errors.Is(err, ErrUnknown) {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
			continue
		}
		if got != c.want || err != nil {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
}

func TestReadBroken(t *testing.T) {
	if i, err := Read(brokenDisk{}, 1<<20); err == nil || errors.Is(err, ErrUnknown) {
		t.Errorf("%+v, %v", i, err)
	}
	for _, size := range []int64{0, 1, 511, 4096, 200 << 10} {
		if i, err := Read(bytes.NewReader(make([]byte, size)), size); !errors.Is(err, ErrUnknown) {
			t.Errorf("%d bytes: %+v, %v", size, i, err)
		}
	}
}

var errDisk = errors.New("medium error")

type brokenDisk struct{}

func (brokenDisk) ReadAt([]byte, int64) (int, error) { return 0, errDisk }

// disk is a device in memory.
type disk []byte

func (d disk) ReadAt(b []byte, off int64) (int, error) { return bytes.NewReader(d).ReadAt(b, off) }

func (d disk) WriteAt(b []byte, off int64) (int, error) {
	if off+int64(len(b)) > int64(len(d)) {
		return 0, io.ErrShortWrite
	}
	return copy(d[off:], b), nil
}

func TestMark(t *testing.T) {
	for _, size := range []int64{1 << 20, 1<<20 + 512, 300<<10 - 512} {
		d := make(disk, size)
		if _, err := ReadMark(d, size); !errors.Is(err, ErrNoMark) {
			t.Errorf("no mark: %v", err)
		}
		m := NewMark()
		if err := m.Write(d, size); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadMark(d, size); err != nil || got != m {
			t.Errorf("%+v, %v; want %+v", got, err, m)
		}
		// A dump before it and a record after it do not matter.
		for i := range d {
			if off := MarkOffset(size); int64(i) < off || int64(i) >= off+MarkSize {
				d[i] = 0xee
			}
		}
		if i, err := Read(d, size); err != nil || i.Class != DumpTarget || i.UUID != m.UUID {
			t.Errorf("%+v, %v", i, err)
		}
		if room := size - MarkOffset(size) - MarkSize; room < afterMark {
			t.Errorf("%d bytes after the mark", room)
		}
	}
	for range 20 {
		if a, b := NewMark(), NewMark(); a == b || len(a.UUID) != 36 || a.UUID[14] != '4' || !strings.ContainsRune("89ab", rune(a.UUID[19])) {
			t.Errorf("marks %v and %v", a, b)
		}
	}
	// A mark by which no device can be known is none.
	const size = 1 << 20
	for _, bad := range []string{"{}", `{"uuid":""}`, "x", ""} {
		d := make(disk, size)
		copy(d[MarkOffset(size):], markMagic+bad)
		if m, err := ReadMark(d, size); !errors.Is(err, ErrNoMark) {
			t.Errorf("%q: %+v, %v", bad, m, err)
		}
	}
	if err := NewMark().Write(make(disk, 100<<10), 100<<10); err == nil {
		t.Error("a device of 100 KiB is marked")
	}
}

// TestMarkLeftOver has file systems made of devices that were for dumps: they are
// not any more.
func TestMarkLeftOver(t *testing.T) {
	for _, command := range [][]string{{"mkfs.ext4", "-q", "-F"}, {"mkfs.btrfs", "-q", "-f"}, {"mkfs.vfat"}, {"mkswap", "-q"}} {
		t.Run(command[0], func(t *testing.T) {
			file := image(t, 128, "true")
			f, err := os.OpenFile(file, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := NewMark().Write(f, 128<<20); err != nil {
				t.Fatal(err)
			}
			if i, err := Read(f, 128<<20); err != nil || i.Class != DumpTarget {
				t.Fatalf("%+v, %v", i, err)
			}
			cmd := exec.Command(need.Tool(t, command[0]), append(command[1:], file)...)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			_, err = ReadMark(f, 128<<20)
			if i, readErr := Read(f, 128<<20); readErr != nil || i.Class == DumpTarget {
				t.Errorf("%+v, %v; the mark: %v", i, readErr, err)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	for _, p := range probes {
		b := make([]byte, 70<<10)
		copy(b[p.off:], p.magic)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		i, err := Read(bytes.NewReader(b), int64(len(b)))
		if (err == nil) != (i != Info{}) {
			t.Errorf("%+v, %v", i, err)
		}
	})
}
