package rescue

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"procdump/internal/sys/machine"
)

const (
	// hangLimit is how long nothing may come forward before the machine starts
	// again: a disk that is being reset takes up to three minutes.
	hangLimit = 5 * time.Minute
	// panicSeconds is after how many seconds the crash kernel starts the machine
	// again if it crashes itself, or loses procdump, which is its first process.
	panicSeconds = 10
	// consoleLimit is how long a console may take for a line, and endLimit how
	// long the drivers may take to stop their devices before the machine starts
	// again without that.
	consoleLimit = 10 * time.Second
	endLimit     = time.Minute
)

// Active tells whether this process is the first one of a crash kernel that has
// a Plan. It mounts /proc if that is needed to know.
func Active() bool {
	if os.Getpid() != 1 || !exists(PlanFile) || !machine.InMemory("/") {
		return false
	}
	if !exists("/proc/self") && machine.MountKernel("proc", "/proc") != nil {
		return false
	}
	if exists("/proc/vmcore") {
		return true
	}
	// The kernel that crashed gave its memory away, but the kernel finds it
	// damaged: there is no dump to be had, but a record.
	b, err := os.ReadFile("/proc/cmdline")
	return err == nil && strings.Contains(string(b), " elfcorehdr=")
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

// Main does what the Plan says and starts the machine again. It never returns.
// Version is that of procdump.
func Main(version string) {
	log := newLogger()
	reboot := true
	defer func() {
		if p := recover(); p != nil {
			log.last(consoleLimit, "procdump has a bug: %v", p)
		}
		leave(log, reboot)
	}()
	prepareKernel(log)
	plan, err := readPlan()
	if err != nil {
		log.printf("%v", err)
		return
	}
	reboot = plan.Settings.Reboot
	go watch(log, reboot)
	limitMemory()
	s := newSession(plan, log, version)
	s.run()
}

// prepareKernel mounts the kernel's own file systems.
func prepareKernel(log *logger) {
	var errs []error
	for _, m := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		errs = append(errs, machine.MountKernel(m[0], m[1]))
	}
	log.open()
	log.printf("the kernel has crashed; procdump writes the dump")
	if err := errors.Join(errs...); err != nil {
		log.printf("%v", err)
	}
	const file = "/proc/sys/kernel/panic"
	if b, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(b)) == "0" {
		os.WriteFile(file, fmt.Appendf(nil, "%d\n", panicSeconds), 0)
	}
}

func readPlan() (*Plan, error) {
	b, err := os.ReadFile(PlanFile)
	if err != nil {
		return nil, fmt.Errorf("read plan: %w", err)
	}
	p := &Plan{}
	if err := json.Unmarshal(b, p); err != nil {
		return nil, fmt.Errorf("parse plan %s: %w", PlanFile, err)
	}
	return p, nil
}

// limitMemory keeps the heap small: the crash kernel has some 15 MiB free, or a
// bit more where it was given more.
func limitMemory() {
	const least, most = 8 << 20, 64 << 20
	debug.SetGCPercent(30)
	debug.SetMemoryLimit(min(max(kilobytes("/proc/meminfo", "MemAvailable:")/2, least), most))
}

// kilobytes reads a line "Key:   123 kB" of a file of /proc, in bytes; 0 if it is
// not there.
func kilobytes(file, key string) int64 {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		var n int64
		if rest, ok := strings.CutPrefix(line, key); ok {
			if _, err := fmt.Sscan(rest, &n); err == nil {
				return n << 10
			}
		}
	}
	return 0
}

// watch starts the machine again when nothing comes forward. It writes nothing
// to disk: what hangs may be the disk.
func watch(log *logger, reboot bool) {
	for log.idle() < hangLimit {
		time.Sleep(time.Second)
	}
	log.last(consoleLimit, "nothing has come forward for %v", hangLimit)
	end(log, reboot)
}

// leave ends the crash kernel in order.
func leave(log *logger, reboot bool) {
	// The disk may hang now as well.
	time.AfterFunc(time.Minute, func() { end(log, reboot) })
	machine.Sync()
	end(log, reboot)
}

// end starts the machine again or switches it off, by any means.
func end(log *logger, reboot bool) {
	// reboot(2) stops all devices first, and never returns if one hangs.
	time.AfterFunc(endLimit, restartAtOnce)
	var err error
	if reboot {
		log.last(consoleLimit, "the machine starts again")
		err = machine.Restart()
	} else {
		log.last(consoleLimit, "the machine is switched off")
		err = machine.PowerOff()
	}
	log.last(consoleLimit, "%v", err)
	restartAtOnce()
	os.Exit(1) // the kernel crashes, and that starts the machine again
}

// restartAtOnce starts the machine again without stopping any device: the
// kernel's sysrq b.
func restartAtOnce() { os.WriteFile("/proc/sysrq-trigger", []byte("b"), 0) }
