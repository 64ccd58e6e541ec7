package linux

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"procdump/snapshot"
)

// Options say what to read besides the process itself.
type Options struct {
	// KernelStacks reads each thread's kernel stack, wait channel and system
	// call just before the stop (afterwards they would only show the stop).
	KernelStacks bool
	// View64 gives a 32-bit process's threads 64-bit registers, as the kernel
	// keeps them.
	View64 bool
	// Clone looks for what Stopped.Clone needs.
	Clone bool
}

// Target is a running process, looked at but not stopped.
type Target struct {
	PID  int
	opts Options

	mm      int // a thread that still has the address space: the leader may have exited
	base    snapshot.Process
	smaps   []snapshot.Region
	remote  map[uint64]bool
	modules moduleCache
	threads map[int]snapshot.Thread // by TID
	files   *backing
	clone   *cloning // nil: not asked for
	precopy *precopy // nil: none
}

// Open reads what is slow to read, while the process runs. It needs the rights
// of ptrace(2) and fails with fs.ErrPermission without them.
func Open(pid int, o Options) (t *Target, err error) {
	err = whileAlive(pid, func() error {
		t, err = open(pid, pid, o)
		return err
	})
	return t, err
}

// whileAlive repeats what finds a process gone that is not: one that executes
// another program has no memory for a moment, and another first thread.
func whileAlive(pid int, try func() error) error {
	const tries = 20
	for n := 1; ; n++ {
		err := try()
		if n == tries || !errors.Is(err, ErrGone) {
			return err
		}
		if st, serr := readStat(procPath(pid, "stat")); serr != nil || st.state == 'Z' && livingThread(pid) == pid {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// open reads a process; mm is a thread that should have its memory.
func open(pid, mm int, o Options) (*Target, error) {
	t := &Target{PID: pid, opts: o, mm: mm, modules: moduleCache{}, threads: map[int]snapshot.Thread{}}
	st, err := readStat(procPath(pid, "stat"))
	if err != nil {
		return nil, orGoneProc(err)
	}
	if st.state == 'Z' && mm == pid {
		t.mm = livingThread(pid)
	}
	if t.smaps, err = readSmaps(procPath(t.mm, "smaps")); err != nil {
		return nil, fmt.Errorf("read mappings of process %d: %w", pid, orGoneProc(err))
	}
	if len(t.smaps) == 0 {
		return nil, fmt.Errorf("read mappings of process %d: %w", pid, ErrGone)
	}
	t.base.System = readSystem()
	t.base.System.Machine = hostMachine()
	t.describe(st)
	t.remote = remoteDevs(pid)
	if err := t.readModules(); err != nil {
		return nil, err
	}
	t.base.Files = openFiles(pid)
	if o.Clone {
		t.clone = t.prepareClone()
	}
	t.readThreads()
	return t, nil
}

// livingThread finds a thread that runs on after the leader has exited.
func livingThread(pid int) int {
	ids, _ := tids(pid)
	for _, tid := range ids {
		if st, err := readStat(procPath(pid, "task", strconv.Itoa(tid), "stat")); err == nil && st.state != 'Z' && st.state != 'X' {
			return tid
		}
	}
	return pid
}

// describe fills the facts of the process as a whole.
func (t *Target) describe(st stat) {
	p := &t.base
	p.PID, p.PPID, p.PGID, p.SID = t.PID, st.ppid, st.pgrp, st.session
	p.Name, p.State, p.Nice, p.Flags = st.comm, st.state, st.nice, st.flags
	p.UserTime, p.SystemTime = st.userTime, st.systemTime
	p.StartTime = p.System.BootTime.Add(st.start)
	if exe, err := os.Readlink(procPath(t.mm, "exe")); err == nil {
		p.Exe, p.ExeDeleted = cutDeleted(exe)
	}
	if b, err := os.ReadFile(procPath(t.mm, "cmdline")); err == nil {
		p.Args = nulList(b)
	}
	if b, err := os.ReadFile(procPath(t.mm, "environ")); err == nil {
		p.Environ = nulList(b)
	}
	p.Auxv, _ = os.ReadFile(procPath(t.mm, "auxv"))
	p.Texts = map[string][]byte{}
	for _, name := range []string{"status", "limits", "cgroup", "stat"} {
		if b, err := os.ReadFile(procPath(t.PID, name)); err == nil {
			p.Texts[name] = b
		}
	}
	for name, path := range map[string]string{"cpuinfo": "/proc/cpuinfo", "lsb-release": "/etc/lsb-release", "uptime": "/proc/uptime"} {
		if b, err := os.ReadFile(path); err == nil {
			p.Texts[name] = b
		}
	}
	if p.Texts["lsb-release"] == nil {
		p.Texts["lsb-release"], _ = os.ReadFile("/etc/os-release")
	}
	status := p.Texts["status"]
	p.UID, p.GID = firstID(statusField(status, "Uid")), firstID(statusField(status, "Gid"))
	for _, f := range strings.Fields(statusField(status, "NSpid")) {
		if n, err := strconv.Atoi(f); err == nil {
			p.Info.NSPID = append(p.Info.NSPID, n)
		}
	}
	p.Info.Namespaces = namespaces(t.PID)
	if m := containerID.FindString(string(p.Texts["cgroup"])); m != "" {
		p.Info.Container = m
	}
}

// containerID is what container runtimes put into a cgroup's path.
var containerID = regexp.MustCompile(`[0-9a-f]{64}`)

func firstID(list string) uint32 {
	f := strings.Fields(list)
	if len(f) == 0 {
		return 0
	}
	n, _ := strconv.ParseUint(f[0], 10, 32)
	return uint32(n)
}

func namespaces(pid int) map[string]string {
	out := map[string]string{}
	links, _ := filepath.Glob(procPath(pid, "ns", "*"))
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil {
			out[filepath.Base(l)] = to
		}
	}
	return out
}

// readModules reads the images mapped now; after the stop only new ones are
// left to read.
func (t *Target) readModules() error {
	t.flagRemote(t.smaps)
	t.files = newBacking(t.mm)
	mem, err := openMemory(t.mm, t.smaps, t.base.System.PageSize, t.files)
	if err != nil {
		return fmt.Errorf("open memory of process %d: %w", t.PID, orGoneProc(err))
	}
	defer mem.close()
	t.modules.find(mem, t.files, t.mm, t.smaps, t.base.Exe)
	return nil
}

func (t *Target) flagRemote(regions []snapshot.Region) {
	for i := range regions {
		if g := &regions[i]; g.Inode != 0 && t.remote[g.Dev] {
			g.Flags |= snapshot.RemoteFile
		}
	}
}

func (t *Target) readThreads() {
	ids, _ := tids(t.PID)
	for _, tid := range ids {
		if th, err := t.readThread(tid); err == nil {
			t.threads[tid] = th
		}
	}
}

// readThread reads what /proc says of a thread; ErrGone if it has ended.
func (t *Target) readThread(tid int) (snapshot.Thread, error) {
	dir := procPath(t.PID, "task", strconv.Itoa(tid))
	st, err := readStat(dir + "/stat")
	if err != nil {
		return snapshot.Thread{}, orGoneProc(err)
	}
	th := snapshot.Thread{TID: tid, Name: st.comm, State: st.state, UserTime: st.userTime, SystemTime: st.systemTime,
		Nice: st.nice, StartTime: t.base.System.BootTime.Add(st.start)}
	if b, err := os.ReadFile(dir + "/status"); err == nil {
		th.Blocked = statusSet(b, "SigBlk")
		th.Pending = statusSet(b, "SigPnd") | statusSet(b, "ShdPnd")
	}
	if t.opts.KernelStacks {
		th.KernelStack = readText(dir + "/stack")
		th.WaitChannel = readText(dir + "/wchan")
		th.Syscall = readText(dir + "/syscall")
	}
	return th, nil
}

// Snapshot returns what is known of the process without stopping it: all but
// registers and memory. Its regions carry the sizes that estimates need.
func (t *Target) Snapshot() *snapshot.Process {
	p := t.base
	p.Regions = t.smaps
	p.Modules = t.modules.find(nil, t.files, t.mm, t.smaps, p.Exe)
	for _, th := range t.threads {
		p.Threads = append(p.Threads, th)
	}
	return &p
}

// refresh reads the mappings' flags again if there are new mappings, as long as
// the process still runs: after the stop it would have to wait for that.
func (t *Target) refresh() {
	for range 2 {
		text, err := os.ReadFile(procPath(t.mm, "maps"))
		if err != nil {
			return
		}
		regions, err := parseMaps(text)
		if err != nil || mergeFlags(regions, t.smaps) {
			return
		}
		if smaps, err := readSmaps(procPath(t.mm, "smaps")); err == nil && len(smaps) > 0 {
			t.flagRemote(smaps)
			t.precopy.disown(smaps)
			t.smaps = smaps
		}
	}
}

// sameProgram tells whether the process still runs the program that Open saw:
// every execve(2) makes a new auxiliary vector, with a new AT_RANDOM.
func (t *Target) sameProgram(mm int) bool {
	auxv, err := os.ReadFile(procPath(mm, "auxv"))
	return err == nil && bytes.Equal(auxv, t.base.Auxv)
}

// executed tells whether a process whose memory is gone has executed another
// program, which has memory of its own. One that ends has no auxiliary vector.
func (t *Target) executed() bool {
	auxv, err := os.ReadFile(procPath(t.PID, "auxv"))
	return err == nil && len(auxv) > 0 && !bytes.Equal(auxv, t.base.Auxv)
}

// Close gives back what Open took.
func (t *Target) Close() {
	t.precopy.end()
	t.files.close()
}
