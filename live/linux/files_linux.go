package linux

import (
	"os"
	"strconv"
	"strings"
	"syscall"

	"procdump/internal/mountinfo"
	"procdump/snapshot"
)

// descriptors lists a process's open file descriptors, ascending.
func descriptors(pid int) []int {
	entries, err := os.ReadDir(procPath(pid, "fd"))
	if err != nil {
		return nil
	}
	var out []int
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil {
			out = append(out, fd)
		}
	}
	return out
}

// openFiles describes a process's open files. It asks /proc only, never the
// files: a stat of a file on a dead server would hang.
func openFiles(pid int) []snapshot.File {
	var out []snapshot.File
	for _, fd := range descriptors(pid) {
		name := strconv.Itoa(fd)
		target, err := os.Readlink(procPath(pid, "fd", name))
		if err != nil {
			continue
		}
		f := snapshot.File{FD: fd, Target: target, Mode: modeOf(target)}
		if info, err := os.ReadFile(procPath(pid, "fdinfo", name)); err == nil {
			f.Pos, _ = strconv.ParseInt(statusField(info, "pos"), 10, 64)
			flags, _ := strconv.ParseUint(statusField(info, "flags"), 8, 32)
			f.Flags = uint32(flags)
		}
		out = append(out, f)
	}
	return out
}

// modeOf guesses st_mode's file type from what the kernel names the file.
func modeOf(target string) uint32 {
	switch {
	case strings.HasPrefix(target, "socket:"):
		return syscall.S_IFSOCK
	case strings.HasPrefix(target, "pipe:"):
		return syscall.S_IFIFO
	case strings.HasPrefix(target, "/dev/") && !strings.HasPrefix(target, "/dev/shm/"):
		return syscall.S_IFCHR
	case strings.HasPrefix(target, "/"):
		return syscall.S_IFREG
	}
	return 0
}

// remoteDevs lists the devices, as /proc/PID/maps names them, of file systems
// that another process or machine serves: reading a page that is not in memory
// may wait for ever, and for the stopped target itself.
func remoteDevs(pid int) map[uint64]bool {
	b, err := os.ReadFile(procPath(pid, "mountinfo"))
	if err != nil {
		return nil
	}
	out := map[uint64]bool{}
	for m := range mountinfo.Parse(b) {
		if !remoteFS(m.Type) {
			continue
		}
		ma, mi, _ := strings.Cut(m.Device, ":")
		major, _ := strconv.ParseUint(ma, 10, 32)
		minor, _ := strconv.ParseUint(mi, 10, 32)
		out[major<<32|minor] = true
	}
	return out
}

func remoteFS(typ string) bool {
	if strings.HasPrefix(typ, "fuse") {
		return true
	}
	switch typ {
	case "nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "afs", "lustre", "virtiofs", "gfs2", "ocfs2", "autofs", "orangefs", "coda":
		return true
	}
	return false
}
