package main

import (
	_ "embed" // the program that fills the memory
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"procdump/victims"
	"procdump/victims/guest"
)

// fill is the program that uses up the guest's memory.
//
//go:embed fill.py
var fill string

// guestMiB is the memory of the guest whose dump is measured with.
const guestMiB = 2432

// vmcore returns a dump of the whole memory of a virtual machine in use: half
// of it anonymous memory and page cache, which machines have most of. It is
// made once, in two or three minutes, and kept.
func vmcore(procdump string) (file string, err error) {
	folder := victims.CacheDir("bench")
	file = filepath.Join(folder, fmt.Sprintf("vmcore-%d", guestMiB))
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return file, err
	}
	progress("make %s: takes minutes, once", file)
	defer progress("")
	t := &making{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer t.cleanup()
		err = makeVMCore(t, procdump, file+".new")
	}()
	<-done
	if err = errors.Join(t.failure, err); err != nil {
		os.Remove(file + ".new")
		return "", fmt.Errorf("make %s: %w", file, err)
	}
	return file, os.Rename(file+".new", file)
}

// makeVMCore boots a guest, fills its memory and dumps it. The guest's
// qemu_fw_cfg hands QEMU the kernel's VMCOREINFO. What QEMU does not know is
// where the kernel has its image, without which makedumpfile opens no ELF dump:
// procdump adds that.
func makeVMCore(t *making, procdump, file string) error {
	folder := t.TempDir()
	disk, program := filepath.Join(folder, "disk"), filepath.Join(folder, "fill.py")
	if err := os.WriteFile(program, []byte(fill), 0o600); err != nil {
		return err
	}
	// The page cache holds programs and libraries.
	if out, err := exec.Command("mkfs.ext4", "-q", "-d", "/usr/bin", disk, "2G").CombinedOutput(); err != nil {
		return fmt.Errorf("mkfs.ext4: %w\n%s", err, out)
	}
	g := guest.Boot(t, guest.Options{
		MemoryMiB: guestMiB, Drives: []guest.Drive{{File: disk}}, Modules: []string{"ext4", "qemu_fw_cfg"},
		Args: []string{"-device", "vmcoreinfo"}, Limit: 20 * time.Minute,
	})
	g.Shell("mkdir -p /disk && mount -o ro /dev/vda /disk")
	p := g.Start(guest.Command{Args: []string{"python3", program}})
	p.Await("ready")
	memory := filepath.Join(folder, "memory")
	g.DumpMemory(memory)
	if out, err := exec.Command(procdump, "convert", "-format", "elf", memory, file+".elf").CombinedOutput(); err != nil {
		return fmt.Errorf("procdump convert: %w\n%s", err, out)
	}
	return os.Rename(file+".elf", file)
}

// making stands for a test where there is none: guests belong to tests.
type making struct {
	testing.TB
	failure error
	after   []func()
}

func (m *making) Helper()          {}
func (m *making) Cleanup(f func()) { m.after = append(m.after, f) }
func (m *making) Failed() bool     { return m.failure != nil }

func (m *making) Logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func (m *making) Errorf(format string, args ...any) {
	m.failure = errors.Join(m.failure, fmt.Errorf(format, args...))
}

func (m *making) Fatalf(format string, args ...any) {
	m.Errorf(format, args...)
	runtime.Goexit()
}

func (m *making) Fatal(args ...any)                { m.Fatalf("%s", fmt.Sprint(args...)) }
func (m *making) Skipf(format string, args ...any) { m.Fatalf(format, args...) }

func (m *making) TempDir() string {
	d, err := os.MkdirTemp(victims.CacheDir("bench"), "guest")
	if err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() { os.RemoveAll(d) })
	return d
}

func (m *making) cleanup() {
	for i := len(m.after) - 1; i >= 0; i-- {
		m.after[i]()
	}
}
