package arm

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"procdump/kernel/rescue"
	"procdump/kernel/settings"
)

func names(modules []rescue.Module) string {
	var list []string
	for _, m := range modules {
		list = append(list, moduleName(m.File))
	}
	return strings.Join(list, " ")
}

func TestPlace(t *testing.T) {
	s := tree(t, nil)
	for to, want := range map[string]rescue.Target{
		"/var/crash":               {Device: "UUID=" + testUUID, FSType: "ext4", Folder: "/var/crash"},
		"/bound here/x":            {Device: "UUID=" + testUUID, FSType: "ext4", Folder: "/x", Subvolume: "/data/a b"},
		"/boot/":                   {Device: "UUID=" + testUUID, FSType: "ext4", Folder: "/boot"},
		"/dev/vdb":                 {},
		"/dev/nvme0n1":             {},
		"/dev/disk/by-id/virtio-b": {},
	} {
		p, err := s.place(to)
		if err != nil || p.Target != want {
			t.Errorf("%s: %+v, %v; want %+v", to, p.Target, err, want)
		}
	}
	for to, want := range map[string]string{
		"/tmp/x":        "in memory",
		"/srv/x":        "LVM, which the crash kernel does not set up; " + elsewhere + "; mounted and within reach: / (ext4)",
		"/nfs":          "over a network",
		"/merged/a":     "overlay",
		"/frozen":       "read-only",
		"/f2":           "of type f2fs",
		"/log":          "a second device (logdev=/dev/vdb)",
		"/dev/vda":      "has partitions: vda1",
		"/dev/vda1":     "is mounted at /",
		"/dev/vda2":     "is swap space",
		"/dev/dm-0":     "no block device",
		"/dev/none":     "no block device",
		"/proc/cmdline": "is a file",
		"relative":      "not an absolute path",
	} {
		if p, err := s.place(to); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v; want %q", to, p.Target, err, want)
		}
	}
}

func TestDeviceRefused(t *testing.T) {
	const vdb = pci + "0000:00:05.0/virtio2/block/vdb/"
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"holder":      {map[string]string{vdb + "holders/dm-3": ""}, "is part of dm-3"},
		"read-only":   {map[string]string{vdb + "ro": "1\n"}, "is read-only"},
		"file system": {map[string]string{"dev/vdb": ext4Image()}, "holds a file system (ext4); if nothing in it is needed, wipefs -a /dev/vdb"},
		"mounted":     {map[string]string{"proc/self/mountinfo": "22 1 254:16 / /b rw - ext4 /dev/vdb rw\n"}, "is mounted at /b"},
		"loop":        {map[string]string{"sys/devices/virtual/block/loop0/loop/backing_file": "/disk.img\n", "sys/class/block/vdb": "->sys/devices/virtual/block/loop0"}, "/disk.img"},
		"md":          {map[string]string{"sys/devices/virtual/block/md0/md/level": "raid1", "sys/class/block/vdb": "->sys/devices/virtual/block/md0"}, "RAID of md"},
		"crypt":       {map[string]string{"sys/devices/virtual/block/dm-1/dm/uuid": "CRYPT-LUKS2-x", "sys/class/block/vdb": "->sys/devices/virtual/block/dm-1"}, "encryption"},
		"software":    {map[string]string{"sys/devices/virtual/block/x0/dev": "1:1", "sys/class/block/vdb": "->sys/devices/virtual/block/x0"}, "made by software"},
		"iscsi":       {map[string]string{"sys/devices/platform/host2/session1/target2:0:0/2:0:0:1/block/sdb/dev": "8:16", "sys/class/block/vdb": "->sys/devices/platform/host2/session1/target2:0:0/2:0:0:1/block/sdb"}, "iSCSI"},
		"nvme-tcp":    {map[string]string{pci + "0000:00:1d.0/0000:03:00.0/nvme/nvme0/transport": "tcp\n", "sys/class/block/vdb": "->sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1"}, "NVMe over tcp"},
	} {
		s := tree(t, c.files)
		if p, err := s.place("/dev/vdb"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %+v, %v; want %q", name, p.Target, err, c.want)
		}
	}
}

func TestBTRFS(t *testing.T) {
	image := make([]byte, 1<<20)
	copy(image[0x10040:], "_BHRfS_M")
	for i := range 16 {
		image[0x10020+i] = byte(i * 0x11)
	}
	image[0x10088] = 1
	mount := "22 1 0:35 /@home /home rw - btrfs /dev/vda1 rw,ssd,subvolid=257,subvol=/@home\n"
	s := tree(t, map[string]string{"dev/vda1": string(image), "proc/self/mountinfo": mount})
	p, err := s.place("/home/dumps")
	want := rescue.Target{Device: "UUID=" + testUUID, FSType: "btrfs", Options: "subvolid=5", Subvolume: "/@home", Folder: "/dumps"}
	if err != nil || p.Target != want || p.device.name != "vda1" {
		t.Errorf("%+v, %v; want %+v", p, err, want)
	}
	write(t, s, "sys/fs/btrfs/"+testUUID+"/devices/vda1", "")
	write(t, s, "sys/fs/btrfs/"+testUUID+"/devices/vdb", "")
	if _, err := s.place("/home"); err == nil || !strings.Contains(err.Error(), "a btrfs on 2 devices (vda1, vdb)") {
		t.Errorf("two devices: %v", err)
	}
}

func TestModules(t *testing.T) {
	s := tree(t, nil)
	for to, want := range map[string]string{
		// What is outermost comes first; of the two crc32c the kernel has one.
		"/var/crash":   "virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk crc32c_generic jbd2 mbcache crc16 ext4",
		"/dev/vdb":     "virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk",
		"/dev/nvme0n1": "nvme_core nvme",
	} {
		l, err := s.newModuleList()
		if err != nil {
			t.Fatal(err)
		}
		p, err := s.place(to)
		if err == nil {
			err = s.addPlace(l, p)
		}
		if err != nil || names(l.modules) != want {
			t.Errorf("%s: %s, %v; want %s", to, names(l.modules), err, want)
		}
		for _, m := range l.modules {
			switch moduleName(m.File) {
			case "virtio_blk":
				if m.Parameters != "num_request_queues=1 queue_depth=64" {
					t.Errorf("parameters %q", m.Parameters)
				}
			case "nvme_core":
				if m.Parameters != "io_timeout=9" {
					t.Errorf("parameters %q", m.Parameters)
				}
			}
			if m.Optional != (moduleName(m.File) == "crc32c_generic") {
				t.Errorf("module %+v", m)
			}
		}
	}
}

func TestModulesVFAT(t *testing.T) {
	s := tree(t, nil)
	l, err := s.newModuleList()
	if err != nil {
		t.Fatal(err)
	}
	options, modules := mountOptions(mount{fstype: "vfat", super: "rw,fmask=0022,codepage=437,iocharset=ascii,shortname=mixed"})
	for _, m := range modules {
		l.add(m, false)
	}
	if options != "codepage=437,iocharset=ascii" || names(l.modules) != "fat vfat nls_cp437 nls_ascii" {
		t.Errorf("options %q, modules %s", options, names(l.modules))
	}
}

func TestModulesMissing(t *testing.T) {
	s := tree(t, map[string]string{modulesAt + "modules.dep": "kernel/x.ko:\n"})
	l, err := s.newModuleList()
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.place("/dev/vdb")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.addPlace(l, p); err == nil || !strings.Contains(err.Error(), "virtio_pci") {
		t.Errorf("%v", err)
	}
	// All is built in.
	s = tree(t, map[string]string{modulesAt + "modules.dep": "", modulesAt + "modules.alias": "", modulesAt + "modules.builtin": "kernel/virtio_pci.ko\nkernel/virtio_blk.ko\n"})
	if l, err = s.newModuleList(); err != nil {
		t.Fatal(err)
	}
	if p, err = s.place("/var/crash"); err == nil {
		err = s.addPlace(l, p)
	}
	if err != nil || len(l.modules) != 0 {
		t.Errorf("%v, %v", l.modules, err)
	}
}

func TestCommandLine(t *testing.T) {
	rest := " " + strings.Join(added, " ")
	for running, want := range map[string]string{
		"BOOT_IMAGE=/vmlinuz root=UUID=x ro quiet splash crashkernel=128M":                              rest[1:],
		"console=tty0 console=ttyS0,115200 earlyprintk=serial root=/dev/sda1 pci=nomsi intel_iommu=on":  "console=tty0 console=ttyS0,115200 earlyprintk=serial pci=nomsi intel_iommu=on" + rest,
		"acpi=off nr_cpus=4 mem=2G mem_encrypt=on hugepages=64 rd.lvm.lv=a/b systemd.unit=x loglevel=7": "acpi=off mem_encrypt=on" + rest,
		`dyndbg="file a +p" nvme_core.io_timeout=9 3 -- init arguments`:                                 `dyndbg="file a +p" nvme_core.io_timeout=9` + rest,
	} {
		if got, left := commandLine(running); got != want || left != nil {
			t.Errorf("%s:\n%s, left out %v; want\n%s", running, got, left, want)
		}
	}
	long := "console=ttyS0"
	for i := range 400 {
		long += " quirk" + strconv.Itoa(i)
	}
	got, left := commandLine(long + " console=tty1")
	if len(got) > maxCommandLine || len(left) == 0 || !strings.HasPrefix(got, "console=ttyS0 quirk0 ") || !strings.Contains(got, " console=tty1 ") || !strings.HasSuffix(got, rest) {
		t.Errorf("%d bytes, left out %d: %s", len(got), len(left), got)
	}
}

func TestReservation(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"grub": {map[string]string{"sys/kernel/kexec_crash_size": "0", "proc/cmdline": "quiet", "usr/sbin/update-grub": "", "etc/default/grub.d/x.cfg": ""},
			[]string{"without the parameter crashkernel=", `"$GRUB_CMDLINE_LINUX_DEFAULT crashkernel=192M"' >/etc/default/grub.d/procdump.cfg && update-grub`}},
		"grubby": {map[string]string{"sys/kernel/kexec_crash_size": "0", "usr/sbin/grubby": ""},
			[]string{"started with crashkernel=128M, but found no room", `grubby --update-kernel=ALL --args="crashkernel=192M"`}},
		"systemd-boot": {map[string]string{"sys/kernel/kexec_crash_size": "67108864", "boot/loader/entries/a.conf": "", "etc/kernel/cmdline": "quiet"},
			[]string{"only 64 MiB are reserved", "add crashkernel=192M to /etc/kernel/cmdline"}},
		"large": {map[string]string{"sys/kernel/kexec_crash_size": "0", "proc/meminfo": "MemTotal: 1073741824 kB\n"}, []string{"crashkernel=320M: add"}},
		"small": {map[string]string{"sys/kernel/kexec_crash_size": "0", "proc/meminfo": "MemTotal: 1048576 kB\n"}, []string{"crashkernel=128M: add"}},
	} {
		s := tree(t, c.files)
		_, err := s.Prepare(Request{Settings: settings.Default()})
		if !errors.Is(err, ErrReservation) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v; want %q", name, err, w)
			}
		}
	}
}

func TestPrepareRefused(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  error
		text  string
	}{
		"foreign":  {map[string]string{"sys/kernel/kexec_crash_loaded": "1", "etc/systemd/system/multi-user.target.wants/kdump-tools.service": "->x"}, ErrForeign, "kdump-tools.service; -o replaces it"},
		"disabled": {map[string]string{"proc/sys/kernel/kexec_load_disabled": "1"}, ErrUnsupported, "kexec_load_disabled"},
		"image":    {map[string]string{"boot/vmlinuz-" + testRelease: "->gone"}, ErrNoImage, "/lib/modules/" + testRelease + "/vmlinuz"},
	} {
		s := tree(t, c.files)
		if _, err := s.Prepare(Request{Settings: settings.Default()}); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := tree(t, nil)
	s.User = 1000
	if _, err := s.Prepare(Request{Settings: settings.Default()}); !errors.Is(err, ErrNotRoot) {
		t.Errorf("not root: %v", err)
	}
	s = tree(t, nil)
	os.Remove(s.file("sys/kernel/kexec_crash_loaded"))
	if _, err := s.Prepare(Request{Settings: settings.Default()}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("no kexec: %v", err)
	}
}

func TestImage(t *testing.T) {
	s := tree(t, map[string]string{"proc/cmdline": `BOOT_IMAGE=(hd0,gpt2)/vmlinuz-` + testRelease + `.efi`, "boot/vmlinuz-" + testRelease + ".efi": "kernel"})
	os.Remove(s.file("boot/vmlinuz-" + testRelease))
	if got, err := s.image(); err != nil || got != "/boot/vmlinuz-"+testRelease+".efi" {
		t.Errorf("%s, %v", got, err)
	}
}
