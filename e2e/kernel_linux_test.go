package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"procdump/victims/guest"
	"procdump/victims/need"
)

// kernelDump is a dump of a guest's kernel that a test takes.
type kernelDump struct {
	name string // of the file in the guest's folder
	kind string
	args []string
	// disk is where the dump is written first, for what only a disk can do.
	disk string
	pipe bool // through standard output
}

// kernelDumps are all kinds in all formats, but not all pairs. The complete
// ones come last: pages that are free and untouched in those were so before.
var kernelDumps = []kernelDump{
	{name: "kernel.kdump", kind: "kernel", args: []string{"-z", "zlib"}},
	{name: "automatic.kdump", kind: "automatic", disk: "/disk/"},
	{name: "active.flat", kind: "active", args: []string{"-z", "snappy"}, pipe: true},
	{name: "kernel.elf", kind: "kernel", args: []string{"-format", "ELF"}, pipe: true},
	{name: "complete.kdump", kind: "complete", args: []string{"-z", "none"}},
	{name: "complete.elf", kind: "complete", args: []string{"-format", "elf", "-o"}},
}

// maxResident is the most memory that procdump may take, in KiB.
const maxResident = 64 << 10

// TestKernel dumps the running kernel of a guest, and has the contents of pages
// judged that have been put there before.
func TestKernel(t *testing.T) {
	g, done := testKernel(t, "default", kernelDumps)
	if t.Failed() {
		return
	}
	g.run("makedumpfile", func(g *guestTest) { g.compareMakedumpfile(done["kernel.kdump"]) })
	g.run("sizes", func(g *guestTest) {
		k, a, c := done["kernel.kdump"].event, done["active.flat"].event, done["complete.kdump"].event
		if !(k.Pages < a.Pages && a.Pages < c.Pages) {
			g.t.Errorf("pages: kernel %d, active %d, complete %d", k.Pages, a.Pages, c.Pages)
		}
		if k.LeftOut["anonymous"] == 0 || k.LeftOut["guest"] < 8<<20 || a.LeftOut["anonymous"] != 0 || len(c.LeftOut) != 0 {
			g.t.Errorf("left out: kernel %v, active %v, complete %v", k.LeftOut, a.LeftOut, c.LeftOut)
		}
	})
	g.run("refused", func(g *guestTest) { g.testKernelRefused() })
}

// TestKernelNewest does the same, in short, with the newest kernel that there
// is, which makedumpfile may not know yet.
func TestKernelNewest(t *testing.T) {
	testKernel(t, "newest", []kernelDump{
		{name: "kernel.kdump", kind: "kernel", args: []string{"-z", "snappy"}},
		{name: "active.kdump", kind: "active", args: []string{"-z", "snappy"}},
		{name: "complete.kdump", kind: "complete", args: []string{"-z", "snappy"}},
	})
}

// testKernel takes dumps of a guest and has them judged. The last one has to be
// complete.
func testKernel(t *testing.T, kernel string, dumps []kernelDump) (*guestTest, map[string]kernelResult) {
	for _, tool := range []string{"drgn", "makedumpfile", "gdb", "mkfs.ext4", "python3", "setpriv", "gcc", "taskset"} {
		need.Tool(t, tool)
	}
	pagesProgram(t)
	disk := filepath.Join(t.TempDir(), "disk")
	command(t, "mkfs.ext4", "-q", disk, "256M")
	g := bootGuest(t, guest.Options{Kernel: kernel, MemoryMiB: 448, Drives: []guest.Drive{{File: disk}}, Modules: []string{"ext4"}})
	g.LoadModule("kvm-amd")
	// Nothing is written back to disk unless a program wants it, and processors
	// keep few free pages for themselves: since Linux 6.7 up to an eighth.
	g.Shell(`mkdir -p /disk; mount /dev/vda /disk
		cd /proc/sys/vm; echo 0 >dirty_writeback_centisecs; echo 360000 >dirty_expire_centisecs; echo 0 >compaction_proactiveness
		echo 1000000 >percpu_pagelist_high_fraction`)
	marks, p := g.mark("/disk", pageUses...)
	t.Cleanup(p.Kill)
	log := g.Shell("dmesg")

	done := map[string]kernelResult{}
	for _, d := range dumps {
		g.run(d.name, func(g *guestTest) {
			r := g.dumpKernel(d)
			if e := r.event; e.Kind != d.kind || e.Pages == 0 || r.resident > maxResident {
				g.t.Errorf("event %+v, %d KiB resident", e, r.resident)
			}
			g.t.Logf("%d MB, %d pages, %d of zeros, %d late, %d missed, %d MiB resident",
				r.event.SizeBytes>>20, r.event.Pages, r.event.ZeroPages, r.event.LatePages, r.event.MissedPages, r.resident>>10)
			done[d.name] = r
		})
	}
	if t.Failed() {
		return g, done
	}
	opened := 0
	untouched := marks.untouched(t, filepath.Join(g.Dir, dumps[len(dumps)-1].name))
	for _, d := range dumps {
		g.run("judge "+d.name, func(g *guestTest) {
			judge := func(t testing.TB) {
				file := filepath.Join(g.Dir, d.name)
				if filepath.Ext(file) == ".flat" {
					if n := pagesIn(t, file); n != done[d.name].event.Pages {
						t.Errorf("%d pages in the flattened dump", n)
					}
					file = filepath.Join(t.TempDir(), "rearranged")
					command(t, "sh", "-c", `makedumpfile -R "$1" <"$0"`, filepath.Join(g.Dir, d.name), file)
				}
				wantMarks(t, file, d.kind, untouched)
				wantLog(t, file, log)
				wantKernel(t, g.Dir, file, p.PID)
				if judgeBySymbols(t, file, g.Kernel.Release) {
					opened++
				}
			}
			// A running kernel changes while it is copied: a list may be broken
			// in one dump. It is not in each of three.
			for n := 1; ; n++ {
				faults := try(g.t, judge)
				if len(faults) == 0 {
					break
				}
				for _, f := range faults {
					g.t.Logf("dump %d: %s", n, f)
				}
				if n == 3 {
					g.t.Fatal("no dump of three is as it should be")
				}
				if err := os.Remove(filepath.Join(g.Dir, d.name)); err != nil {
					g.t.Fatal(err)
				}
				done[d.name] = g.dumpKernel(d)
			}
		})
	}
	g.run("small", func(g *guestTest) {
		file := filepath.Join(g.Dir, "small.elf")
		g.dumpSmall(file)
		marks.wantNone(g.t, file)
	})
	if opened < len(dumps)*2/3 {
		t.Errorf("crash opens %d of %d dumps", opened, len(dumps))
	}
	if last := dumps[len(dumps)-1].name; filepath.Ext(last) == ".elf" {
		g.run("gdb", func(g *guestTest) { untouched.gdb(g.t, filepath.Join(g.Dir, last)) })
	}
	return g, done
}

// trial is a test that may fail.
type trial struct {
	testing.TB
	faults []string
}

// try runs a test and returns how it failed.
func try(t testing.TB, f func(testing.TB)) []string {
	x := &trial{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(x)
	}()
	<-done
	return x.faults
}

func (x *trial) Errorf(format string, args ...any) {
	x.faults = append(x.faults, fmt.Sprintf(format, args...))
}

func (x *trial) Error(args ...any) { x.faults = append(x.faults, fmt.Sprint(args...)) }

func (x *trial) Fatalf(format string, args ...any) {
	x.Errorf(format, args...)
	runtime.Goexit()
}

func (x *trial) Fatal(args ...any) {
	x.Error(args...)
	runtime.Goexit()
}

// kernelResult is what procdump kernel said.
type kernelResult struct {
	event    kernelComplete
	resident int // KiB at most
}

// kernelComplete is the event of that name.
type kernelComplete struct {
	Event       string            `json:"event"`
	Path        string            `json:"path"`
	Kind        string            `json:"kind"`
	SizeBytes   int64             `json:"sizeBytes"`
	Pages       uint64            `json:"pages"`
	ZeroPages   uint64            `json:"zeroPages"`
	LatePages   uint64            `json:"latePages"`
	MissedPages uint64            `json:"missedPages"`
	LeftOut     map[string]uint64 `json:"leftOutBytes"`
}

// measured runs a program and writes the most memory that it had, in KiB, to a
// file.
const measured = `import os, resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)`

// dumpKernel takes a dump and leaves it in the guest's folder.
func (g *guestTest) dumpKernel(d kernelDump) kernelResult {
	g.t.Helper()
	file, rss := filepath.Join(g.Dir, d.name), filepath.Join(g.Dir, "resident")
	args := append([]string{"python3", "-c", measured, rss, binary(g.t), "kernel", "-json", "-type", d.kind}, d.args...)
	switch {
	case d.pipe:
		args = append([]string{"sh", "-c", `exec "$@" - >"$0"`, file}, args...)
	case d.disk != "":
		args = append(args, d.disk)
	default:
		args = append(args, file)
	}
	p := g.Run(args...)
	var r kernelResult
	for line := range strings.Lines(p.Stdout + p.Stderr) {
		var e kernelComplete
		if json.Unmarshal([]byte(line), &e) == nil && e.Event == "kernelComplete" {
			r.event = e
		}
	}
	if p.Code != 0 || r.event.Event == "" {
		g.t.Fatalf("%v", p)
	}
	if d.disk != "" {
		g.Shell(fmt.Sprintf("mv %s* %s", r.event.Path, file))
	}
	st, err := os.Stat(file)
	if err != nil || st.Size() != r.event.SizeBytes {
		g.t.Errorf("file of %d bytes, %d were said: %v", st.Size(), r.event.SizeBytes, err)
	}
	if mode := st.Mode().Perm(); mode != 0o600 && !d.pipe {
		g.t.Errorf("file mode %o", mode)
	}
	b, err := os.ReadFile(rss)
	if err == nil {
		r.resident, err = strconv.Atoi(string(b))
	}
	if err != nil {
		g.t.Fatal(err)
	}
	return r
}

// compareMakedumpfile dumps the same kernel with makedumpfile, which leaves out
// the same pages: of pages of zeros it keeps the descriptors, too.
func (g *guestTest) compareMakedumpfile(ours kernelResult) {
	file := filepath.Join(g.Dir, "makedumpfile")
	if r := g.Run("makedumpfile", "-c", "-d", "31", "/proc/kcore", file); r.Code != 0 {
		g.t.Fatalf("%v", r)
	}
	st, err := os.Stat(file)
	if err != nil {
		g.t.Fatal(err)
	}
	theirs, mine := pagesIn(g.t, file), ours.event.Pages
	g.t.Logf("%d pages in %d KB, makedumpfile's dump has %d in %d KB", mine, ours.event.SizeBytes>>10, theirs, st.Size()>>10)
	if mine < theirs*95/100 || mine > theirs*105/100 {
		g.t.Errorf("%d pages, makedumpfile's dump has %d", mine, theirs)
	}
	if ours.event.SizeBytes > st.Size()*105/100 {
		g.t.Errorf("%d bytes, makedumpfile's dump has %d", ours.event.SizeBytes, st.Size())
	}
}

// testKernelRefused: each cause has its error, with a remedy, and leaves
// nothing behind.
func (g *guestTest) testKernelRefused() {
	// For everybody: not the folders of the test.
	const folder, exe = "/var/refused", "/usr/local/bin/procdump"
	g.Shell("mkdir -m 777 " + folder + "; cp " + binary(g.t) + " " + exe + "; chmod 755 " + exe)
	empty := func() {
		g.t.Helper()
		if left := g.Shell("ls -A " + folder); left != "" {
			g.t.Errorf("left behind: %s", left)
		}
	}
	refuse := func(code int, text string, script string) {
		g.t.Helper()
		r := g.Run("sh", "-c", script, exe, folder)
		if r.Code != code || !strings.Contains(r.Stderr, text) {
			g.t.Errorf("%s: want code %d and %q in %v", script, code, text, r)
		}
		empty()
	}
	refuse(4, "run procdump as root", `exec setpriv --reuid 65534 --clear-groups "$0" kernel "$1"`)
	refuse(4, "CAP_SYS_RAWIO", `exec setpriv --bounding-set -sys_rawio "$0" kernel "$1"`)
	refuse(4, "CAP_SYS_ADMIN", `exec setpriv --bounding-set -sys_admin "$0" kernel "$1"`)
	refuse(4, "masked by a container", `exec unshare -m sh -c 'mount --bind /dev/null /proc/kcore && exec "$0" kernel "$1"' "$0" "$1"`)
	refuse(1, "not enough free disk space", `mkdir -p /tiny; mount -t tmpfs -o size=4M tmpfs /tiny; "$0" kernel -z none /tiny; code=$?; ls -A /tiny >&2; umount /tiny; exit $code`)
	refuse(4, "CAP_SYS_RAWIO", `exec setpriv --bounding-set -sys_rawio "$0" kernel -type small "$1"`)

	p := g.Start(guest.Command{Args: []string{exe, "kernel", "-type", "complete", "-json", folder}})
	p.Await(`"event":"initiated"`)
	p.Signal(syscall.SIGINT)
	if r := p.Wait(); r.Code != 130 {
		g.t.Errorf("cancelled: %v", r)
	}
	empty()

	// The last one: nothing but a boot takes it back.
	g.Shell("mountpoint -q /sys/kernel/security || mount -t securityfs none /sys/kernel/security; echo confidentiality >/sys/kernel/security/lockdown")
	refuse(4, "lockdown=integrity", `exec "$0" kernel "$1"`)
}

// TestTrial: what fails in a trial is told, and fails no test by itself.
func TestTrial(t *testing.T) {
	reached := false
	faults := try(t, func(t testing.TB) {
		t.Errorf("first %d", 1)
		command(t, "false")
		reached = true
	})
	if len(faults) != 2 || faults[0] != "first 1" || !strings.Contains(faults[1], "exit status 1") || reached {
		t.Errorf("%q", faults)
	}
	if faults := try(t, func(testing.TB) {}); faults != nil {
		t.Errorf("%q", faults)
	}
}
