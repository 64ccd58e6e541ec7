package guest

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"procdump/victims"
	"procdump/victims/guest/wire"
)

// buildInit makes the program that is the guest's init, once in a test run.
var buildInit = sync.OnceValues(func() ([]byte, error) {
	root, err := victims.ModuleDir()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "guest-init")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "init")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, "./victims/guest/init")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build init: %w\n%s", err, msg)
	}
	return os.ReadFile(out)
})

// baseModules are what a guest needs before its init can run anything.
func (o Options) baseModules() []string {
	// virtio_pci brings the modules below it along.
	m := []string{"virtio_pci", "virtio_console", "9p", "9pnet_virtio"}
	if !o.NoHostRoot {
		m = append(m, "overlay")
	}
	if len(o.Drives) > 0 {
		m = append(m, "virtio_blk")
	}
	return append(m, o.Modules...)
}

// writeInitramfs writes the file system that the kernel starts with.
func writeInitramfs(file string, k Kernel, o Options, c wire.Config) error {
	program, err := buildInit()
	if err != nil {
		return err
	}
	modules, err := k.moduleFiles(o.baseModules()...)
	if err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	buffer := bufio.NewWriterSize(f, 1<<20)
	z, err := gzip.NewWriterLevel(buffer, gzip.BestSpeed)
	if err != nil {
		return err
	}
	a := &cpioWriter{w: z}
	// The kernel opens it for the first process.
	a.device("/dev/console", 5, 1)
	a.file("/init", program)
	for _, m := range modules {
		b, err := k.readModule(m)
		if err != nil {
			return err
		}
		name := "/modules/" + strings.TrimSuffix(strings.TrimSuffix(filepath.Base(m), ".xz"), ".zst")
		a.file(name, b)
		c.Modules = append(c.Modules, name)
	}
	for name, from := range o.Files {
		b, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		a.file(name, b)
	}
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	a.file(wire.ConfigFile, b)
	if err := a.close(); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	if err := buffer.Flush(); err != nil {
		return err
	}
	return f.Close()
}
