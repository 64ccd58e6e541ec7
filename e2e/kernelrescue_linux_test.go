package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"procdump/internal/packed"
	"procdump/kernel/initrd"
	"procdump/kernel/modfile"
	"procdump/kernel/rescue"
	"procdump/kernel/settings"
	"procdump/kernel/superblock"
	"procdump/victims/guest"
	"procdump/victims/need"
)

// moduleFiles are the files of modules and of all that they need, in the order
// to load them in (modules.dep(5)).
func moduleFiles(t testing.TB, k guest.Kernel, names ...string) []string {
	t.Helper()
	table, err := os.ReadFile(filepath.Join(k.Modules(), "modules.dep"))
	if err != nil {
		t.Fatal(err)
	}
	needs := map[string][]string{}
	for line := range strings.Lines(string(table)) {
		file, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		all := strings.Fields(rest)
		slices.Reverse(all)
		needs[modfile.Name(file)] = append(all, file)
	}
	var files []string
	for _, n := range names {
		for _, f := range needs[n] {
			if !slices.Contains(files, f) {
				files = append(files, f)
			}
		}
	}
	return files
}

// rescueProgram is the program of crash kernels, as procdump has it in it.
func rescueProgram(t testing.TB) []byte {
	t.Helper()
	return packed.Read(t, "../kernel/arm/program/rescue.gz")
}

// writeInitrd makes the first file system of a crash kernel.
func writeInitrd(t testing.TB, file string, k guest.Kernel, p rescue.Plan, modules ...string) {
	t.Helper()
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	a := initrd.NewCompressed(out)
	add := func(name string, mode uint32, from string) {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		a.AddBytes(name, mode, b)
	}
	a.AddBytes("/init", 0o755, rescueProgram(t))
	a.AddDevice("/dev/console", 0o600, 5, 1)
	a.AddDevice("/dev/null", 0o666, 1, 3)
	for _, m := range moduleFiles(t, k, modules...) {
		add(filepath.Join(rescue.ModuleFolder, m), 0o644, filepath.Join(k.Modules(), m))
		p.Modules = append(p.Modules, rescue.Module{File: m})
	}
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	a.AddBytes(rescue.PlanFile, 0o600, b)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
}

// loadCrashKernel is a script of Python: kernel, initrd, command line. Flag 2 is
// KEXEC_FILE_ON_CRASH.
const loadCrashKernel = `
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
kernel, initrd = os.open(sys.argv[1], os.O_RDONLY), os.open(sys.argv[2], os.O_RDONLY)
line = sys.argv[3].encode() + b"\0"
if libc.syscall(320, kernel, initrd, ctypes.c_ulong(len(line)), line, ctypes.c_ulong(2)) != 0:
    sys.exit("kexec_file_load: " + os.strerror(ctypes.get_errno()))
`

// armed loads a crash kernel that carries out a plan.
func (g *guestTest) armed(p rescue.Plan, modules ...string) {
	g.t.Helper()
	file := filepath.Join(g.Dir, "initrd")
	writeInitrd(g.t, file, g.Kernel, p, modules...)
	line := "console=ttyS0 quiet loglevel=4 panic=10 nr_cpus=1 reset_devices initcall_blacklist=tracer_init_tracefs rootfstype=ramfs irqpoll cgroup_disable=memory numa=off novmcoredd rdinit=/init"
	r := g.Run("python3", "-c", loadCrashKernel, fmt.Sprintf("/boot/vmlinuz-%s", g.Kernel.Release), file, line)
	if r.Code != 0 {
		g.t.Fatalf("%v", r)
	}
}

// kernelCrash is one crash of a guest and what is expected of it.
type kernelCrash struct {
	name   string
	kind   settings.Kind
	fsType string
	drive  string // /dev/vda, …
	pack   string // compression
	cause  func(g *rescueTest)
	// panics is in the panic message, says in what crash(8) makes of it; frames are in the crashed task's backtrace,
	// comm is its name.
	panics string
	says   string
	frames []string
	comm   string // "": who needed memory
	// uses are those of pages that are marked: what the crash leaves as it was.
	// A module is marked with them.
	uses []string
	// reserved is how many MiB are set aside for the dump.
	reserved int64
	full     bool // nothing but the small dump finds room
}

var oomInvoker = regexp.MustCompile(`(\S+) invoked oom-killer: `)

var kernelCrashes = []kernelCrash{
	{name: "sysrq", kind: settings.Kernel, fsType: "ext4", drive: "/dev/vda", pack: "none", cause: (*rescueTest).sysrq,
		panics: "sysrq", says: "sysrq", frames: []string{"sysrq_handle_crash", "vfs_write"}, comm: "sh", uses: pageUses},
	{name: "module", kind: settings.Complete, fsType: "xfs", drive: "/dev/vdb", pack: "snappy", cause: (*rescueTest).nullModule,
		panics: "NULL pointer dereference", says: "Oops: ", frames: []string{"nullderef_inner", "nullderef_outer"}, comm: "python3", uses: pageUses},
	{name: "hung task", kind: settings.Active, fsType: "btrfs", drive: "/dev/vdc", pack: "zstd", cause: (*rescueTest).hungTask,
		panics: "hung_task: blocked tasks", says: "hung_task: blocked tasks", frames: []string{"watchdog"}, comm: "khungtaskd", uses: pageUses},
	{name: "out of memory", kind: settings.Automatic, fsType: "vfat", drive: "/dev/vdd", pack: "none", cause: (*rescueTest).outOfMemory,
		panics: "ut of memory", says: "ut of memory", frames: []string{"out_of_memory"},
		uses: []string{"hugetlb", "hugetlbfs", "hugefree", "slab"}, reserved: 150},
	{name: "full disk", kind: settings.Complete, fsType: "ext4", drive: "/dev/vda", pack: "none", cause: (*rescueTest).sysrq,
		panics: "sysrq", comm: "sh", full: true},
}

// rescueTest is a guest that crashes.
type rescueTest struct{ *guestTest }

// TestRescue has a kernel crash in several ways, again and again, and judges
// what its crash kernel, of 96 MiB, leaves in file systems.
func TestRescue(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"drgn", "makedumpfile", "python3", "gcc", "taskset", "mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", "mkfs.vfat", "fsfreeze"} {
		need.Tool(t, tool)
	}
	folder := t.TempDir()
	var drives []guest.Drive
	for _, d := range []struct {
		name string
		mib  int64
		make []string
	}{
		{"ext4", 200, []string{"mkfs.ext4", "-q"}},
		{"xfs", 320, []string{"mkfs.xfs", "-q"}},
		{"btrfs", 320, []string{"mkfs.btrfs", "-q"}},
		{"vfat", 200, []string{"mkfs.vfat"}},
	} {
		file := filepath.Join(folder, d.name)
		command(t, "truncate", "-s", fmt.Sprintf("%dM", d.mib), file)
		command(t, d.make[0], append(d.make[1:], file)...)
		drives = append(drives, guest.Drive{File: file})
	}
	pagesProgram(t)
	g := bootGuest(t, guest.Options{MemoryMiB: 512, Drives: drives, CommandLine: []string{"crashkernel=96M"}, Limit: 5 * time.Minute})
	for _, c := range kernelCrashes {
		g.run(c.name, func(g *guestTest) { (&rescueTest{g}).test(c, g.Boots()+1) })
	}
}

// TestRescueDevice has the newest kernel crash twice, with dumps that go to a
// device without a file system.
func TestRescueDevice(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"drgn", "makedumpfile", "python3", "gcc", "taskset"} {
		need.Tool(t, tool)
	}
	const size = 256 << 20
	disk := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mark := superblock.NewMark()
	if err := errors.Join(f.Truncate(size), mark.Write(f, size)); err != nil {
		t.Fatal(err)
	}
	pagesProgram(t)
	g := bootGuest(t, guest.Options{Kernel: "newest", MemoryMiB: 512, Drives: []guest.Drive{{File: disk}}, Limit: 5 * time.Minute,
		CommandLine: []string{"crashkernel=128M"}})
	p := rescue.Plan{Target: rescue.Target{Device: "UUID=" + mark.UUID}, Settings: settings.Default()}
	p.Settings.Kind = settings.Small
	g.armed(p, "virtio_pci", "virtio_blk")
	g.Crash()
	g.AwaitBoot(2)
	r, small, err := rescue.ReadTail(f, size)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Finished || r.Kind != settings.Small || len(r.Failures) > 0 || len(small) < 16<<10 || !bytes.HasPrefix(small, []byte("\x7fELF")) {
		t.Errorf("record %+v, small dump of %d bytes", r, len(small))
	}

	g.LoadModule("kvm")
	g.LoadModule("ext4")
	all, owner := g.mark("/tmp", "anon", "shmem", "hugetlb", "hugetlbfs", "hugefree", "slab", "free")
	log := g.Shell("dmesg")
	p.Settings.Kind, p.Settings.Compression, p.Settings.Reboot = settings.Kernel, "snappy", false
	g.armed(p, "virtio_pci", "virtio_blk")
	g.Crash()
	g.AwaitOff()
	if r, small, err = rescue.ReadTail(f, size); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes, %d pages in %.1f s with %d KiB: %s", r.SizeBytes, r.Pages, r.Seconds, r.ResidentBytes>>10, strings.Join(r.Log, "\n"))
	if !r.Finished || !r.Verified || r.Kind != settings.Kernel || len(r.Failures) > 0 || len(small) < 16<<10 || r.File != "/dev/vda" {
		t.Errorf("record %+v, small dump of %d bytes", r, len(small))
	}
	wantLog(t, disk, log)
	wantMarks(t, disk, "kernel", all.still(t, disk))
	wantKernel(t, g.Dir, disk, owner.PID)
}

// test crashes the guest and judges the dump when it has come up for the nth
// time.
func (g *rescueTest) test(c kernelCrash, nth int) {
	p := rescue.Plan{Target: rescue.Target{Device: "/dev/" + filepath.Base(c.drive), FSType: c.fsType, Folder: "/crash/dumps"}}
	small := p.Target
	small.Folder = "/small"
	p.SmallTarget = &small
	p.Settings = settings.Default()
	p.Settings.Kind, p.Settings.Compression = c.kind, c.pack
	g.loadFileSystem(c.fsType)
	g.Shell("mkdir -p /disk; mount -t " + c.fsType + " " + c.drive + " /disk; mkdir -p /disk/crash/dumps")
	if c.reserved > 0 {
		p.ReservedFile, p.Reserved = "/crash/.reserved", c.reserved<<20
		g.Shell(fmt.Sprintf("dd if=/dev/zero of=/disk/crash/.reserved bs=1M count=%d 2>&1; sync", c.reserved))
	}
	if c.full {
		g.Shell(`rm -f /disk/crash/dumps/*; rm -f /disk/small/*
			dd if=/dev/zero of=/disk/fill bs=1M 2>&1 || true; truncate -s -8M /disk/fill; sync`)
	}
	g.LoadModule("ext4")
	var all marks
	pid := 0
	if c.uses != nil {
		g.LoadModule("kvm-amd")
		g.Shell("cd /proc/sys/vm; echo 0 >dirty_writeback_centisecs; echo 360000 >dirty_expire_centisecs; echo 100 >dirty_ratio; echo 99 >dirty_background_ratio; echo 1000000 >percpu_pagelist_high_fraction")
		var owner *guest.Process
		all, owner = g.mark("/disk", c.uses...)
		pid = owner.PID
	}
	log := g.Shell("dmesg")
	modules := strings.Fields(g.Shell("cut -d' ' -f1 /proc/modules"))
	g.armed(p, append([]string{"virtio_pci", "virtio_blk"}, fileSystemModules[c.fsType]...)...)
	c.cause(g)
	g.AwaitBoot(nth)

	g.loadFileSystem(c.fsType)
	out := filepath.Join(g.Dir, fmt.Sprint(nth))
	g.Shell("mkdir -p /disk; mount -t " + c.fsType + " " + c.drive + " /disk; mkdir " + out + "; cp -r /disk/crash /disk/small " + out + "; ls -laR /disk; umount /disk")
	b, err := os.ReadFile(filepath.Join(out, "crash/dumps", rescue.RecordName))
	if err != nil {
		g.t.Fatalf("%v\n%s", err, cut(g.Console()))
	}
	r, err := rescue.ParseRecord(b)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Logf("%s of %d bytes, %d pages in %.1f s with %d KiB: %s", r.Kind, r.SizeBytes, r.Pages, r.Seconds, r.ResidentBytes>>10, strings.Join(r.Log, "\n"))
	if !r.Finished || !strings.Contains(r.Panic, c.panics) || r.Release != g.Kernel.Release || r.Time.IsZero() || r.ResidentBytes > maxResident<<10 {
		g.t.Errorf("record %+v", r)
	}
	if st, err := os.Stat(out + r.Small); err != nil || st.Size() != r.SmallSizeBytes || st.Size() > 64<<10 || st.Size() < 16<<10 {
		g.t.Errorf("small dump %q: %v", r.Small, err)
	}
	if c.comm == "" {
		// Who needed memory at that moment, as the kernel says (mm/oom_kill.c,
		// dump_header).
		m := oomInvoker.FindStringSubmatch(ownLog(g.t, out+r.File))
		if m == nil {
			g.t.Fatal("the log does not say who needed memory")
		}
		c.comm = m[1]
	}
	if c.name == "sysrq" {
		wantSmallCrash(g.t, out+r.Small, r.Release, c.panics, c.comm, c.frames...)
	}
	if c.full {
		g.wantFull(c, r, out)
		return
	}
	if !r.Verified || len(r.Failures) > 0 || r.Kind != c.kind || r.NoSpace || r.File != "/crash/dumps/vmcore.kdump" {
		g.t.Errorf("record %+v", r)
	}
	if _, err := os.Stat(out + p.ReservedFile); c.reserved > 0 && err == nil {
		g.t.Error("the reserved file is still there")
	}
	file := out + r.File
	wantLog(g.t, file, log)
	if c.uses != nil {
		all.wantNone(g.t, out+r.Small)
		wantMarks(g.t, file, string(c.kind), all.still(g.t, file))
		wantKernel(g.t, g.Dir, file, pid)
	}
	if c.kind == settings.Kernel {
		g.wantFiltered(file, r.Pages)
	}
	g.wantCrash(c, file, modules)
}

// fileSystemModules are what file systems need beyond the modules that they
// name as needed.
var fileSystemModules = map[string][]string{
	"ext4": {"crc32c_generic", "ext4"}, "xfs": {"xfs", "crc32c_generic"}, "btrfs": {"btrfs", "crc32c_generic"},
	"vfat": {"vfat", "nls_ascii", "nls_cp437"},
}

// loadFileSystem loads the modules of a file system.
func (g *rescueTest) loadFileSystem(name string) {
	g.t.Helper()
	g.LoadModule(name)
	if name == "vfat" {
		g.LoadModule("nls_ascii")
		g.LoadModule("nls_cp437")
	}
}

// wantFull: the disk had no room for any kind.
func (g *rescueTest) wantFull(c kernelCrash, r *rescue.Record, out string) {
	if !r.NoSpace || r.Kind != "" || r.File != "" || r.NeededBytes < 100<<20 || r.FreeBytes > 16<<20 || len(r.Failures) != 3 || r.Wanted != c.kind {
		g.t.Errorf("record %+v", r)
	}
	left, err := filepath.Glob(out + "/crash/dumps/vmcore*")
	small, err2 := filepath.Glob(out + "/small/*")
	if err != nil || err2 != nil || len(left) != 0 || len(small) != 1 || !slices.Contains(small, out+r.Small) {
		g.t.Errorf("dumps %v, small ones %v", left, small)
	}
}

// wantFiltered: makedumpfile finds nothing in the dump that it would leave out.
func (g *rescueTest) wantFiltered(file string, pages uint64) {
	out := filepath.Join(g.t.TempDir(), "filtered")
	command(g.t, "makedumpfile", "-l", "-d", "31", file, out)
	if n := pagesIn(g.t, out); n != pages {
		g.t.Errorf("makedumpfile -d 31 leaves %d pages of %d", n, pages)
	}
}

// crashedTask is a script of drgn: who crashed, and where.
const crashedTask = `
t = prog.crashed_thread()
print("CRASHED", t.object.comm.string_().decode())
print(t.stack_trace())
`

// wantCrash has crash(8) and drgn tell who crashed where, and crash list the
// modules.
func (g *rescueTest) wantCrash(c kernelCrash, file string, modules []string) {
	g.t.Helper()
	image := vmlinux(g.Kernel.Release)
	if image == "" {
		g.t.Logf("not judged with symbols: no vmlinux-%s", g.Kernel.Release)
		return
	}
	out, err := crashTool(g.t, image, file, "sys\nbt\nmod")
	if err != nil {
		g.t.Error(err)
	}
	for _, want := range append([]string{c.says, `COMMAND: "` + c.comm + `"`, "RELEASE: " + g.Kernel.Release}, append(modules, c.frames...)...) {
		if !strings.Contains(out, want) {
			g.t.Errorf("crash says nothing of %q:\n%s", want, cut(out))
		}
	}
	script := filepath.Join(g.t.TempDir(), "crashed.py")
	if err := os.WriteFile(script, []byte(crashedTask), 0o600); err != nil {
		g.t.Fatal(err)
	}
	out = command(g.t, "drgn", "-q", "-c", file, "-s", image, script)
	if want := "CRASHED " + c.comm + "\n"; !strings.Contains(out, want) {
		g.t.Errorf("drgn says\n%s", cut(out))
	}
	for _, f := range c.frames {
		if !strings.Contains(out, f) && !strings.HasPrefix(f, "nullderef") { // drgn has no symbols of the module
			g.t.Errorf("drgn has no %s in\n%s", f, cut(out))
		}
	}
}

// panicSoon starts a shell's commands that make the kernel crash.
func (g *rescueTest) panicSoon(script string, args ...string) {
	g.t.Helper()
	g.Start(guest.Command{Args: append([]string{"sh", "-c", script, "sh"}, args...)})
}

func (g *rescueTest) sysrq() { g.Crash() }

// hungTask has a process wait for a file system that is frozen.
func (g *rescueTest) hungTask() {
	g.LoadModule("ext4")
	// Not the file system with the marks: what is frozen is written to disk before.
	g.Shell("mkdir -p /frozen; mount /dev/vda /frozen")
	g.panicSoon("cd /proc/sys/kernel; echo 1 >hung_task_panic; echo 4 >hung_task_timeout_secs; fsfreeze -f /frozen; exec dd if=/dev/zero of=/frozen/file count=1")
}

func (g *rescueTest) outOfMemory() {
	g.panicSoon(`echo 1 >/proc/sys/vm/panic_on_oom; exec python3 -c '
l = []
while True: l.append(b"x" * (1 << 20))'`)
}

// nullModule loads a module that follows a null pointer.
func (g *rescueTest) nullModule() {
	g.panicSoon(`echo 1 >/proc/sys/kernel/panic_on_oops; exec python3 -c "$1" "$2"`, loadModule, g.buildModule("nullderef"))
}
