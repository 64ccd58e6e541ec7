package arm

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"procdump/internal/mountinfo"
	"procdump/kernel/modfile"
	"procdump/kernel/rescue"
	"procdump/kernel/settings"
)

func names(modules []rescue.Module) string {
	var list []string
	for _, m := range modules {
		list = append(list, modfile.Name(m.File))
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

// TestPlaceLinks follows links, to what is there.
func TestPlaceLinks(t *testing.T) {
	s := tree(t, map[string]string{"dumps": "->bound here/x", "bound here/x/y": "", "dangling": "->none"})
	want := rescue.Target{Device: "UUID=" + testUUID, FSType: "ext4", Folder: "/x/z", Subvolume: "/data/a b"}
	if p, err := s.place("/dumps/z"); err != nil || p.Target != want || p.folder != "/bound here/x/z" {
		t.Errorf("%+v, %v; want %+v", p, err, want)
	}
	if p, err := s.place("/dangling"); err == nil || !strings.Contains(err.Error(), "/dangling is a symbolic link to nothing") {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestPlaceCovered: of two mounts at one place the later one is seen.
func TestPlaceCovered(t *testing.T) {
	const first, second = "22 1 254:1 / / rw - ext4 /dev/vda1 rw\n", "31 22 0:9 / /a rw - tmpfs none rw\n32 22 254:1 /b /a rw - ext4 /dev/vda1 rw\n"
	s := tree(t, map[string]string{"proc/self/mountinfo": first + second})
	if p, err := s.place("/a/c"); err != nil || p.Subvolume != "/b" || p.Folder != "/c" {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := s.place("/ab"); err != nil || p.Subvolume != "" || p.Folder != "/ab" {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestFileSystemRefused(t *testing.T) {
	s := tree(t, nil)
	for _, c := range []struct{ kind, options, super, want string }{
		{"ext4", "rw", "rw", ""}, {"vfat", "rw", "", ""},
		{"ext4", "ro", "rw", "read-only"}, {"ext4", "rw,noatime", "ro,x=1", "read-only"},
		{"tmpfs", "rw", "rw", "in memory"}, {"overlay", "rw", "rw", "overlay"}, {"nfs4", "rw", "rw", "over a network"},
		{"virtiofs", "rw", "rw", "a folder of the host"}, {"fuse.sshfs", "rw", "rw", "made by a program (fuse.sshfs)"}, {"zfs", "rw", "rw", "of type zfs"},
		{"ext4", "rw", "rw,journal_path=/dev/x", "a second device (journal_path=/dev/x)"}, {"xfs", "rw", "rw,rtdev=/dev/y", "(rtdev=/dev/y)"},
	} {
		err := s.checkFileSystem(mountinfo.Mount{Type: c.kind, Options: c.options, Super: c.super, Point: "/a"}, "/a/b")
		if (err == nil) != (c.want == "") || err != nil && (!errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v", c, err)
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
		"bcache":      {map[string]string{"sys/devices/virtual/block/bcache0/bcache/x": "", "sys/class/block/vdb": "->sys/devices/virtual/block/bcache0"}, "made by bcache"},
		"memory":      {map[string]string{"sys/devices/virtual/block/zram0/dev": "1:1", "sys/class/block/vdb": "->sys/devices/virtual/block/zram0"}, "is memory"},
		"network":     {map[string]string{"sys/devices/virtual/block/nbd0/dev": "1:1", "sys/class/block/vdb": "->sys/devices/virtual/block/nbd0"}, "over a network (NBD)"},
		"multipath":   {map[string]string{"sys/devices/virtual/block/dm-2/dm/uuid": "mpath-x", "sys/class/block/vdb": "->sys/devices/virtual/block/dm-2"}, "multipath"},
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
	want := rescue.Target{Device: "UUID=" + testUUID, FSType: "btrfs", Subvolume: "/@home", Folder: "/dumps"}
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
			switch modfile.Name(m.File) {
			case "virtio_blk":
				if m.Parameters != "num_request_queues=1 queue_depth=64" {
					t.Errorf("parameters %q", m.Parameters)
				}
			case "nvme_core":
				if m.Parameters != "io_timeout=9" {
					t.Errorf("parameters %q", m.Parameters)
				}
			}
			if m.Optional != (modfile.Name(m.File) == "crc32c_generic") {
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
	options, modules := mountOptions(mountinfo.Mount{Type: "vfat", Super: "rw,fmask=0022,codepage=437,iocharset=ascii,shortname=mixed"})
	for _, m := range modules {
		l.add(m, false)
	}
	if options != "codepage=437,iocharset=ascii" || names(l.modules) != "fat vfat nls_cp437 nls_ascii" {
		t.Errorf("options %q, modules %s", options, names(l.modules))
	}
}

// TestModulesOptional: what one module can do without another may need.
func TestModulesOptional(t *testing.T) {
	s := tree(t, nil)
	l, err := s.newModuleList()
	if err != nil {
		t.Fatal(err)
	}
	l.add("nvme", true)
	for _, m := range l.modules {
		if !m.Optional {
			t.Errorf("%+v", m)
		}
	}
	if l.add("nvme", false); names(l.modules) != "nvme_core nvme" || l.modules[0].Optional || l.modules[1].Optional {
		t.Errorf("%+v", l.modules)
	}
	if l.add("nvme_core", true); l.modules[0].Optional {
		t.Errorf("%+v", l.modules)
	}
	// Of several that an alias stands for, the one that the running kernel has.
	l.modules = nil
	if !l.add("crypto-crc32c", false) || names(l.modules) != "crc32c_generic" || l.modules[0].Optional {
		t.Errorf("%+v", l.modules)
	}
	if err := os.RemoveAll(s.file("sys/module/crc32c_generic")); err != nil {
		t.Fatal(err)
	}
	if l, err = s.newModuleList(); err != nil {
		t.Fatal(err)
	}
	if !l.add("crypto-crc32c", false) || names(l.modules) != "crc32c_intel crc32c_generic" || !l.modules[0].Optional || !l.modules[1].Optional {
		t.Errorf("%+v", l.modules)
	}
	if l.add("crypto-none", false) {
		t.Error("there is no such module")
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
		"console=ttyS0 iommu=pt console=tty0 console=ttyS0 iommu=pt":                                    "console=ttyS0 iommu=pt console=tty0" + rest,
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
		"grubby": {map[string]string{"sys/kernel/kexec_crash_size": "0", "proc/cmdline": "crashkernel=64M crashkernel=128M", "usr/sbin/grubby": ""},
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
		"image":    {map[string]string{"boot/vmlinuz-" + testRelease: "->gone"}, ErrNotThere, "/lib/modules/" + testRelease + "/vmlinuz"},
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

// TestPrepareWarns: what may go wrong at the crash is told.
func TestPrepareWarns(t *testing.T) {
	s := tree(t, nil)
	if j, err := s.Prepare(Request{Settings: settings.Default()}); err != nil || len(j.Warnings) > 0 {
		t.Fatalf("%+v, %v", j, err)
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"reservation":  {map[string]string{"proc/meminfo": "MemTotal: 1073741824 kB\n"}, "128 MiB are reserved for the crash kernel, which may not do to dump this much memory: crashkernel=320M"},
		"other tool":   {map[string]string{"etc/systemd/system/multi-user.target.wants/kdump.service": "->x"}, "systemctl disable kdump.service"},
		"OpenRC":       {map[string]string{"etc/runlevels/default/kdump": "->x"}, "kdump is enabled"},
		"command line": {map[string]string{"proc/cmdline": "console=ttyS0 " + strings.Repeat("x", 3000)}, "started without xxx"},
	} {
		s := tree(t, c.files)
		if j, err := s.Prepare(Request{Settings: settings.Default()}); err != nil || len(j.Warnings) != 1 || !strings.Contains(j.Warnings[0], c.want) {
			t.Errorf("%s: %+v, %v; want %q", name, j, err, c.want)
		}
	}
}

func TestImage(t *testing.T) {
	s := tree(t, map[string]string{"proc/cmdline": `BOOT_IMAGE=(hd0,gpt2)/vmlinuz-` + testRelease + `.efi`, "boot/vmlinuz-" + testRelease + ".efi": "kernel"})
	os.Remove(s.file("boot/vmlinuz-" + testRelease))
	if got, err := s.image(); err != nil || got != "/boot/vmlinuz-"+testRelease+".efi" {
		t.Errorf("%s, %v", got, err)
	}
	// That of another kernel is none of the running one's.
	write(t, s, "proc/cmdline", "BOOT_IMAGE=/vmlinuz-6.12")
	write(t, s, "boot/vmlinuz-6.12", "kernel")
	if got, err := s.image(); !errors.Is(err, ErrNotThere) {
		t.Errorf("%s, %v", got, err)
	}
}
