// Package superblock tells what a block device holds, by the marks that file
// systems, volume managers, and partition tables leave at known places, and by
// which UUID it is known. It reads and writes procdump's own [Mark] for devices
// that take dumps without a file system.
//
// The places are those of libblkid (util-linux, libblkid/src/superblocks) and of
// the kernel's own headers. Floppy disks, optical discs other than ISO 9660, and
// the volumes of hardware RAID controllers are not known.
package superblock

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Class is what kind of thing a device holds.
type Class int

// The classes.
const (
	FileSystem Class = iota + 1
	Volume           // part of something larger: LVM, RAID, encryption
	Swap
	PartitionTable
	DumpTarget // procdump's own Mark
)

// Info is what a device holds.
type Info struct {
	Class Class
	// Type is its name as blkid(8) and mount(8) say it: ext4, xfs, LVM2_member.
	Type string
	// UUID is as blkid(8) says it, "" if there is none.
	UUID string
	// Devices is how many devices the file system is made of, if it says so.
	Devices int
}

func (i Info) String() string {
	switch i.Class {
	case FileSystem:
		return "a file system (" + i.Type + ")"
	case Volume:
		return "a volume (" + i.Type + ")"
	case Swap:
		return "swap space"
	case PartitionTable:
		return "a partition table (" + i.Type + ")"
	case DumpTarget:
		return "dumps of procdump"
	}
	return "nothing known"
}

// ErrUnknown says that a device holds nothing that this package knows.
var ErrUnknown = errors.New("superblock: nothing known on the device")

// probe looks for one kind of content.
type probe struct {
	off   int64
	magic string
	read  func(d *device, at int64) (Info, bool)
}

// device is what the probes look at. What cannot be read is not there.
type device struct {
	r    io.ReaderAt
	size int64
	err  error // of the first read that failed other than by the end
}

// at returns n bytes, or nil if the device has not so many there.
func (d *device) at(off int64, n int) []byte {
	if off < 0 || d.size > 0 && off+int64(n) > d.size {
		return nil
	}
	b := make([]byte, n)
	if m, err := d.r.ReadAt(b, off); m < n {
		if err != nil && err != io.EOF && d.err == nil {
			d.err = err
		}
		return nil
	}
	return b
}

// named is a probe whose magic says all, with a binary UUID at uuid if that is
// not negative.
func named(class Class, name string, uuid int64) func(*device, int64) (Info, bool) {
	return func(d *device, at int64) (Info, bool) {
		i := Info{Class: class, Type: name}
		if uuid >= 0 {
			i.UUID = formatUUID(d.at(uuid, 16))
		}
		return i, true
	}
}

// probes are all, those first whose marks are not left over by accident: a
// program that makes a file system may leave the partition table's mark.
var probes = []probe{
	{0, "LUKS\xba\xbe", readLUKS},
	{512, "LABELONE", readLVM}, {0, "LABELONE", readLVM}, {1024, "LABELONE", readLVM}, {1536, "LABELONE", readLVM},
	{4096, "\xfc\x4e\x2b\xa9", named(Volume, "linux_raid_member", 4096+16)},
	{0, "\xfc\x4e\x2b\xa9", named(Volume, "linux_raid_member", 16)},
	{0x1018, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", named(Volume, "bcache", 0x1028)},
	{0x1018, "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef", named(FileSystem, "bcachefs", 0x1038)},
	{1024 + 0x38, "\x53\xef", readExt},
	{0, "XFSB", named(FileSystem, "xfs", 32)},
	{0x10040, "_BHRfS_M", readBtrfs},
	{1024, "\x10\x20\xf5\xf2", named(FileSystem, "f2fs", 1024+108)},
	{1024, "\xe2\xe1\xf5\xe0", named(FileSystem, "erofs", 1024+48)},
	{0, "hsqs", named(FileSystem, "squashfs", -1)},
	{0x8000, "JFS1", named(FileSystem, "jfs", 0x8000+136)},
	{0x10034, "ReIsEr", named(FileSystem, "reiserfs", 0x10000+84)},
	{0x8001, "CD001", named(FileSystem, "iso9660", -1)},
	{3, "NTFS    ", readNTFS},
	{3, "EXFAT   ", named(FileSystem, "exfat", -1)},
	{4096 - 10, "SWAPSPACE2", named(Swap, "swap", 0x40c)},
	{16384 - 10, "SWAPSPACE2", named(Swap, "swap", 0x40c)},
	{65536 - 10, "SWAPSPACE2", named(Swap, "swap", 0x40c)},
	{510, "\x55\xaa", readFAT},
	{512, "EFI PART", named(PartitionTable, "gpt", 512+56)},
	{4096, "EFI PART", named(PartitionTable, "gpt", 4096+56)},
	{510, "\x55\xaa", readDOS},
}

// Read tells what the device of that many bytes holds; 0 is a size that is not
// known. A Mark counts only where there is nothing else: who has made a file
// system of the device since has left the mark as it was. The error is
// ErrUnknown, or that of reading.
func Read(r io.ReaderAt, size int64) (Info, error) {
	d := &device{r: r, size: size}
	for _, p := range probes {
		if b := d.at(p.off, len(p.magic)); b == nil || string(b) != p.magic {
			continue
		}
		if i, ok := p.read(d, p.off); ok {
			return i, nil
		}
	}
	if i, ok := readAtEnd(d); ok {
		return i, nil
	}
	if m, err := ReadMark(r, size); err == nil {
		return Info{Class: DumpTarget, Type: "procdump", UUID: m.UUID}, nil
	}
	if d.err != nil {
		return Info{}, fmt.Errorf("read superblock: %w", d.err)
	}
	return Info{}, ErrUnknown
}

// readExt tells ext2, ext3 and ext4 apart (fs/ext4/ext4.h: s_feature_*).
func readExt(d *device, _ int64) (Info, bool) {
	b := d.at(1024, 0x78)
	if b == nil {
		return Info{}, false
	}
	const hasJournal, journalDevice = 0x4, 0x8
	// The features that ext3 does not have.
	const ext4Incompatible, ext4ReadOnly = ^uint32(0x2 | 0x4 | 0x10), ^uint32(0x1 | 0x2 | 0x4)
	compatible, incompatible, readOnly := le32(b, 0x5c), le32(b, 0x60), le32(b, 0x64)
	i := Info{Class: FileSystem, Type: "ext2", UUID: formatUUID(b[0x68:0x78]), Devices: 1}
	switch {
	case incompatible&journalDevice != 0:
		return Info{Class: Volume, Type: "jbd", UUID: i.UUID}, true
	case incompatible&ext4Incompatible != 0 || readOnly&ext4ReadOnly != 0:
		i.Type = "ext4"
	case compatible&hasJournal != 0:
		i.Type = "ext3"
	}
	return i, true
}

// readBtrfs reads the UUID of the file system, not that of the device
// (include/uapi/linux/btrfs_tree.h: struct btrfs_super_block).
func readBtrfs(d *device, _ int64) (Info, bool) {
	b := d.at(0x10000, 0x90)
	if b == nil {
		return Info{}, false
	}
	return Info{Class: FileSystem, Type: "btrfs", UUID: formatUUID(b[0x20:0x30]),
		Devices: int(min(binary.LittleEndian.Uint64(b[0x88:]), 1<<16))}, true
}

// readFAT reads a boot sector of FAT: its parameters have to make sense, because
// a partition table has the same mark.
func readFAT(d *device, _ int64) (Info, bool) {
	b := d.at(0, 512)
	if b == nil {
		return Info{}, false
	}
	sector, cluster, reserved, tables := binary.LittleEndian.Uint16(b[11:]), b[13], binary.LittleEndian.Uint16(b[14:]), b[16]
	if sector < 512 || sector > 4096 || sector&(sector-1) != 0 || cluster == 0 || cluster&(cluster-1) != 0 || reserved == 0 || tables == 0 || b[21] < 0xf0 {
		return Info{}, false
	}
	i := Info{Class: FileSystem, Type: "vfat", Devices: 1}
	switch {
	case string(b[82:90]) == "FAT32   ":
		i.UUID = formatSerial(b[67:71])
	case string(b[54:57]) == "FAT":
		i.UUID = formatSerial(b[39:43])
	case binary.LittleEndian.Uint16(b[17:]) == 0 && binary.LittleEndian.Uint16(b[22:]) != 0:
		return Info{}, false // neither FAT16 with a root folder nor FAT32
	}
	return i, true
}

func readNTFS(d *device, _ int64) (Info, bool) {
	i := Info{Class: FileSystem, Type: "ntfs"}
	if b := d.at(0x48, 8); b != nil {
		i.UUID = fmt.Sprintf("%016X", binary.LittleEndian.Uint64(b))
	}
	return i, true
}

func readLUKS(d *device, _ int64) (Info, bool) {
	return Info{Class: Volume, Type: "crypto_LUKS", UUID: text(d.at(168, 40))}, true
}

func readLVM(d *device, at int64) (Info, bool) {
	b := d.at(at, 64)
	if b == nil || string(b[24:32]) != "LVM2 001" {
		return Info{}, false
	}
	return Info{Class: Volume, Type: "LVM2_member", UUID: text(b[32:64])}, true
}

// readDOS reads a partition table of the master boot record: a used entry has a
// type, and starts behind the table.
func readDOS(d *device, _ int64) (Info, bool) {
	b := d.at(0, 512)
	used := false
	for e := 446; b != nil && e < 510; e += 16 {
		if b[e]&0x7f != 0 {
			return Info{}, false
		}
		used = used || b[e+4] != 0 && le32(b, e+8) != 0 && le32(b, e+12) != 0
	}
	return Info{Class: PartitionTable, Type: "dos"}, used
}

// readAtEnd finds what has its mark at the end: RAID of version 0.90 (64 KiB
// aligned) and 1.0 (8 to 12 KiB before the end), and ZFS, whose labels have
// the magic of its uberblocks from 128 KiB on.
func readAtEnd(d *device) (Info, bool) {
	const magic = "\xfc\x4e\x2b\xa9"
	if d.size > 128<<10 {
		for _, off := range []int64{(d.size &^ (64<<10 - 1)) - 64<<10, (d.size - 8<<10) &^ (4<<10 - 1)} {
			if b := d.at(off, 4); string(b) == magic {
				return Info{Class: Volume, Type: "linux_raid_member"}, true
			}
		}
	}
	for off := int64(128 << 10); off < 256<<10; off += 1 << 10 {
		b := d.at(off, 8)
		if b == nil {
			break
		}
		if binary.LittleEndian.Uint64(b) == 0x00bab10c || binary.BigEndian.Uint64(b) == 0x00bab10c {
			return Info{Class: Volume, Type: "zfs_member"}, true
		}
	}
	return Info{}, false
}

func le32(b []byte, off int) uint32 { return binary.LittleEndian.Uint32(b[off:]) }

// text is the text up to the first zero byte.
func text(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}

// formatUUID writes 16 bytes as RFC 9562 does; "" if all are zero.
func formatUUID(b []byte) string {
	if len(b) != 16 || bytes.Equal(b, make([]byte, 16)) {
		return ""
	}
	h := hex.EncodeToString(b)
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// formatSerial writes the serial number of FAT as 1234-ABCD.
func formatSerial(b []byte) string {
	n := binary.LittleEndian.Uint32(b)
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%04X-%04X", n>>16, n&0xffff)
}
