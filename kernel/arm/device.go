package arm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"procdump/kernel/superblock"
)

// device is a block device.
type device struct {
	name string // as the kernel says it: sda1
	sys  string // its folder below /sys/devices
}

// path is that of its file.
func (d device) path() string { return "/dev/" + strings.ReplaceAll(d.name, "!", "/") }

// deviceByNumber finds a block device by its major:minor.
func (s *System) deviceByNumber(number string) (device, error) {
	return s.deviceAt("sys/dev/block", number)
}

// deviceByFile finds the block device that a path, or a link such as those in
// /dev/disk, means.
func (s *System) deviceByFile(path string) (device, error) {
	real, err := filepath.EvalSymlinks(s.file(path))
	if err != nil {
		return device{}, fmt.Errorf("find device: %w", err)
	}
	if number, ok := blockNumber(real); ok {
		return s.deviceByNumber(number)
	}
	name := strings.TrimPrefix(s.path(real), "/dev/")
	return s.deviceAt("sys/class/block", strings.ReplaceAll(name, "/", "!"))
}

func (s *System) deviceAt(folder, name string) (device, error) {
	sys, err := filepath.EvalSymlinks(s.file(folder, name))
	if err != nil {
		return device{}, fmt.Errorf("find device %s: %w", name, err)
	}
	return device{filepath.Base(sys), s.path(sys)}, nil
}

// disk is the folder of the disk that the device is, or is a partition of.
func (s *System) disk(d device) device {
	if s.exists(d.sys, "partition") {
		up := filepath.Dir(d.sys)
		return device{filepath.Base(up), up}
	}
	return d
}

// size is in bytes.
func (s *System) size(d device) int64 {
	n, err := strconv.ParseInt(s.text(d.sys, "size"), 10, 64)
	if err != nil {
		return 0
	}
	return n * 512 // sysfs counts in 512 bytes, whatever the sectors are
}

// superblock reads what the device holds.
func (s *System) superblock(d device) (superblock.Info, error) {
	f, err := os.Open(s.file(d.path()))
	if err != nil {
		return superblock.Info{}, fmt.Errorf("read device: %w", err)
	}
	defer f.Close()
	i, err := superblock.Read(f, s.size(d))
	if err != nil && !errors.Is(err, superblock.ErrUnknown) {
		return i, fmt.Errorf("read %s: %w", d.path(), err)
	}
	return i, err
}

const elsewhere = "choose a folder on a plain partition, or a device of its own, with -to"

// checkReach refuses a device that the crash kernel's drivers alone do not
// reach.
func (s *System) checkReach(d device) error {
	disk := s.disk(d)
	switch {
	case s.exists(disk.sys, "dm"):
		what := "the device mapper"
		switch kind, _, _ := strings.Cut(s.text(disk.sys, "dm/uuid"), "-"); kind {
		case "LVM":
			what = "LVM"
		case "CRYPT":
			what = "encryption (LUKS or dm-crypt)"
		case "mpath":
			what = "multipath"
		}
		return unreachable(elsewhere, "%s is made by %s, which the crash kernel does not set up", d.path(), what)
	case s.exists(disk.sys, "md"):
		return unreachable(elsewhere, "%s is a RAID of md, which the crash kernel does not put together", d.path())
	case s.exists(disk.sys, "loop"):
		return unreachable(elsewhere, "%s is a file, %s, not a disk", d.path(), s.text(disk.sys, "loop/backing_file"))
	case s.exists(disk.sys, "bcache"), strings.HasPrefix(disk.name, "bcache"):
		return unreachable(elsewhere, "%s is made by bcache, which the crash kernel does not set up", d.path())
	case strings.HasPrefix(disk.name, "ram"), strings.HasPrefix(disk.name, "zram"):
		return unreachable(elsewhere, "%s is memory, whose contents are lost", d.path())
	}
	for _, c := range s.controllers(disk) {
		if t := s.text(c, "transport"); t != "" && t != "pcie" && strings.HasPrefix(filepath.Base(c), "nvme") {
			return unreachable(elsewhere, "%s is reached over a network (NVMe over %s)", d.path(), t)
		}
	}
	for part := range strings.SplitSeq(disk.sys, "/") {
		if n, ok := strings.CutPrefix(part, "session"); ok && n != "" && strings.Trim(n, "0123456789") == "" {
			return unreachable(elsewhere, "%s is reached over a network (iSCSI)", d.path())
		}
	}
	for prefix, what := range map[string]string{"nbd": "NBD", "rbd": "Ceph", "drbd": "DRBD"} {
		if n, ok := strings.CutPrefix(disk.name, prefix); ok && n != "" && n[0] >= '0' && n[0] <= '9' {
			return unreachable(elsewhere, "%s is reached over a network (%s)", d.path(), what)
		}
	}
	if below(disk.sys, "/sys/devices/virtual") && len(s.controllers(disk)) == 0 {
		return unreachable(elsewhere, "%s is made by software, not a disk that a driver alone gives access to", d.path())
	}
	return nil
}

// controllers are the folders of an NVMe disk's controllers if the disk may have
// several: it is no controller's own then, but of a subsystem.
func (s *System) controllers(disk device) []string {
	up := filepath.Dir(disk.sys)
	if s.text(up, "transport") != "" {
		return []string{up}
	}
	if !strings.Contains(up, "/nvme-subsys") {
		return nil
	}
	var all []string
	for _, name := range s.names(up) {
		n, ok := strings.CutPrefix(name, "nvme")
		if !ok || n == "" || strings.Trim(n, "0123456789") != "" {
			continue
		}
		if real, err := filepath.EvalSymlinks(s.file(up, name)); err == nil {
			all = append(all, s.path(real))
		}
	}
	return all
}

// checkUnused refuses a device that anything uses, or that holds anything that
// is known.
func (s *System) checkUnused(d device) error {
	inUse := func(remedy, cause string, args ...any) error {
		return &Error{ErrInUse, d.path() + " " + fmt.Sprintf(cause, args...), remedy}
	}
	mounts, err := s.mounts()
	if err != nil {
		return err
	}
	number := s.text(d.sys, "dev")
	for _, m := range mounts {
		if m.Device == number || m.Source == d.path() {
			return inUse("unmount it, or name the folder "+m.Point, "is mounted at %s", m.Point)
		}
	}
	for line := range strings.Lines(s.text("proc/swaps")) {
		if f := strings.Fields(line); len(f) > 0 && f[0] == d.path() {
			return inUse("swapoff "+d.path()+" and remove it from /etc/fstab, if it is not needed", "is swap space")
		}
	}
	if h := s.names(d.sys, "holders"); len(h) > 0 {
		return inUse("choose another", "is part of %s", strings.Join(h, ", "))
	}
	for _, name := range s.names(d.sys) {
		if s.exists(d.sys, name, "partition") {
			return inUse("choose a partition", "has partitions: %s", name)
		}
	}
	if s.text(d.sys, "ro") == "1" {
		return inUse("choose another", "is read-only")
	}
	info, err := s.superblock(d)
	switch {
	case errors.Is(err, superblock.ErrUnknown), err == nil && info.Class == superblock.DumpTarget:
		return nil
	case err != nil:
		return err
	}
	return inUse("if nothing in it is needed, wipefs -a "+d.path()+" removes it", "holds %s", info)
}

// holdsUnknown tells whether a device that is not marked for dumps has anything
// but zeros where its users' headers are, or where the mark would be: a database
// may use a device as it is.
func (s *System) holdsUnknown(d device) (bool, error) {
	if i, err := s.superblock(d); err == nil && i.Class == superblock.DumpTarget {
		return false, nil
	}
	f, err := os.Open(s.file(d.path()))
	if err != nil {
		return false, fmt.Errorf("read device: %w", err)
	}
	defer f.Close()
	mark := superblock.MarkOffset(s.size(d))
	for _, part := range [][2]int64{{0, 1 << 20}, {mark, superblock.MarkSize}} {
		b := make([]byte, part[1])
		n, err := f.ReadAt(b, max(part[0], 0))
		if err != nil && err != io.EOF {
			return false, fmt.Errorf("read %s: %w", d.path(), err)
		}
		if len(bytes.Trim(b[:n], "\x00")) > 0 {
			return true, nil
		}
	}
	return false, nil
}

// openUnused opens a device for writing, for nobody else: the kernel says if it
// is in use.
func (s *System) openUnused(d device) (*os.File, error) {
	f, err := os.OpenFile(s.file(d.path()), os.O_RDWR|exclusive, 0)
	if err != nil {
		if isBusy(err) {
			return nil, &Error{ErrInUse, "the kernel says that " + d.path() + " is in use", "choose another"}
		}
		return nil, fmt.Errorf("open device: %w", err)
	}
	return f, nil
}

// mark writes procdump's mark to the device, unless it has one, and returns its
// UUID. The device need not know its size: then its file does.
func (s *System) mark(d device) (string, error) {
	f, err := s.openUnused(d)
	if err != nil {
		return "", err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return "", fmt.Errorf("find size of %s: %w", d.path(), err)
	}
	if size < minDevice {
		return "", &Error{ErrUnreachable, fmt.Sprintf("%s has only %d MiB", d.path(), size>>20), "choose a larger one"}
	}
	m, err := superblock.ReadMark(f, size)
	if err == nil {
		return m.UUID, nil
	}
	if !errors.Is(err, superblock.ErrNoMark) {
		return "", err
	}
	m = superblock.NewMark()
	if err := m.Write(f, size); err != nil {
		return "", err
	}
	if err := f.Sync(); err != nil {
		return "", fmt.Errorf("write mark: %w", err)
	}
	return m.UUID, nil
}

// minDevice is the size, in bytes, that a device for dumps has at least.
const minDevice = 16 << 20

// btrfsDevices are the devices of a mounted btrfs.
func (s *System) btrfsDevices(uuid string) []string {
	names := s.names("sys/fs/btrfs", uuid, "devices")
	slices.Sort(names)
	return names
}
