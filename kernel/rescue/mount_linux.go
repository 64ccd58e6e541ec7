package rescue

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"procdump/internal/sys/machine"
	"procdump/kernel/superblock"
)

// mountFolder is where file systems get mounted, each in a folder of its own.
const mountFolder = "/target"

// volumes are the file systems that are mounted, each once.
type volumes struct {
	s       *session
	mounted map[string]string // folder of each device
}

// place opens a target.
func (v *volumes) place(t Target) (place, error) {
	if root, ok := v.mounted[t.Device]; ok {
		return below(root, t), nil
	}
	d := devices{sys: "/sys", dev: "/dev"}
	path, err := d.await(t.Device, deviceLimit, v.s.log.alive)
	if err != nil {
		return nil, err
	}
	if t.FSType == "" {
		v.s.log.printf("the dump goes to the device %s", path)
		return openDevice(path)
	}
	root := filepath.Join(mountFolder, fmt.Sprint(len(v.mounted)))
	if err := v.mount(d, path, root, t); err != nil {
		return nil, err
	}
	v.mounted[t.Device] = root
	return below(root, t), nil
}

// below is a target's folder in the file system that is mounted at root.
func below(root string, t Target) *folder {
	root = filepath.Join(root, filepath.Join("/", t.Subvolume))
	return &folder{root: root, path: filepath.Join(root, filepath.Join("/", t.Folder))}
}

// subvolume are the options that choose one.
var subvolume = regexp.MustCompile(`,subvol(id)?=[^,]*`)

// mount mounts a device, without the options if it does not work with them: some
// name files that are not here, such as a journal on another device.
func (v *volumes) mount(d devices, path, root string, t Target) error {
	options, least := t.Options, ""
	if t.FSType == "btrfs" {
		d.scanBTRFS(path)
		// The path of the subvolume begins at the top, not at the one that is
		// mounted by default (btrfs(5)).
		least = "subvolid=5"
		options = strings.Trim(subvolume.ReplaceAllString(","+options, "")+","+least, ",")
	}
	err := machine.Mount(path, root, t.FSType, options)
	if err != nil && options != least {
		v.s.log.printf("%v; once more without the options %s", err, options)
		err = machine.Mount(path, root, t.FSType, least)
	}
	if err == nil {
		v.s.log.printf("%s (%s) is mounted", path, t.FSType)
	}
	return err
}

// scanBTRFS makes the devices of a btrfs known that has several.
func (d devices) scanBTRFS(path string) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	size, _ := f.Seek(0, io.SeekEnd)
	info, err := superblock.Read(f, size)
	if err != nil || info.Devices < 2 {
		return
	}
	for _, n := range d.names() {
		if other := filepath.Join(d.dev, n); d.uuid(other) == info.UUID {
			machine.ScanBTRFS(other)
		}
	}
}

// close unmounts all.
func (v *volumes) close() {
	for _, root := range v.mounted {
		v.s.log.alive()
		if err := errors.Join(machine.SyncFS(root), machine.Unmount(root)); err != nil {
			v.s.log.printf("%v", err)
		}
	}
}
