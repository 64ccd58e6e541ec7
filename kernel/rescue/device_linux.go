package rescue

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"procdump/kernel/superblock"
)

// deviceLimit is how long the target may take to come up once its modules are
// loaded: disk arrays spin up one disk after the other.
const deviceLimit = 30 * time.Second

const byUUID = "UUID="

// devices finds block devices by the name that a Plan gives them.
type devices struct {
	sys, dev string // where sysfs and devtmpfs are
}

// await waits for a device and returns its path.
func (d devices) await(name string, limit time.Duration, alive func()) (string, error) {
	for deadline := time.Now().Add(limit); ; time.Sleep(100 * time.Millisecond) {
		alive()
		if path, ok := d.find(name); ok {
			return path, nil
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("find device %s: it has not come up within %v; there are %s", name, limit, d.list())
		}
	}
}

func (d devices) find(name string) (path string, ok bool) {
	uuid, ok := strings.CutPrefix(name, byUUID)
	if !ok {
		st, err := os.Stat(name)
		return name, err == nil && st.Mode()&os.ModeDevice != 0
	}
	for _, n := range d.names() {
		path := filepath.Join(d.dev, n)
		if strings.EqualFold(d.uuid(path), uuid) {
			return path, true
		}
	}
	return "", false
}

// uuid is what the content of a device says of itself.
func (d devices) uuid(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return ""
	}
	info, err := superblock.Read(f, size)
	if err != nil {
		return ""
	}
	return info.UUID
}

// names are the block devices that may hold something.
func (d devices) names() []string {
	entries, err := os.ReadDir(filepath.Join(d.sys, "class/block"))
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "ram") || strings.HasPrefix(e.Name(), "loop") {
			continue
		}
		names = append(names, e.Name())
	}
	return names
}

func (d devices) list() string {
	names := d.names()
	if len(names) == 0 {
		return "none at all: a module for the disk is missing or found none"
	}
	return "only " + strings.Join(names, ", ")
}
