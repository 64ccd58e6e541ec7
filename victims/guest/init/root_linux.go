package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unsafe"

	"procdump/victims/guest/wire"
)

// mountKernel mounts the kernel's own file systems below root.
func mountKernel(root string) error {
	for _, m := range []struct{ kind, at, options string }{
		{"proc", "/proc", ""},
		{"sysfs", "/sys", ""},
		{"devtmpfs", "/dev", "mode=755"},
	} {
		if err := mount(m.kind, m.kind, root+m.at, 0, m.options); err != nil {
			return err
		}
	}
	return nil
}

func mount(source, kind, at string, flags uintptr, options string) error {
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount(source, at, kind, flags, options); err != nil {
		return fmt.Errorf("mount %s at %s: %w", kind, at, err)
	}
	return nil
}

// p9Options of both shares. With cache=loose the guest keeps what it has read,
// also that a file was not there.
const p9Options = "trans=virtio,version=9p2000.L,msize=512000"

// makeRoot makes the file system that programs see, and enters it: the host's
// with changes in memory, or the initramfs as it is.
//
// Kernel threads share the root folder of the first process, so the programs
// that the kernel starts by itself (core_pattern(5), modprobe) see it too.
func makeRoot(c wire.Config) error {
	if c.HostRoot {
		if err := overlayHost(); err != nil {
			return err
		}
	}
	for _, m := range []struct{ kind, at, options string }{
		{"devpts", "/dev/pts", "ptmxmode=666,mode=620"},
		{"tmpfs", "/dev/shm", "mode=1777"},
		{"tmpfs", "/run", "mode=755"},
	} {
		if err := mount(m.kind, m.kind, m.at, 0, m.options); err != nil {
			return err
		}
	}
	for link, to := range map[string]string{"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink(to, "/dev/"+link); err != nil && !os.IsExist(err) {
			return err
		}
	}
	// Not every kernel has all of these.
	for kind, at := range map[string]string{"debugfs": "/sys/kernel/debug", "tracefs": "/sys/kernel/tracing", "bpf": "/sys/fs/bpf",
		"securityfs": "/sys/kernel/security"} {
		syscall.Mount(kind, at, kind, 0, "")
	}
	if err := mountCgroups(c.CgroupV1); err != nil {
		return err
	}
	if c.Share != "" {
		if err := mount("share", "9p", c.Share, 0, p9Options+",cache=none"); err != nil {
			return err
		}
	}
	for _, b := range c.Binds {
		if err := mount(b.From, "none", b.To, syscall.MS_BIND, ""); err != nil {
			return err
		}
	}
	return nil
}

// overlayHost makes the host's file system with changes in memory the root.
func overlayHost() error {
	if err := mount("root", "9p", "/host", syscall.MS_RDONLY, p9Options+",cache=loose"); err != nil {
		return err
	}
	if err := mount("tmpfs", "tmpfs", "/changes", 0, "size=80%,mode=755"); err != nil {
		return err
	}
	for _, dir := range []string{"/changes/upper", "/changes/work"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := mount("overlay", "overlay", "/new", 0, "lowerdir=/host,upperdir=/changes/upper,workdir=/changes/work"); err != nil {
		return err
	}
	if err := mountKernel("/new"); err != nil {
		return err
	}
	if err := os.Chdir("/new"); err != nil {
		return err
	}
	if err := syscall.Mount(".", "/", "", syscall.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := syscall.Chroot("."); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	return os.Chdir("/")
}

// mountCgroups mounts cgroup v2, or each controller that the kernel offers to
// cgroup v1 in the place where distributions have it.
func mountCgroups(v1 bool) error {
	const at = "/sys/fs/cgroup"
	if !v1 {
		if err := mount("cgroup2", "cgroup2", at, 0, ""); err != nil {
			return err
		}
		// cgroups(7): a group of the root may have only these controllers.
		for _, c := range []string{"cpu", "memory", "io", "pids", "cpuset"} {
			if err := os.WriteFile(at+"/cgroup.subtree_control", []byte("+"+c), 0); err != nil {
				return fmt.Errorf("enable cgroup controller %s: %w", c, err)
			}
		}
		return nil
	}
	if err := mount("tmpfs", "tmpfs", at, 0, "mode=755"); err != nil {
		return err
	}
	for _, c := range []string{"cpu,cpuacct", "cpuset", "memory", "pids", "freezer"} {
		err := mount("cgroup", "cgroup", filepath.Join(at, c), 0, c)
		if errors.Is(err, syscall.EINVAL) {
			// Built without this controller's first version, which is a choice
			// since Linux 6.11.
			os.Remove(filepath.Join(at, c))
			continue
		}
		if err != nil {
			return err
		}
		for _, single := range strings.Split(c, ",") {
			if single != c {
				if err := os.Symlink(c, filepath.Join(at, single)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// initModule is init_module(2).
func initModule(image []byte, parameters string) error {
	p, err := syscall.BytePtrFromString(parameters)
	if err != nil {
		return err
	}
	if len(image) == 0 {
		return syscall.ENOEXEC
	}
	_, _, errno := syscall.Syscall(syscall.SYS_INIT_MODULE, uintptr(unsafe.Pointer(&image[0])), uintptr(len(image)), uintptr(unsafe.Pointer(p)))
	if errno != 0 {
		return errno
	}
	return nil
}

// loopbackUp brings the loopback interface up (netdevice(7)).
func loopbackUp() error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make socket: %w", err)
	}
	defer syscall.Close(fd)
	var request [40]byte // struct ifreq: name[16], then the flags
	copy(request[:], "lo")
	binary.NativeEndian.PutUint16(request[16:], syscall.IFF_UP|syscall.IFF_RUNNING)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return fmt.Errorf("bring loopback interface up: %w", errno)
	}
	return nil
}
