package execgate

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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

// mount is a line of /proc/PID/mountinfo (proc_pid_mountinfo(5)).
type mount struct {
	device string // major:minor
	point  string
	fsType string
}

// parseMounts reads a mountinfo file; lines that are none are skipped.
func parseMounts(text []byte) []mount {
	var all []mount
	for line := range bytes.Lines(text) {
		// ID parent major:minor root point options [optional…] - type source options
		f := strings.Fields(string(line))
		for i := 6; i+1 < len(f); i++ {
			if f[i] == "-" {
				// Subtypes: fuse.sshfs.
				kind, _, _ := strings.Cut(f[i+1], ".")
				all = append(all, mount{device: f[2], point: unescape(f[4]), fsType: kind})
				break
			}
		}
	}
	return all
}

// unescape turns \040 and the like into what they stand for.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
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
	all := parseMounts(text)
	var remote []string
	for _, mt := range all {
		if !local[mt.fsType] && !harmless[mt.fsType] {
			remote = append(remote, strings.TrimSuffix(mt.point, "/")+"/")
		}
	}
	for _, mt := range all {
		if !local[mt.fsType] || m.marked[mt.device] || below(mt.point, remote) {
			if mt.point == "/" && !local[mt.fsType] {
				rootErr = fmt.Errorf("programs are on %s, where they cannot be held: %w", mt.fsType, errors.ErrUnsupported)
			}
			continue
		}
		err := m.mark(root + mt.point)
		if err == nil {
			m.marked[mt.device] = true
		}
		if mt.point == "/" {
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
