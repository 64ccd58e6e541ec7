package guest

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"procdump/victims/need"
)

func needLong(t *testing.T) {
	t.Helper()
	if !need.Long() {
		t.Skip("a guest takes seconds to boot: only with PROCDUMP_LONG=1")
	}
}

// TestArchive has another program read the archives.
func TestArchive(t *testing.T) {
	busybox := need.Tool(t, "busybox")
	var b bytes.Buffer
	c := &cpioWriter{w: &b}
	want := map[string]string{"a": "", "b/c/d": "1", "b/c/e": "12345", "b/name with blank": strings.Repeat("x", 4099)}
	for _, name := range []string{"a", "b/c/d", "b/c/e", "b/name with blank"} {
		c.file("/"+name, []byte(want[name]))
	}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command(busybox, "cpio", "-i")
	cmd.Dir, cmd.Stdin = dir, &b
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, content := range want {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != content {
			t.Errorf("%s holds %q, want %q: %v", name, got, content, err)
		}
	}
}

func TestModuleOrder(t *testing.T) {
	k := Kernel{Folder: t.TempDir(), Release: "1"}
	if err := os.MkdirAll(k.Modules(), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"modules.dep":     "a/top.ko.xz: a/middle-one.ko a/low.ko\na/middle-one.ko: a/low.ko\na/low.ko:\nb/other.ko: a/low.ko\n",
		"modules.builtin": "c/in.ko\n",
	} {
		if err := os.WriteFile(filepath.Join(k.Modules(), name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := k.moduleFiles("other", "in", "top", "middle_one")
	if want := []string{"a/low.ko", "b/other.ko", "a/middle-one.ko", "a/top.ko.xz"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("files %v, want %v: %v", got, want, err)
	}
	if _, err := k.moduleFiles("absent"); err == nil || !strings.Contains(err.Error(), "absent") {
		t.Errorf("a module that is not there: %v", err)
	}
}

func TestGuest(t *testing.T) {
	needLong(t)
	drive := filepath.Join(t.TempDir(), "drive, raw")
	g := Boot(t, Options{CommandLine: []string{"psi=1"}, Drives: []Drive{{File: drive, MiB: 8}}})

	t.Run("programs", func(t *testing.T) {
		g := g.With(t)
		if r := g.Run("sh", "-c", "uname -r; echo to stderr >&2; exit 3"); r.Code != 3 || strings.TrimSpace(r.Stdout) != g.Kernel.Release || r.Stderr != "to stderr\n" {
			t.Errorf("shell: %v", r)
		}
		if r := g.Run("sh", "-c", "kill -SEGV $$"); r.Signal != syscall.SIGSEGV || r.Code != 139 {
			t.Errorf("killed shell: %v", r)
		}
		p := g.Start(Command{Args: []string{"sh", "-c", "read a; echo got $a; sleep 100"}, Env: []string{"X=1"}, Dir: "/usr"})
		p.Input("word\n")
		p.Await("got word")
		if cwd := g.Run("readlink", "/proc/"+strconv.Itoa(p.PID)+"/cwd").Stdout; cwd != "/usr\n" {
			t.Errorf("working directory %q", cwd)
		}
		p.Signal(syscall.SIGTERM)
		if r := p.Wait(); r.Signal != syscall.SIGTERM {
			t.Errorf("after SIGTERM: %v", r)
		}
		big := g.Run("sh", "-c", "yes 0123456789abcde | head -c 4000000")
		if len(big.Stdout) != 4000000 {
			t.Errorf("%d bytes of output, want 4,000,000", len(big.Stdout))
		}
	})

	t.Run("files", func(t *testing.T) {
		g := g.With(t)
		in, out := filepath.Join(g.Dir, "in"), filepath.Join(g.Dir, "out")
		if err := os.WriteFile(in, []byte("from the host"), 0o600); err != nil {
			t.Fatal(err)
		}
		// What a guest changes of the host's files stays in the guest.
		mark := filepath.Join(filepath.Dir(drive), "mark")
		g.Shell("cat " + in + " >" + out + "; echo changed >" + mark + "; cat " + mark + "; dd if=/dev/zero of=" + out + ".big bs=1M count=32 2>&1")
		if got, err := os.ReadFile(out); string(got) != "from the host" {
			t.Errorf("file from the guest: %q, %v", got, err)
		}
		if st, err := os.Stat(out + ".big"); err != nil || st.Size() != 32<<20 {
			t.Errorf("big file from the guest: %v, %v", st, err)
		}
		if _, err := os.Stat(mark); !os.IsNotExist(err) {
			t.Errorf("the guest wrote to the host: %v", err)
		}
		g.Shell("echo on the drive | dd of=/dev/vda conv=fsync 2>&1")
		if b, err := os.ReadFile(drive); err != nil || len(b) != 8<<20 || !bytes.HasPrefix(b, []byte("on the drive\n")) {
			t.Errorf("drive holds %d bytes, %q: %v", len(b), lastOf(string(b[:32]), 32), err)
		}
	})

	t.Run("modules", func(t *testing.T) {
		g := g.With(t)
		g.LoadModule("crc32c_generic")
		g.LoadModule("ext4")
		if got := g.Shell("grep -w ext4 /proc/filesystems"); !strings.Contains(got, "ext4") {
			t.Errorf("file systems: %q", got)
		}
	})

	t.Run("memory", func(t *testing.T) {
		g := g.With(t)
		file := filepath.Join(g.Dir, "memory")
		g.DumpMemory(file)
		f, err := elf.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var size uint64
		for _, p := range f.Progs {
			if p.Type == elf.PT_LOAD {
				size += p.Memsz
			}
		}
		if size < 1<<30 {
			t.Errorf("the dump holds %d bytes of memory, want 1 GiB", size)
		}
	})

	t.Run("crash", func(t *testing.T) {
		g := g.With(t)
		g.Shell("echo lost >/in-memory")
		p := g.Start(Command{Args: []string{"sleep", "1000"}})
		g.Crash()
		g.AwaitConsole("sysrq triggered crash")
		g.AwaitBoot(2)
		if !g.await(g.options.Limit, func() bool { return p.done }) || p.err != errRebooted {
			t.Errorf("a program of before the crash: %v", p.err)
		}
		if r := g.Run("cat", "/in-memory"); r.Code == 0 {
			t.Error("what was in memory is still there after the crash")
		}
		g.Reset()
		g.AwaitBoot(3)
	})

	t.Run("off", func(t *testing.T) {
		g := g.With(t)
		g.Start(Command{Args: []string{"sh", "-c", "echo o >/proc/sysrq-trigger"}})
		g.AwaitOff()
	})
}

// TestGuestNewestKernel boots the newest kernel, whose modules are compressed,
// with cgroup v1 and nothing of the host's.
func TestGuestNewestKernel(t *testing.T) {
	needLong(t)
	busybox := need.Tool(t, "busybox")
	g := Boot(t, Options{Kernel: "newest", CgroupV1: true, NoHostRoot: true, CPU: "qemu64", CPUs: 1, MemoryMiB: 512,
		Files: map[string]string{"/bin/sh": busybox, "/bin/busybox": busybox}})
	out := g.Shell("busybox uname -r; busybox ls /sys/fs/cgroup; busybox ls /; busybox ping -c 1 127.0.0.1")
	for _, want := range []string{g.Kernel.Release, "cpuacct", "guest.json", "1 packets received"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "home") {
		t.Errorf("the host's files are there:\n%s", out)
	}
}
