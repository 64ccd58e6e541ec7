package guest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"procdump/victims/guest/wire"
	"procdump/victims/need"
)

// Options says what guest to boot. The zero value is a good one.
type Options struct {
	Kernel      string   // "default", the default; "newest"; or a series ("6.12")
	CommandLine []string // kernel parameters, added to those that every guest has
	MemoryMiB   int      // default 1024
	CPUs        int      // default 2
	CPU         string   // QEMU's model; default: all that it can do but 5-level page tables
	Modules     []string // kernel modules to load besides those that the guest needs
	Drives      []Drive  // /dev/vda, /dev/vdb, …
	CgroupV1    bool     // cgroup v1 with its controllers instead of cgroup v2

	// NoHostRoot leaves the programs with the initramfs alone: what Files, from
	// name in the guest to file of the host, brings.
	NoHostRoot bool
	Files      map[string]string

	Args  []string      // more of QEMU's arguments
	Limit time.Duration // for the boot and for each program; default two minutes
}

// Drive is a raw disk of the guest.
type Drive struct {
	File     string // of the host
	MiB      int64  // the file is made, sparse, with this size; 0: it exists
	ReadOnly bool
}

// Guest is a running virtual machine, as one test sees it.
type Guest struct {
	*machine
	t testing.TB
}

// machine is what all tests that use a guest share.
type machine struct {
	Kernel Kernel
	Dir    string // of host and guest

	options Options
	own     string // folder of its sockets and of the console's log
	cmd     *exec.Cmd
	output  bytes.Buffer // QEMU's own messages
	ended   chan struct{}
	port    net.Conn // to the guest's init
	control net.Conn // to QEMU
	monitor *monitor

	mu       sync.Mutex
	change   chan struct{} // closed and made anew with each event
	boots    int
	lastID   int
	programs map[int]*Process
	lost     error // why the guest can be told nothing more
}

// Boot boots a guest, which is gone when the test ends. The test is skipped on
// a machine that has no QEMU or kernel for it.
func Boot(t testing.TB, o Options) *Guest {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		need.Missing(t, "guest", "the kernels of guests are for amd64")
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		need.Missing(t, "guest", "qemu-system-x86_64 is not installed (scripts/install-test-deps installs it)")
	}
	if o.Kernel == "" {
		o.Kernel = "default"
	}
	if o.MemoryMiB == 0 {
		o.MemoryMiB = 1024
	}
	if o.CPUs == 0 {
		o.CPUs = 2
	}
	if o.CPU == "" {
		o.CPU = "max,la57=off"
	}
	if o.Limit == 0 {
		o.Limit = 2 * time.Minute
	}
	m := &machine{Kernel: FindKernel(t, o.Kernel), Dir: t.TempDir(), options: o, ended: make(chan struct{}), change: make(chan struct{}),
		programs: map[int]*Process{}}
	g := &Guest{m, t}
	// Names of sockets are short (unix(7)): not the test's folder.
	var err error
	if m.own, err = os.MkdirTemp("", "guest"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.end()
		if t.Failed() {
			t.Logf("console of the guest:\n%s%s", lastOf(g.Console(), 12<<10), &m.output)
		}
		os.RemoveAll(m.own)
	})
	if err := m.start(); err != nil {
		t.Fatalf("boot guest: %v", err)
	}
	g.firstBoot()
	return g
}

// With is the guest for another test: a subtest of the one that booted it.
func (g *Guest) With(t testing.TB) *Guest { return &Guest{g.machine, t} }

// start starts QEMU.
func (m *machine) start() error {
	c := wire.Config{HostRoot: !m.options.NoHostRoot, Share: m.Dir, CgroupV1: m.options.CgroupV1, Hostname: "guest"}
	if c.HostRoot {
		c.Binds = []wire.Bind{
			{From: m.Kernel.Modules(), To: "/lib/modules/" + m.Kernel.Release},
			{From: filepath.Join(m.Kernel.Folder, "boot"), To: "/boot"},
		}
	}
	initramfs := filepath.Join(m.own, "initramfs")
	if err := writeInitramfs(initramfs, m.Kernel, m.options, c); err != nil {
		return fmt.Errorf("write initramfs: %w", err)
	}
	args, err := m.arguments(initramfs)
	if err != nil {
		return err
	}
	m.cmd = exec.Command("qemu-system-x86_64", args...)
	m.cmd.Stdout, m.cmd.Stderr = &m.output, &m.output
	// A signal to the test's group, Ctrl-C for one, is none for the guest; it
	// ends with the thread that started it.
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		started <- m.cmd.Start()
		m.cmd.Wait()
		close(m.ended)
	}()
	if err := <-started; err != nil {
		return err
	}
	if m.port, err = m.dial("port"); err != nil {
		return err
	}
	if m.control, err = m.dial("monitor"); err != nil {
		return err
	}
	if m.monitor, err = newMonitor(m.control); err != nil {
		return err
	}
	go m.listen()
	return nil
}

// end ends QEMU, if it runs.
func (m *machine) end() {
	if m.cmd == nil || m.cmd.Process == nil {
		return
	}
	m.cmd.Process.Kill()
	<-m.ended
	for _, c := range []net.Conn{m.port, m.control} {
		if c != nil {
			c.Close()
		}
	}
}

// arguments are QEMU's.
func (m *machine) arguments(initramfs string) ([]string, error) {
	o := m.options
	parameters := append([]string{"console=ttyS0", "quiet", "loglevel=4", "panic=-1", "rdinit=/init"}, o.CommandLine...)
	args := []string{
		"-accel", "tcg,thread=multi", "-nodefaults", "-no-user-config", "-display", "none", "-machine", "pc",
		"-cpu", o.CPU, "-smp", strconv.Itoa(o.CPUs), "-m", strconv.Itoa(o.MemoryMiB),
		"-kernel", m.Kernel.Image(), "-initrd", initramfs, "-append", strings.Join(parameters, " "),
		"-serial", "file:" + m.consoleFile(),
		"-chardev", "socket,id=monitor,server=on,wait=off,path=" + filepath.Join(m.own, "monitor"),
		"-mon", "chardev=monitor,mode=control",
		"-chardev", "socket,id=port,server=on,wait=off,path=" + filepath.Join(m.own, "port"),
		"-device", "virtio-serial-pci", "-device", "virtserialport,chardev=port,name=" + wire.Port,
		// A comma in a value is written twice.
		"-virtfs", "local,mount_tag=share,security_model=none,multidevs=remap,path=" + strings.ReplaceAll(m.Dir, ",", ",,"),
	}
	if !o.NoHostRoot {
		args = append(args, "-virtfs", "local,mount_tag=root,readonly=on,security_model=none,multidevs=remap,path=/")
	}
	for i, d := range o.Drives {
		if d.MiB > 0 {
			f, err := os.Create(d.File)
			if err != nil {
				return nil, err
			}
			err = errors.Join(f.Truncate(d.MiB<<20), f.Close())
			if err != nil {
				return nil, err
			}
		}
		drive := fmt.Sprintf("if=none,id=drive%d,format=raw,file=%s", i, strings.ReplaceAll(d.File, ",", ",,"))
		if d.ReadOnly {
			drive += ",readonly=on"
		}
		args = append(args, "-drive", drive, "-device", fmt.Sprintf("virtio-blk-pci,drive=drive%d", i))
	}
	return append(args, o.Args...), nil
}

// dial connects to one of QEMU's sockets, which it makes as it starts.
func (m *machine) dial(name string) (net.Conn, error) {
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("unix", filepath.Join(m.own, name))
		if err == nil {
			return c, nil
		}
		select {
		case <-m.ended:
			return nil, fmt.Errorf("QEMU ended: %v\n%s", m.cmd.ProcessState, &m.output)
		default:
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("connect to QEMU: %w", err)
		}
	}
}

func (m *machine) consoleFile() string { return filepath.Join(m.own, "console") }

// Console returns what the guest has written to its console since it was first
// booted.
func (g *Guest) Console() string {
	b, err := os.ReadFile(g.consoleFile())
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// lastOf returns the end of a text.
func lastOf(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return "…" + s[len(s)-most:]
}
