package rescue

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"procdump/internal/sys/machine"
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
	if err := v.mount(path, root, t); err != nil {
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

// mount mounts a device, without the target's options if it does not work with
// them: they name tables of characters (vfat), whose modules may be missing.
func (v *volumes) mount(device, root string, t Target) error {
	always := ""
	if t.FSType == "btrfs" {
		// The path of the subvolume begins at the top, not at the one that is
		// mounted by default (btrfs(5)).
		always = "subvolid=5"
	}
	err := machine.Mount(device, root, t.FSType, strings.Trim(t.Options+","+always, ","))
	if err != nil && t.Options != "" {
		v.s.log.printf("%v; once more without the options %s", err, t.Options)
		err = machine.Mount(device, root, t.FSType, always)
	}
	if err == nil {
		v.s.log.printf("%s (%s) is mounted", device, t.FSType)
	}
	return err
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
