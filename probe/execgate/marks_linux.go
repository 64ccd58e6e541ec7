package execgate

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// notHeld are the types of file systems whose programs are not held: those
// that have none, and those where a look at the file, or at the path to it,
// may wait for another machine or another process.
var notHeld = words(`autofs binfmt_misc bpf cgroup cgroup2 configfs debugfs devpts efivarfs fusectl hugetlbfs mqueue nsfs
	proc pstore rpc_pipefs securityfs selinuxfs sysfs tracefs
	9p afs beegfs ceph cifs coda fuse fuseblk gfs2 glusterfs gpfs lustre ncpfs nfs nfs4 ocfs2 orangefs panfs smb3 smbfs`)

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
	remote := []string{}
	for _, mt := range parseMounts(text) {
		switch {
		case notHeld[mt.fsType]:
			if mt.point != "/" {
				remote = append(remote, mt.point+"/")
			}
			continue
		case m.marked[mt.device], below(mt.point, remote):
			continue
		}
		if err := m.mark(root + mt.point); err != nil {
			if mt.point == "/" {
				rootErr = err
			}
			continue
		}
		m.marked[mt.device] = true
	}
	return rootErr
}

// below tells whether the way to point leads through one of the folders.
func below(point string, folders []string) bool {
	for _, f := range folders {
		if strings.HasPrefix(point, f) {
			return true
		}
	}
	return false
}
