package target

import (
	"debug/elf"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"procdump/internal/printable"
	"procdump/internal/sys/fsys"
)

// commMax is the most bytes that the kernel keeps of a name: TASK_COMM_LEN less the NUL.
const commMax = 15

// details are what only this package needs of a Process.
type details struct {
	comm  string // as the kernel has it
	ticks uint64 // start in clock ticks after boot: with PID the identity of a process
	exit  int    // wait status of a zombie; 0 also if it may not be read
}

// ID is the identity of the process.
func (p *Process) ID() ID { return ID{p.PID, p.ticks} }

// reader reads many processes; it keeps what they have in common.
type reader struct {
	fs    FS
	self  int
	boot  time.Time
	users map[uint32]string
}

func newReader(fs FS) *reader {
	return &reader{fs: fs, self: fs.self(), boot: fs.bootTime(), users: map[uint32]string{}}
}

func (fs FS) bootTime() time.Time {
	b, err := readFile(fs.path("stat"))
	if err != nil {
		return time.Time{}
	}
	for line := range strings.Lines(string(b)) {
		if text, ok := strings.CutPrefix(line, "btime "); ok {
			if n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64); err == nil {
				return time.Unix(n, 0)
			}
		}
	}
	return time.Time{}
}

// Get reads one process. The error is a *NotFoundError if there is none; where
// procdump has no descriptors left to look, it says that instead.
func Get(pid int) (Process, error) { return Proc.Get(pid) }

// Get reads one process of fs.
func (fs FS) Get(pid int) (Process, error) {
	r := newReader(fs)
	s, err := fs.readStatus(pid)
	if err == nil && s.tgid == pid {
		var p Process
		if p, err = r.read(pid); err == nil {
			r.fill(&p)
			return p, nil
		}
	}
	if fsys.IsExhausted(err) {
		return Process{}, fmt.Errorf("look at process %d: %w", pid, err)
	}
	return Process{}, r.notFound(pid)
}

// base is read where it does not matter why a process cannot be read.
func (r *reader) base(pid int) (Process, bool) {
	p, err := r.read(pid)
	return p, err == nil
}

// read reads what selecting needs most: stat, command line and image.
func (r *reader) read(pid int) (Process, error) {
	s, err := r.fs.readStat(pid)
	if err != nil {
		return Process{}, err
	}
	p := Process{
		PID: pid, PPID: s.ppid, PGID: s.pgrp, Name: s.comm, State: s.state,
		CPU: ticks(s.utime + s.stime), RSS: s.rss * uint64(os.Getpagesize()), Threads: s.threads,
		Kernel: s.kernel, Zombie: s.finished,
		details: details{comm: s.comm, ticks: s.start, exit: s.exit},
	}
	if !r.boot.IsZero() {
		p.Start = r.boot.Add(ticks(s.start))
	}
	if p.Kernel || p.Zombie {
		return p, nil
	}
	dir := r.fs.imageDir(&p)
	p.Exe, p.ExeDeleted = readExe(dir)
	cmdline, err := readFile(filepath.Join(dir, "cmdline"))
	if fsys.IsExhausted(err) {
		return Process{}, err
	}
	p.Args = splitArgs(string(cmdline))
	p.Name = fullName(&p)
	return p, nil
}

func ticks(n uint64) time.Duration { return time.Duration(n) * (time.Second / 100) }

// imageDir is the folder with the exe and cmdline of p. They are gone from
// /proc/PID when the first thread has ended (pthread_exit in main) while
// others run: then one of theirs serves.
func (fs FS) imageDir(p *Process) string {
	dir := fs.of(p.PID)
	if p.State != 'Z' {
		return dir
	}
	tids, _ := numbers(fs.of(p.PID, "task"))
	for _, tid := range tids {
		if tid != p.PID {
			return fs.of(p.PID, "task", strconv.Itoa(tid))
		}
	}
	return dir
}

func readExe(dir string) (path string, deleted bool) {
	link, err := os.Readlink(filepath.Join(dir, "exe"))
	if err != nil {
		return "", false
	}
	return strings.CutSuffix(link, " (deleted)")
}

// readArgs reads the arguments of the process whose folder dir is.
func readArgs(dir string) []string {
	b, _ := readFile(filepath.Join(dir, "cmdline"))
	return splitArgs(string(b))
}

// splitArgs splits cmdline at its NULs. A program that writes a title over its
// arguments may leave any number of NULs behind it.
func splitArgs(cmdline string) []string {
	text := strings.TrimSuffix(cmdline, "\x00")
	if trimmed := strings.TrimRight(text, "\x00"); !strings.Contains(trimmed, "\x00") {
		text = trimmed
	}
	if text == "" {
		return nil
	}
	return strings.Split(text, "\x00")
}

// fullName is comm, or where the kernel has cut it the longer name that
// begins with it.
func fullName(p *Process) string {
	if len(p.comm) < commMax {
		return p.comm
	}
	candidates := []string{base(p.Exe), argv0Base(p)}
	if len(p.Args) > 1 {
		// The kernel names a script after its file and puts the interpreter's
		// name and at most one argument before the file's.
		candidates = append(candidates, base(p.Args[1]))
	}
	if len(p.Args) > 2 {
		candidates = append(candidates, base(p.Args[2]))
	}
	for _, c := range candidates {
		if len(c) > commMax && strings.HasPrefix(c, p.comm) {
			return c
		}
	}
	return p.comm
}

// fill reads what is shown of a process but rarely selected by.
func (r *reader) fill(p *Process) {
	if s, ok := r.fs.status(p.PID); ok {
		p.UID, p.TracerPID, p.NSPID = s.uid[1], s.tracer, s.nspid
		p.User = r.userName(p.UID)
	}
	if !p.Kernel && !p.Zombie {
		p.Class = readClass(filepath.Join(r.fs.imageDir(p), "exe"))
	}
}

func (r *reader) userName(uid uint32) string {
	name, ok := r.users[uid]
	if !ok {
		name = strconv.FormatUint(uint64(uid), 10)
		if u, err := user.LookupId(name); err == nil {
			name = u.Username
		}
		r.users[uid] = name
	}
	return name
}

// userText is a user for messages: "bob (uid 1000)".
func userText(name string, uid uint32) string {
	if name == "" || name == strconv.FormatUint(uint64(uid), 10) {
		return fmt.Sprintf("uid %d", uid)
	}
	return fmt.Sprintf("%s (uid %d)", printable.Text(name), uid)
}

// readClass tells 32- from 64-bit programs by the image's ELF header.
func readClass(path string) elf.Class {
	f, err := os.Open(path)
	if err != nil {
		return elf.ELFCLASSNONE
	}
	defer f.Close()
	var ident [elf.EI_NIDENT]byte
	if _, err := io.ReadFull(f, ident[:]); err != nil || string(ident[:4]) != elf.ELFMAG {
		return elf.ELFCLASSNONE
	}
	return elf.Class(ident[elf.EI_CLASS])
}
