package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"procdump/kernel/arm"
	"procdump/kernel/settings"
	"procdump/victims/guest"
	"procdump/victims/need"
)

// armedEvent is the event kernelArmed.
type armedEvent struct {
	Event         string
	Kind          string
	Folder        string
	Device        string
	FSType        string
	SetAsideBytes int64
	InitrdBytes   int64
	UnpackedBytes int64
	Modules       []string
	CommandLine   string
	Unit          string
}

// statusEvent is the event kernelStatus.
type statusEvent struct {
	Event  string
	Armed  bool
	Why    string
	Unit   bool
	Loaded *arm.Loaded
	Space  struct {
		File          string
		ReservedBytes int64
		LastCrashTime time.Time
		NeededBytes   int64
		GrownUntil    time.Time
		Pending       bool
		Last          *struct {
			Dump, Small string
			Record      struct {
				Time        time.Time
				Panic       string
				MemoryBytes int64
				Wanted      settings.Kind
				Kind        settings.Kind
				Verified    bool
				Finished    bool
				NoSpace     bool
				NeededBytes int64
				FreeBytes   int64
				Seconds     float64
				Failures    []string
				Log         []string
			}
		}
	}
}

// findEvent finds an event in the output of procdump -json.
func findEvent(t testing.TB, output, name string, into any) {
	t.Helper()
	for line := range strings.Lines(output) {
		var head struct{ Event string }
		if json.Unmarshal([]byte(line), &head) == nil && head.Event == name {
			if err := json.Unmarshal([]byte(line), into); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("no event %s in\n%s", name, output)
}

const guestProcdump = "/usr/local/bin/procdump"

// kernelStatus asks procdump in the guest.
func (g *guestTest) kernelStatus() statusEvent {
	g.t.Helper()
	r := g.Run(guestProcdump, "kernel", "status", "-json")
	if r.Code != 0 {
		g.t.Fatalf("%v", r)
	}
	var s statusEvent
	findEvent(g.t, r.Stdout, "kernelStatus", &s)
	return s
}

// crashLoaded tells what the kernel says.
func (g *guestTest) crashLoaded() bool {
	return strings.TrimSpace(g.Shell("cat /sys/kernel/kexec_crash_loaded")) == "1"
}

// prepareArm does what is gone after each boot. What procdump keeps from one to
// the next is on the disk.
func (g *guestTest) prepareArm() {
	g.t.Helper()
	g.Shell("cp " + binary(g.t) + " " + guestProcdump + "; chmod 755 " + guestProcdump + `; mkdir -p /mnt/disk; mount /dev/vda /mnt/disk
		for f in /etc/procdump /var/lib/procdump; do mkdir -p $f /mnt/disk$f; mount --bind /mnt/disk$f $f; done`)
}

// armKernel runs procdump kernel arm, which has to succeed.
func (g *guestTest) armKernel(args ...string) armedEvent {
	g.t.Helper()
	r := g.Run(append([]string{guestProcdump, "kernel", "arm", "-json"}, args...)...)
	if r.Code != 0 {
		g.t.Fatalf("%v", r)
	}
	var e armedEvent
	findEvent(g.t, r.Stdout, "kernelArmed", &e)
	return e
}

// armBoot does what the unit does when the machine starts, and returns the
// status after that and what was told.
func (g *guestTest) armBoot() (statusEvent, string) {
	g.t.Helper()
	r := g.Run(guestProcdump, "kernel", "arm", "-boot")
	if r.Code != 0 || !g.crashLoaded() {
		g.t.Fatalf("%v", r)
	}
	s := g.kernelStatus()
	if s.Space.Last == nil || s.Space.Pending || !s.Armed {
		g.t.Fatalf("status %+v", s)
	}
	return s, r.Stdout
}

// TestKernelArm arms a guest, lets it crash, and asks after the boot what became
// of the dump.
func TestKernelArm(t *testing.T) {
	t.Parallel()
	need.Tool(t, "makedumpfile")
	disk, raw := filepath.Join(t.TempDir(), "disk"), filepath.Join(t.TempDir(), "raw")
	command(t, need.Tool(t, "mkfs.ext4"), "-q", disk, "1G")
	g := bootGuest(t, guest.Options{
		MemoryMiB: 512, Limit: 10 * time.Minute, Modules: []string{"ext4"}, CommandLine: []string{"crashkernel=96M"},
		Drives: []guest.Drive{{File: disk}, {File: raw, MiB: 256}},
	})
	g.prepareArm()
	g.run("refused", func(g *guestTest) { g.testArmRefused() })
	g.run("arm", func(g *guestTest) { g.testArm() })
	g.run("unit", func(g *guestTest) { g.testArmUnit() })
	if t.Failed() {
		return
	}
	g.run("crash", func(g *guestTest) {
		g.Shell(guestProcdump + " kernel config compression=zlib") // Debian's makedumpfile knows no zstd
		g.testArmCrash("/mnt/disk/crash", "automatic")
		dump := g.kernelStatus().Space.Last.Dump
		if t.Failed() {
			return
		}
		g.Shell("makedumpfile --dump-dmesg " + dump + " " + g.Dir + "/dmesg")
		if log := g.Shell("cat " + g.Dir + "/dmesg"); !strings.Contains(log, "sysrq: Trigger a crash") {
			g.t.Errorf("the log of the dump does not tell of the crash:\n%s", cut(log))
		}
	})
	if t.Failed() {
		return
	}
	g.run("full disk", func(g *guestTest) { g.testArmFull() })
	if t.Failed() {
		return
	}
	g.run("device", func(g *guestTest) { g.testArmCrash("/dev/vdb -o", "kernel") })
}

// testArmRefused: each cause has its error, and nothing is loaded.
func (g *guestTest) testArmRefused() {
	refuse := func(code int, text, script string) {
		g.t.Helper()
		r := g.Run("sh", "-c", script, guestProcdump)
		if r.Code != code || !strings.Contains(r.Stderr, text) {
			g.t.Errorf("%s: want code %d and %q in %v", script, code, text, r)
		}
		if g.crashLoaded() {
			g.t.Errorf("%s: a crash kernel is loaded", script)
		}
	}
	refuse(4, "run procdump as root", `exec setpriv --reuid 65534 --clear-groups "$0" kernel arm -to /mnt/disk`)
	refuse(1, "overlay", `exec "$0" kernel arm`)
	refuse(1, "in memory", `mkdir -p /mem; mount -t tmpfs tmpfs /mem; exec "$0" kernel arm -to /mem/dumps`)
	refuse(1, "folder of the host", `exec "$0" kernel arm -to `+g.Dir)
	refuse(1, "is mounted at /mnt/disk", `exec "$0" kernel arm -to /dev/vda`)
	refuse(1, "wipefs -a /dev/vdb", `mkfs.ext4 -q /dev/vdb; "$0" kernel arm -to /dev/vdb; code=$?; wipefs -qa /dev/vdb; exit $code`)
	refuse(1, "give -o", `exec "$0" kernel arm -to /dev/vdb`) // what wipefs has left
	refuse(2, "not confirmed", `echo other | "$0" kernel arm -test -to /mnt/disk`)
	refuse(2, "not confirmed", `exec "$0" kernel arm -test -to /mnt/disk </dev/null`)
	refuse(2, "is no kind", `exec "$0" kernel arm -type full -to /mnt/disk`)
	if s := g.kernelStatus(); s.Armed || !strings.Contains(s.Why, "has not been run") {
		g.t.Errorf("status %+v", s)
	}
	g.Shell("test ! -e " + settings.File)
}

// testArm arms, replaces and disarms.
func (g *guestTest) testArm() {
	e := g.armKernel("-to", "/mnt/disk/a/b")
	g.t.Logf("initrd of %d KB, %d KB unpacked; %s; %v; %d MB set aside", e.InitrdBytes>>10, e.UnpackedBytes>>10, e.CommandLine, e.Modules, e.SetAsideBytes>>20)
	if !g.crashLoaded() || e.Kind != "automatic" || e.Folder != "/mnt/disk/a/b" || e.FSType != "ext4" || !strings.HasPrefix(e.Device, "UUID=") || e.SetAsideBytes == 0 {
		g.t.Errorf("armed: %+v", e)
	}
	for _, m := range []string{"virtio_pci", "virtio_blk", "ext4"} {
		if !strings.Contains(" "+strings.Join(e.Modules, " ")+" ", " "+m+" ") {
			g.t.Errorf("module %s is not in %v", m, e.Modules)
		}
	}
	s := g.kernelStatus()
	if !s.Armed || s.Loaded == nil || s.Loaded.Plan.Target.Folder != "/a/b" || s.Loaded.Plan.ReservedFile == "" || s.Space.ReservedBytes != e.SetAsideBytes {
		g.t.Errorf("status %+v", s)
	}
	// Again, with what has been saved.
	if again := g.armKernel("-type", "kernel"); again.Folder != e.Folder || again.Kind != "kernel" {
		g.t.Errorf("armed again: %+v", again)
	}
	if r := g.Run(guestProcdump, "kernel", "disarm"); r.Code != 0 || g.crashLoaded() {
		g.t.Errorf("disarm: %v", r)
	}
	if s := g.kernelStatus(); s.Armed || s.Space.ReservedBytes != 0 {
		g.t.Errorf("status %+v", s)
	}
	// That of another program.
	g.Shell("cp /boot/vmlinuz-" + g.Kernel.Release + " /tmp/image; echo nothing >/tmp/nothing")
	if r := g.Run("python3", "-c", loadCrashKernel, "/tmp/image", "/tmp/nothing", "quiet"); r.Code != 0 {
		g.t.Fatalf("%v", r)
	}
	if r := g.Run(guestProcdump, "kernel", "arm"); r.Code != 1 || !strings.Contains(r.Stderr, "another crash kernel is loaded") {
		g.t.Errorf("%v", r)
	}
	if s := g.kernelStatus(); s.Armed || !strings.Contains(s.Why, "-o replaces it") {
		g.t.Errorf("status %+v", s)
	}
	g.armKernel("-o")
	if s := g.kernelStatus(); !s.Armed {
		g.t.Errorf("status %+v", s)
	}
}

// testArmUnit: where systemd runs, each boot does it again.
func (g *guestTest) testArmUnit() {
	g.Shell("mkdir -p /run/systemd/system")
	r := g.Run(guestProcdump, "kernel", "arm")
	if r.Code != 0 || !strings.Contains(r.Stdout, arm.UnitName) {
		g.t.Fatalf("%v", r)
	}
	unit := g.Shell("cat /etc/systemd/system/sysinit.target.wants/" + arm.UnitName)
	if !strings.Contains(unit, "ExecStart="+guestProcdump+" kernel arm -boot\n") || !strings.Contains(unit, "RequiresMountsFor=/mnt/disk/a/b\n") {
		g.t.Errorf("unit:\n%s", unit)
	}
	if s := g.kernelStatus(); !s.Unit {
		g.t.Errorf("status %+v", s)
	}
	// A program that others can change is not run as root.
	if r := g.Run("sh", "-c", "cp "+guestProcdump+" /tmp/procdump; exec /tmp/procdump kernel arm"); r.Code != 4 || !strings.Contains(r.Stderr, "/tmp can be written by others") {
		g.t.Errorf("%v", r)
	}
	if r := g.Run(guestProcdump, "kernel", "disarm"); r.Code != 0 || !strings.Contains(r.Stdout, arm.UnitName+" is removed") {
		g.t.Errorf("%v", r)
	}
	g.Shell("rmdir /run/systemd/system; ! ls /etc/systemd/system/*/" + arm.UnitName)
}

// testArmCrash crashes the guest with arm -test and has the next boot tell what
// became of it.
func (g *guestTest) testArmCrash(to, kind string) {
	host := strings.TrimSpace(g.Shell("hostname"))
	p := g.Start(guest.Command{Args: []string{"sh", "-c", fmt.Sprintf("%s kernel arm -test -type %s -to %s", guestProcdump, kind, to)}})
	to, _, _ = strings.Cut(to, " ")
	p.Await("Type the host's name")
	before, boots := time.Now(), g.Boots()
	p.Input(host + "\n")
	g.AwaitBoot(boots + 1)
	g.t.Logf("%v from the confirmation to the next boot", time.Since(before))
	g.prepareArm()
	s, _ := g.armBoot()
	last := s.Space.Last
	g.t.Logf("%+v", last)
	if rec := last.Record; !rec.Finished || !rec.Verified || string(rec.Kind) != kind || len(rec.Failures) > 0 || rec.Panic == "" {
		g.t.Errorf("record %+v", rec)
	}
	if last.Dump == "" || last.Small == "" || !strings.HasPrefix(last.Dump, to) {
		g.t.Errorf("dumps %q and %q", last.Dump, last.Small)
	}
	text := g.Run(guestProcdump, "kernel", "status").Stdout
	if !strings.Contains(text, "Armed             yes") || !strings.Contains(text, "the kernel crashed at ") {
		g.t.Errorf("status:\n%s", text)
	}
	g.t.Logf("%s", text)
}
