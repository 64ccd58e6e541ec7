package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"procdump/victims"
)

// childFlag as the first argument makes this program one of its helpers.
const childFlag = "-child"

func main() {
	if len(os.Args) > 2 && os.Args[1] == childFlag {
		if err := child(os.Args[2], os.Args[3:]); err != nil {
			fmt.Fprintf(os.Stderr, "bench %s: %v\n", os.Args[2], err)
			os.Exit(1)
		}
		return
	}
	good, err := benchmark()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
	}
	if err != nil || !good {
		os.Exit(1)
	}
}

func child(mode string, args []string) error {
	switch mode {
	case "limit":
		return copyMemory(args)
	case "read":
		return readFile(args[0])
	case "look":
		return look(os.Stdin, os.Stdout)
	case "prewarm":
		return prewarm(args)
	case "guard":
		return guardCorePattern(args, os.Stdin, os.Stdout, corePatternFile)
	}
	return errors.New("no such mode")
}

// options are the flags.
type options struct {
	short    bool
	only     string
	rounds   int
	procdump string
	tmpfs    string
	disk     string
	realtime bool
}

func parseOptions() options {
	var o options
	flag.BoolVar(&o.short, "short", false, "leave out the large victims and kernels; three rounds")
	flag.StringVar(&o.only, "only", "", "run only the `CASE`s named, separated by commas: "+strings.Join(caseNames(), ", "))
	flag.IntVar(&o.rounds, "n", 0, "`ROUNDS` of each case (default 7)")
	flag.StringVar(&o.procdump, "procdump", "", "measure this `PROGRAM` instead of the one built from the source")
	flag.StringVar(&o.tmpfs, "tmpfs", "/dev/shm", "`FOLDER` in memory to write to")
	flag.StringVar(&o.disk, "disk", victims.CacheDir("bench"), "`FOLDER` on disk to write to")
	flag.BoolVar(&o.realtime, "rr", false, "run all contestants at real-time priority, for steady figures on a busy machine")
	flag.Parse()
	if o.rounds <= 0 {
		o.rounds = 7
		if o.short {
			o.rounds = 3
		}
	}
	return o
}

func caseNames() (names []string) {
	for _, c := range cases() {
		names = append(names, c.name)
	}
	return names
}

// chosen are the cases to run.
func chosen(o options) ([]benchCase, error) {
	if o.only == "" {
		return slices.DeleteFunc(cases(), func(c benchCase) bool { return c.long && o.short }), nil
	}
	var list []benchCase
	for name := range strings.SplitSeq(o.only, ",") {
		i := slices.Index(caseNames(), name)
		if i < 0 {
			return nil, fmt.Errorf("no case %q: there are %s", name, strings.Join(caseNames(), ", "))
		}
		list = append(list, cases()[i])
	}
	return list, nil
}

func benchmark() (good bool, err error) {
	o := parseOptions()
	list, err := chosen(o)
	if err != nil {
		return false, err
	}
	if o.realtime {
		if err := goRealtime(); err != nil {
			return false, err
		}
	}
	// The dumps are large: Ctrl-C must not leave them behind.
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	b, cleanup, err := setUp(o)
	defer cleanup()
	if err != nil {
		return false, err
	}
	go func() {
		<-stop
		cleanup()
		os.Exit(130)
	}()
	var results []*result
	for _, c := range list {
		r, err := b.play(c, o.rounds)
		if err != nil {
			return false, fmt.Errorf("case %s: %w", c.name, err)
		}
		results = append(results, r)
	}
	fmt.Println(machine())
	if err := writeTable(os.Stdout, results); err != nil {
		return false, err
	}
	if err := writeWatchTable(os.Stdout, results); err != nil {
		return false, err
	}
	if err := writeKernelTable(os.Stdout, results); err != nil {
		return false, err
	}
	if err := writeInspectTable(os.Stdout, results); err != nil {
		return false, err
	}
	return writeVerdicts(os.Stdout, judge(results)), nil
}

// setUp builds the programs and makes the folders. cleanup is never nil.
func setUp(o options) (b *bench, cleanup func(), err error) {
	var dirs []string
	cleanup = func() {
		for _, d := range dirs {
			os.RemoveAll(d)
		}
	}
	b = &bench{procdump: o.procdump, places: map[string]string{placeTmpfs: o.tmpfs, placeDisk: o.disk}}
	if b.self, err = os.Executable(); err != nil {
		return nil, cleanup, err
	}
	for place, dir := range b.places {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, cleanup, err
		}
		if tmpfs, err := onTmpfs(dir); err != nil || tmpfs != (place == placeTmpfs) {
			return nil, cleanup, errors.Join(err, fmt.Errorf("%s is not on %s: name another folder with -%s", dir, place, place))
		}
		if b.places[place], err = os.MkdirTemp(dir, "procdump-bench-"); err != nil {
			return nil, cleanup, err
		}
		dirs = append(dirs, b.places[place])
	}
	tmp, err := os.MkdirTemp("", "procdump-bench-")
	if err != nil {
		return nil, cleanup, err
	}
	dirs = append(dirs, tmp)
	if b.victim, err = buildVictim(tmp); err != nil {
		return nil, cleanup, err
	}
	if b.actor, err = buildActor(tmp); err != nil {
		return nil, cleanup, err
	}
	if b.crowd, err = buildCrowd(tmp); err != nil {
		return nil, cleanup, err
	}
	if b.procdump == "" {
		b.procdump = filepath.Join(tmp, "procdump")
		build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", b.procdump, "procdump/cmd/procdump")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, cleanup, fmt.Errorf("build procdump: %w\n%s", err, out)
		}
	}
	return b, cleanup, nil
}

// goRealtime starts this program again under SCHED_RR, which all its threads
// and children inherit, unless that has been done.
func goRealtime() error {
	const schedRR = 2 // SCHED_RR of linux/sched.h
	runtime.LockOSThread()
	policy, _, e := syscall.Syscall(syscall.SYS_SCHED_GETSCHEDULER, 0, 0, 0)
	if e == 0 && policy == schedRR {
		return nil
	}
	priority := int32(1)
	if _, _, e = syscall.Syscall(syscall.SYS_SCHED_SETSCHEDULER, 0, schedRR, uintptr(unsafe.Pointer(&priority))); e != 0 {
		return fmt.Errorf("set real-time priority: %w", e)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(self, os.Args, os.Environ())
}

func onTmpfs(dir string) (bool, error) {
	const tmpfsMagic = 0x01021994 // TMPFS_MAGIC of linux/magic.h
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return false, fmt.Errorf("stat file system of %s: %w", dir, err)
	}
	return fs.Type == tmpfsMagic, nil
}

// machine describes where the figures come from.
func machine() string {
	first := func(file, prefix string) string {
		b, _ := os.ReadFile(file)
		for line := range strings.Lines(string(b)) {
			if s, ok := strings.CutPrefix(line, prefix); ok {
				return strings.TrimSpace(strings.TrimLeft(s, "\t :"))
			}
		}
		return "?"
	}
	return fmt.Sprintf("%s, %d CPUs, memory %s, Linux %s, load %s, %s", first("/proc/cpuinfo", "model name"), runtime.NumCPU(),
		first("/proc/meminfo", "MemTotal:"), first("/proc/sys/kernel/osrelease", ""), first("/proc/loadavg", ""), runtime.Version())
}
