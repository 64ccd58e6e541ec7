package guest

import (
	"fmt"
	"io"
	"path"
	"slices"
)

// cpioWriter writes an archive in the format "newc", the one that the kernel
// unpacks (Documentation/driver-api/early-userspace/buffer-format.rst): for
// each file a header of 6+13×8 hexadecimal digits, the name with its zero byte
// and the content, both padded to four bytes.
type cpioWriter struct {
	w     io.Writer
	inode int
	made  []string // folders
	err   error
}

const (
	cpioFolder  = 0o040755
	cpioProgram = 0o100755
	cpioDevice  = 0o020600 // a character device
)

// file adds a file and the folders that it is in.
func (c *cpioWriter) file(name string, content []byte) {
	c.folder(path.Dir(name))
	c.entry(name, cpioProgram, content, 0, 0)
}

// folder adds a folder, once, and those above it.
func (c *cpioWriter) folder(name string) {
	if name == "." || name == "/" || slices.Contains(c.made, name) {
		return
	}
	c.folder(path.Dir(name))
	c.made = append(c.made, name)
	c.entry(name, cpioFolder, nil, 0, 0)
}

// device adds a character device.
func (c *cpioWriter) device(name string, major, minor int) {
	c.folder(path.Dir(name))
	c.entry(name, cpioDevice, nil, major, minor)
}

// close ends the archive.
func (c *cpioWriter) close() error {
	c.inode = -1
	c.entry("TRAILER!!!", 0, nil, 0, 0)
	return c.err
}

func (c *cpioWriter) entry(name string, mode int, content []byte, major, minor int) {
	if c.err != nil {
		return
	}
	c.inode++
	if len(name) > 0 && name[0] == '/' {
		name = name[1:]
	}
	// magic, inode, mode, uid, gid, links, mtime, size, device of the file
	// system (2), device that this is (2), length of the name, checksum
	header := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		c.inode, mode, 0, 0, 1, 0, len(content), 0, 0, major, minor, len(name)+1, 0)
	c.write([]byte(header + name + "\x00"))
	c.pad(len(header) + len(name) + 1)
	c.write(content)
	c.pad(len(content))
}

func (c *cpioWriter) pad(size int) { c.write(make([]byte, -size&3)) }

func (c *cpioWriter) write(b []byte) {
	if c.err == nil {
		_, c.err = c.w.Write(b)
	}
}
