package execgate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"procdump/internal/mountinfo"
)

// local are the types of file systems whose programs are held: those that have
// some, and where a look at a file waits for no other machine and no other
// process.
var local = words(`bcachefs btrfs cramfs devtmpfs erofs exfat ext2 ext3 ext4 f2fs hfsplus iso9660 jfs minix nilfs2 ntfs3
	overlay ramfs reiserfs rootfs squashfs tmpfs udf ufs vfat xfs zfs`)

// harmless are other types whose folders lead to others without waiting.
var harmless = words(`binfmt_misc bpf cgroup cgroup2 configfs debugfs devpts efivarfs fusectl hugetlbfs mqueue nsfs proc
	pstore rpc_pipefs securityfs selinuxfs sysfs tracefs`)

func words(s string) map[string]bool {
	set := map[string]bool{}
	for w := range strings.FieldsSeq(s) {
		set[w] = true
	}
	return set
}

// marker marks file systems.
type marker struct {
	proc   string
	mark   func(path string) error
	marked map[string]bool // devices, in one scan
}

// scan marks what is mounted now, in all mount namespaces. It returns the error
// of the root file system; others may be gone, or not be seen from here.
func (m *marker) scan() error {
	// All are marked again each time: the number of a device is used again.
	m.marked = map[string]bool{}
	err := m.namespace("self", "")
	seen := map[string]bool{m.ns("self"): true}
	dirs, _ := filepath.Glob(m.proc + "/[1-9]*")
	for _, dir := range dirs {
		pid := filepath.Base(dir)
		if ns := m.ns(pid); ns != "" && !seen[ns] {
			seen[ns] = true
			_ = m.namespace(pid, m.proc+"/"+pid+"/root")
		}
	}
	return err
}

// ns names the mount namespace of a process; "": it cannot be seen.
func (m *marker) ns(pid string) string {
	name, _ := os.Readlink(m.proc + "/" + pid + "/ns/mnt")
	return name
}

// namespace marks what a process sees mounted, below root.
func (m *marker) namespace(pid, root string) (rootErr error) {
	text, err := os.ReadFile(m.proc + "/" + pid + "/mountinfo")
	if err != nil {
		return err
	}
	all := slices.Collect(mountinfo.Parse(text))
	var remote []string
	for _, mt := range all {
		if !local[mt.Type] && !harmless[mt.Type] {
			remote = append(remote, strings.TrimSuffix(mt.Point, "/")+"/")
		}
	}
	for _, mt := range all {
		if !local[mt.Type] || m.marked[mt.Device] || below(mt.Point, remote) {
			if mt.Point == "/" && !local[mt.Type] {
				rootErr = fmt.Errorf("programs are on %s, where they cannot be held: %w", mt.Type, errors.ErrUnsupported)
			}
			continue
		}
		err := m.mark(root + mt.Point)
		if err == nil {
			m.marked[mt.Device] = true
		}
		if mt.Point == "/" {
			rootErr = err // the last one counts: it covers the others
		}
	}
	return rootErr
}

// below tells whether the way to point leads through one of the folders.
func below(point string, folders []string) bool {
	for _, f := range folders {
		if strings.HasPrefix(point+"/", f) {
			return true
		}
	}
	return false
}
