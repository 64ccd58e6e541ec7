package arm

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"procdump/internal/mountinfo"
	"procdump/kernel/rescue"
	"procdump/kernel/settings"
	"procdump/kernel/superblock"
)

// place is where dumps go, and what the crash kernel needs to get there.
type place struct {
	rescue.Target
	device  device
	folder  string   // as this machine knows it; "" for a device
	modules []string // of the file system, by name or alias
	// unknown says that a device holds something that nobody here knows.
	unknown bool
}

// place finds out what a folder or a device is for the crash kernel.
func (s *System) place(to string) (place, error) {
	if !path.IsAbs(to) {
		return place{}, fmt.Errorf("find place for dumps: %q is not an absolute path", to)
	}
	if (settings.Settings{Folder: to}).Raw() {
		return s.devicePlace(to)
	}
	return s.folderPlace(to)
}

// devicePlace is that of a device without a file system.
func (s *System) devicePlace(to string) (place, error) {
	d, err := s.deviceByFile(to)
	if err != nil {
		return place{}, &Error{ErrUnreachable, fmt.Sprintf("%s is no block device: %v", to, err), "name one that lsblk lists, or a folder"}
	}
	if err := s.checkReach(d); err != nil {
		return place{}, err
	}
	if err := s.checkUnused(d); err != nil {
		return place{}, err
	}
	unknown, err := s.holdsUnknown(d)
	return place{device: d, unknown: unknown}, err
}

// folderPlace is that of a folder on a file system. The folder need not be there.
func (s *System) folderPlace(to string) (place, error) {
	folder, err := s.resolve(to)
	if err != nil {
		return place{}, err
	}
	if st, err := os.Stat(s.file(folder)); err == nil && !st.IsDir() {
		return place{}, unreachable("name a folder", "%s is a file", to)
	}
	mounts, err := s.mounts()
	if err != nil {
		return place{}, err
	}
	m, ok := mountOf(mounts, folder)
	if !ok {
		return place{}, unreachable("", "%s is in no file system of /proc/self/mountinfo", folder)
	}
	p := place{folder: folder}
	p.FSType, p.Folder = m.Type, path.Join("/", strings.TrimPrefix(folder, m.Point))
	if m.Root != "/" {
		p.Subvolume = m.Root
	}
	if err := s.checkFileSystem(m, folder); err != nil {
		return place{}, err
	}
	if p.device, err = s.mountDevice(m); err != nil {
		return place{}, err
	}
	if err := s.checkReach(p.device); err != nil {
		return place{}, s.withReachable(err, mounts)
	}
	info, err := s.superblock(p.device)
	switch {
	case err == nil && info.Class == superblock.FileSystem && info.UUID != "":
		p.Device = "UUID=" + info.UUID
	case err == nil || errors.Is(err, superblock.ErrUnknown):
		p.Device = p.device.path()
	default:
		return place{}, err
	}
	if m.Type == "btrfs" {
		if n := s.btrfsDevices(info.UUID); len(n) > 1 || info.Devices > 1 {
			return place{}, unreachable(elsewhere, "%s is a btrfs on %d devices (%s)", m.Point, max(len(n), info.Devices), strings.Join(n, ", "))
		}
	}
	p.Options, p.modules = mountOptions(m)
	return p, nil
}

// checkFileSystem refuses what the crash kernel does not mount.
func (s *System) checkFileSystem(m mountinfo.Mount, folder string) error {
	if _, ro := option(m.Options, "ro"); ro {
		return unreachable("mount it for writing, or "+elsewhere, "%s is mounted read-only", m.Point)
	}
	if _, ro := option(m.Super, "ro"); ro {
		return unreachable("mount it for writing, or "+elsewhere, "%s is mounted read-only", m.Point)
	}
	kind, _, _ := strings.Cut(m.Type, ".")
	switch kind {
	case "ext2", "ext3", "ext4", "xfs", "btrfs", "vfat":
	case "tmpfs", "ramfs", "rootfs", "devtmpfs", "hugetlbfs":
		return unreachable(elsewhere, "%s is in memory (%s), whose contents are lost", folder, m.Type)
	case "overlay", "aufs":
		return unreachable(elsewhere, "%s is an overlay of other file systems", folder)
	case "nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "afs":
		return unreachable(elsewhere, "%s is reached over a network (%s)", folder, m.Type)
	case "9p", "virtiofs":
		return unreachable(elsewhere, "%s is a folder of the host (%s)", folder, m.Type)
	case "fuse", "fuseblk":
		return unreachable(elsewhere, "%s is made by a program (%s), which does not run after a crash", folder, m.Type)
	default:
		return unreachable("choose a folder on ext4, xfs, btrfs or vfat, or a device of its own, with -to",
			"%s is a file system of type %s", folder, m.Type)
	}
	for _, o := range []string{"logdev", "rtdev", "journal_path", "journal_dev"} {
		if v, ok := option(m.Super, o); ok {
			return unreachable(elsewhere, "the file system of %s has a second device (%s=%s)", folder, o, v)
		}
	}
	return nil
}

// mountDevice is the device of a mount. Btrfs has numbers of its own in
// mountinfo, not those of its devices.
func (s *System) mountDevice(m mountinfo.Mount) (device, error) {
	if !strings.HasPrefix(m.Device, "0:") {
		return s.deviceByNumber(m.Device)
	}
	if !strings.HasPrefix(m.Source, "/") {
		return device{}, unreachable(elsewhere, "%s is on no disk (%s)", m.Point, m.Source)
	}
	return s.deviceByFile(m.Source)
}

// mountOptions are those that the crash kernel needs, and the modules that come
// with them.
func mountOptions(m mountinfo.Mount) (options string, modules []string) {
	modules = []string{"fs-" + m.Type}
	if m.Type != "vfat" {
		return "", modules
	}
	// The kernel asks for these modules by their names; the crash kernel has
	// nobody to answer.
	var list []string
	if v, ok := option(m.Super, "codepage"); ok {
		list, modules = append(list, "codepage="+v), append(modules, "nls_cp"+v)
	}
	if v, ok := option(m.Super, "iocharset"); ok {
		list, modules = append(list, "iocharset="+v), append(modules, "nls_"+v)
	}
	return strings.Join(list, ","), modules
}

// withReachable adds to an error which mounted file systems the crash kernel
// does reach.
func (s *System) withReachable(err error, mounts []mountinfo.Mount) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	var can []string
	for _, m := range mounts {
		if m.Root != "/" || s.checkFileSystem(m, m.Point) != nil {
			continue
		}
		d, err := s.mountDevice(m)
		if err != nil || s.checkReach(d) != nil {
			continue
		}
		can = append(can, fmt.Sprintf("%s (%s)", m.Point, m.Type))
	}
	if len(can) == 0 {
		return err
	}
	return &Error{e.Err, e.Cause, e.Remedy + "; mounted and within reach: " + strings.Join(can, ", ")}
}
