package arm

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	testRelease = "6.1.0-9-amd64"
	testUUID    = "00112233-4455-6677-8899-aabbccddeeff"
	modulesAt   = "lib/modules/" + testRelease + "/"
)

// pci is the folder of a device on the bus, as sysfs has it.
const pci = "sys/devices/pci0000:00/"

// tree makes a machine of files: content by path, a link if it begins with "->".
func tree(t *testing.T, files map[string]string) *System {
	t.Helper()
	s := &System{Root: t.TempDir(), Release: testRelease, Machine: "amd64"}
	s.Load = func(_, _ *os.File, _ string) error { return errors.New("not to be called") }
	s.Unload = func() error { return errors.New("not to be called") }
	for _, all := range []map[string]string{machineFiles, files} {
		for path, content := range all {
			write(t, s, path, content)
		}
	}
	return s
}

func write(t *testing.T, s *System, path, content string) {
	t.Helper()
	file := s.file(path)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	os.Remove(file)
	var err error
	if to, ok := strings.CutPrefix(content, "->"); ok {
		// Both are paths from the root.
		var rel string
		if rel, err = filepath.Rel(filepath.Dir(file), s.file(to)); err == nil {
			err = os.Symlink(rel, file)
		}
	} else if content == emptyDisk {
		if err = os.WriteFile(file, nil, 0o644); err == nil {
			err = os.Truncate(file, 32<<20)
		}
	} else {
		err = os.WriteFile(file, []byte(content), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// ext4Image begins a device that holds ext4.
func ext4Image() string {
	b := make([]byte, 1<<20)
	copy(b[1024+0x38:], "\x53\xef")
	b[1024+0x5c], b[1024+0x60] = 4, 0x40 // a journal, extents
	for i := range 16 {
		b[1024+0x68+i] = byte(i * 0x11)
	}
	return string(b)
}

// emptyDisk is the content of a disk of 32 MiB of zeros.
const emptyDisk = "(zeros)"

// machineFiles are those of a virtual machine: ext4 on /dev/vda1, a free disk
// /dev/vdb, LVM on /dev/sda, an NVMe disk with a subsystem.
var machineFiles = map[string]string{
	"proc/cmdline":                                        "BOOT_IMAGE=/boot/vmlinuz-" + testRelease + " root=/dev/vda1 ro crashkernel=128M console=ttyS0 virtio_blk.queue_depth=64\n",
	"etc/localtime":                                       "TZif",
	"proc/meminfo":                                        "MemTotal:        8028676 kB\nMemFree: 1 kB\n",
	"proc/swaps":                                          "Filename Type Size Used Priority\n/dev/vda2 partition 1000 0 -2\n",
	"proc/modules":                                        "ext4 1 0 - Live 0x0\n",
	"proc/filesystems":                                    "nodev\tsysfs\n\text4\n",
	"proc/sys/kernel/random/boot_id":                      "boot-1\n",
	"sys/kernel/kexec_crash_loaded":                       "0\n",
	"sys/kernel/kexec_crash_size":                         "134217728\n",
	"sys/kernel/security/lockdown":                        "[none] integrity confidentiality\n",
	"boot/vmlinuz-" + testRelease:                         "kernel",
	"sys/module/virtio_pci/refcnt":                        "1",
	"sys/module/crc32c_generic/refcnt":                    "1",
	"sys/module/ext4/refcnt":                              "1",
	"sys/bus/pci/drivers/virtio-pci/bind":                 "",
	"sys/bus/pci/drivers/virtio-pci/module":               "->sys/module/virtio_pci",
	"sys/bus/virtio/drivers/virtio_blk/bind":              "",
	"sys/bus/virtio/drivers/virtio_blk/module":            "->sys/module/virtio_blk",
	"sys/module/virtio_blk/refcnt":                        "1",
	"sys/bus/pci/drivers/pcieport/bind":                   "", // built in: no module
	pci + "0000:00:04.0/driver":                           "->sys/bus/pci/drivers/virtio-pci",
	pci + "0000:00:04.0/virtio1/driver":                   "->sys/bus/virtio/drivers/virtio_blk",
	pci + "0000:00:04.0/virtio1/block/vda/dev":            "254:0\n",
	pci + "0000:00:04.0/virtio1/block/vda/size":           "2097152\n",
	pci + "0000:00:04.0/virtio1/block/vda/vda1/partition": "1\n",
	pci + "0000:00:04.0/virtio1/block/vda/vda1/dev":       "254:1\n",
	pci + "0000:00:04.0/virtio1/block/vda/vda1/size":      "2048\n",
	pci + "0000:00:04.0/virtio1/block/vda/vda2/partition": "2\n",
	pci + "0000:00:04.0/virtio1/block/vda/vda2/dev":       "254:2\n",
	"sys/dev/block/254:0":                                 "->" + pci + "0000:00:04.0/virtio1/block/vda",
	"sys/dev/block/254:1":                                 "->" + pci + "0000:00:04.0/virtio1/block/vda/vda1",
	"sys/class/block/vda":                                 "->" + pci + "0000:00:04.0/virtio1/block/vda",
	"sys/class/block/vda1":                                "->" + pci + "0000:00:04.0/virtio1/block/vda/vda1",
	"sys/class/block/vda2":                                "->" + pci + "0000:00:04.0/virtio1/block/vda/vda2",
	"dev/vda":                                             "",
	"dev/vda1":                                            ext4Image(),
	"dev/vda2":                                            "",

	pci + "0000:00:05.0/driver":                 "->sys/bus/pci/drivers/virtio-pci",
	pci + "0000:00:05.0/virtio2/driver":         "->sys/bus/virtio/drivers/virtio_blk",
	pci + "0000:00:05.0/virtio2/block/vdb/dev":  "254:16\n",
	pci + "0000:00:05.0/virtio2/block/vdb/size": "65536\n",
	"sys/class/block/vdb":                       "->" + pci + "0000:00:05.0/virtio2/block/vdb",
	"dev/vdb":                                   emptyDisk,
	"dev/disk/by-id/virtio-b":                   "->dev/vdb",

	"sys/devices/virtual/block/dm-0/dev":     "253:0\n",
	"sys/devices/virtual/block/dm-0/dm/uuid": "LVM-abcdef\n",
	"sys/devices/virtual/block/dm-0/dm/name": "vg-root\n",
	"sys/dev/block/253:0":                    "->sys/devices/virtual/block/dm-0",
	"dev/dm-0":                               "",

	"sys/bus/pci/drivers/nvme/bind":                                "",
	"sys/bus/pci/drivers/nvme/module":                              "->sys/module/nvme",
	"sys/module/nvme/refcnt":                                       "1",
	pci + "0000:00:1d.0/driver":                                    "->sys/bus/pci/drivers/pcieport",
	pci + "0000:00:1d.0/0000:03:00.0/driver":                       "->sys/bus/pci/drivers/nvme",
	pci + "0000:00:1d.0/0000:03:00.0/nvme/nvme0/transport":         "pcie\n",
	"sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0":        "->" + pci + "0000:00:1d.0/0000:03:00.0/nvme/nvme0",
	"sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1/dev":  "259:0\n",
	"sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1/size": "65536\n",
	"sys/class/block/nvme0n1":                                      "->sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1",
	"dev/nvme0n1":                                                  emptyDisk,

	"proc/self/mountinfo": `22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
23 22 0:22 / /proc rw - proc proc rw
24 22 0:30 / /tmp rw - tmpfs tmpfs rw
25 22 253:0 / /srv rw - ext4 /dev/mapper/vg-root rw
26 22 254:1 /data/a\040b /bound\040here rw - ext4 /dev/vda1 rw
27 22 0:40 / /nfs rw - nfs4 server:/export rw
28 22 0:41 / /merged rw - overlay overlay rw,lowerdir=/a
29 22 254:1 / /frozen ro - ext4 /dev/vda1 rw
30 22 0:42 / /f2 rw - f2fs /dev/vda1 rw
31 22 254:1 / /log rw - xfs /dev/vda1 rw,logdev=/dev/vdb
`,

	modulesAt + "modules.dep": `kernel/drivers/virtio/virtio.ko.xz: kernel/drivers/virtio/virtio_ring.ko.xz
kernel/drivers/virtio/virtio_ring.ko.xz:
kernel/drivers/virtio/virtio_pci.ko.xz: kernel/drivers/virtio/virtio_pci_legacy_dev.ko.xz kernel/drivers/virtio/virtio_pci_modern_dev.ko.xz kernel/drivers/virtio/virtio.ko.xz kernel/drivers/virtio/virtio_ring.ko.xz
kernel/drivers/virtio/virtio_pci_legacy_dev.ko.xz:
kernel/drivers/virtio/virtio_pci_modern_dev.ko.xz:
kernel/drivers/block/virtio_blk.ko.xz: kernel/drivers/virtio/virtio.ko.xz kernel/drivers/virtio/virtio_ring.ko.xz
kernel/fs/ext4/ext4.ko.xz: kernel/lib/crc16.ko.xz kernel/fs/mbcache.ko.xz kernel/fs/jbd2/jbd2.ko.xz
kernel/fs/jbd2/jbd2.ko.xz:
kernel/fs/mbcache.ko.xz:
kernel/lib/crc16.ko.xz:
kernel/crypto/crc32c_generic.ko.xz:
kernel/arch/x86/crypto/crc32c-intel.ko.xz:
kernel/drivers/nvme/host/nvme.ko.xz: kernel/drivers/nvme/host/nvme-core.ko.xz
kernel/drivers/nvme/host/nvme-core.ko.xz:
kernel/fs/fat/vfat.ko.xz: kernel/fs/fat/fat.ko.xz
kernel/fs/fat/fat.ko.xz:
kernel/fs/nls/nls_cp437.ko.xz:
kernel/fs/nls/nls_ascii.ko.xz:
`,
	modulesAt + "modules.builtin": "kernel/drivers/pci/pcie/pcieport.ko\nkernel/crypto/sha256.ko\n",
	modulesAt + "modules.alias": `# Aliases
alias fs-ext4 ext4
alias fs-vfat vfat
alias crypto-crc32c crc32c_intel
alias crypto-crc32c crc32c_generic
alias crypto-crc32c-generic crc32c_generic
alias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci
`,
	modulesAt + "modules.softdep": "softdep ext4 pre: crypto-crc32c\nsoftdep jbd2 pre: crypto-crc32c post: nvme\n",
	// The administrator's file hides those of the same name.
	"run/modprobe.d/disk.conf":     "options virtio_blk num_request_queues=2\n",
	"usr/lib/modprobe.d/disk.conf": "options virtio_blk num_request_queues=3\n",
	"etc/modprobe.d/disk.conf":     "# comment\noptions virtio_blk num_request_queues=1\noptions nvme-core io_timeout=9\n",
}

// moduleContents gives each module of the table a file.
func moduleContents(t *testing.T, s *System) {
	t.Helper()
	for line := range strings.Lines(machineFiles[modulesAt+"modules.dep"]) {
		name, _, _ := strings.Cut(line, ":")
		write(t, s, modulesAt+name, "module "+filepath.Base(name))
	}
}

// readAll reads a file that is open, from its beginning.
func readAll(t *testing.T, f *os.File) []byte {
	t.Helper()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<30))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(b)
}
