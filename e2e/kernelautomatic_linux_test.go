package e2e

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"procdump/kernel/settings"
	"procdump/kernel/space"
)

// number runs a shell's commands that write a number.
func (g *guestTest) number(script string) int64 {
	g.t.Helper()
	out := g.Shell(script)
	n, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		g.t.Fatalf("%s: %q", script, out)
	}
	return n
}

// fill leaves so many MiB of the disk free.
func (g *guestTest) fill(mib int) {
	g.t.Helper()
	g.Shell(fmt.Sprintf(`fallocate -l $(($(df --output=avail -B1M /mnt/disk | tail -n 1) - %d))M /mnt/disk/fill; sync`, mib))
}

// crashArmed has the guest crash, and returns once it has booted again and its
// disk is mounted.
func (g *guestTest) crashArmed() {
	g.t.Helper()
	next := g.Boots() + 1
	g.Crash()
	g.AwaitBoot(next)
	g.prepareArm()
}

// testArmFull has a dump of kind automatic find no room, after one that did. The
// next boot says so, and there is room for the next one.
func (g *guestTest) testArmFull() {
	const folder = "/mnt/disk/full"
	if r := g.Run(guestProcdump, "kernel", "disarm"); r.Code != 0 {
		g.t.Fatalf("%v", r) // it gives back what is set aside
	}
	g.fill(8)
	r := g.Run(guestProcdump, "kernel", "arm", "-type", "automatic", "-to", folder)
	if r.Code != 0 || !strings.Contains(r.Stderr, "make room in "+folder) {
		g.t.Fatalf("%v", r)
	}
	if s := g.kernelStatus(); !s.Armed || s.Space.ReservedBytes != 0 || !s.Space.LastCrashTime.IsZero() {
		g.t.Errorf("status %+v", s)
	}
	before := g.number("date +%s")
	g.crashArmed()

	if s := g.kernelStatus(); !s.Space.Pending || s.Armed {
		g.t.Errorf("status before the record is taken: %+v", s)
	}
	s, told := g.armBoot()
	last := s.Space.Last
	g.t.Logf("%+v", last)
	rec := &last.Record
	if at := rec.Time.Unix(); at < before || at > g.number("date +%s") {
		g.t.Errorf("time of the crash is %v", rec.Time)
	}
	if !rec.Finished || !rec.NoSpace || rec.Wanted != settings.Automatic || rec.Kind != "" || rec.NeededBytes <= rec.FreeBytes || rec.FreeBytes > 16<<20 || last.Dump != "" {
		g.t.Errorf("record %+v, dump %q", rec, last.Dump)
	}
	if !s.Space.LastCrashTime.Equal(rec.Time) || s.Space.NeededBytes != rec.NeededBytes || !s.Space.GrownUntil.Equal(rec.Time.Add(space.FourWeeks)) {
		g.t.Errorf("space %+v", s.Space)
	}
	g.wantFullText(rec.Time, last.Small, told)
	if names := strings.Fields(g.Shell("cd " + folder + "; find . -type f")); len(names) != 1 || filepath.Join(folder, names[0]) != last.Small {
		g.t.Errorf("files %v, want the small dump %s", names, last.Small)
	}
	small := filepath.Join(g.Dir, "small.elf")
	g.Shell("cp " + last.Small + " " + small)
	if n := smallNote(g.t, small); !strings.Contains(n.Panic+n.NotSyncing, "sysrq") || n.Live {
		g.t.Errorf("note of the small dump: %+v", n)
	}

	ram := max(rec.MemoryBytes, g.number("awk '/^MemTotal/ { print $2 * 1024 }' /proc/meminfo"))
	g.Shell("rm /mnt/disk/fill")
	grown := g.armKernel()
	if on := g.number("stat -c %b " + folder + "/" + space.ReservedName); grown.SetAsideBytes < ram || on*512 < ram {
		g.t.Errorf("%d bytes are set aside, %d on disk, for %d of memory", grown.SetAsideBytes, on*512, ram)
	}
	if s := g.kernelStatus(); s.Space.ReservedBytes < ram || s.Space.File != folder+"/"+space.ReservedName {
		g.t.Errorf("space %+v", s.Space)
	}
	g.testArmGrown(rec.Time, ram)
}

// wantFullText finds what people read about a dump that did not fit: in the
// status, and in the log of the system.
func (g *guestTest) wantFullText(at time.Time, small, told string) {
	clock := strings.TrimSpace(g.Shell(fmt.Sprintf("date -d @%d '+%%F %%T'", at.Unix())))
	text := g.Run(guestProcdump, "kernel", "status").Stdout
	g.t.Logf("%s", text)
	crash := "the kernel crashed at " + clock
	const room = "the automatic dump found no room: it needed "
	for _, want := range []string{"Last did not fit  at " + clock + ", a dump of ", "the space is to be as large as memory until ", crash, room, "; small dump " + small} {
		if !strings.Contains(text, want) {
			g.t.Errorf("the status does not say %q:\n%s", want, text)
		}
	}
	for what, text := range map[string]string{"procdump kernel arm -boot": told, "the log": g.Shell("dmesg")} {
		for _, want := range []string{crash, room, "; small dump " + small} {
			if !strings.Contains(text, want) {
				g.t.Errorf("%s does not say %q:\n%s", what, want, cut(text))
			}
		}
	}
}

// testArmGrown has a dump find room in what is set aside, where nothing else is
// free, and the space shrink after four weeks.
func (g *guestTest) testArmGrown(missed time.Time, ram int64) {
	g.fill(2)
	g.crashArmed()
	s, _ := g.armBoot()
	last := s.Space.Last
	if rec := last.Record; !rec.Finished || !rec.Verified || rec.NoSpace || rec.Kind != settings.Automatic || last.Dump == "" || last.Small == "" || len(rec.Failures) > 0 {
		g.t.Errorf("after the space has grown: %+v", last)
	}
	if !s.Space.LastCrashTime.Equal(missed) || s.Space.GrownUntil.IsZero() {
		g.t.Errorf("space %+v", s.Space)
	}
	g.Shell("rm /mnt/disk/fill")
	if e := g.armKernel(); e.SetAsideBytes < ram {
		g.t.Errorf("%d bytes are set aside for %d of memory", e.SetAsideBytes, ram)
	}
	g.Shell("date -s '29 days'")
	e := g.armKernel()
	if s := g.kernelStatus(); e.SetAsideBytes == 0 || s.Space.ReservedBytes < e.SetAsideBytes || s.Space.ReservedBytes > ram/2 || !s.Space.GrownUntil.IsZero() {
		g.t.Errorf("four weeks later %d bytes are set aside; space %+v", e.SetAsideBytes, s.Space)
	}
}
