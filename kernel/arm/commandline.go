package arm

import (
	"fmt"
	"slices"
	"strings"
)

// maxCommandLine is how long a command line may be: 2048 bytes with a zero byte
// on amd64 and arm64 (COMMAND_LINE_SIZE), of which the kernel takes some for
// elfcorehdr=.
const maxCommandLine = 2048 - 1 - 40

// dropped are the parameters of the running kernel that the crash kernel is
// not started with; one that ends in a point stands for all that begin so. They
// name the first kernel's file systems and programs, take memory that the crash
// kernel has not, or make its console slow.
var dropped = []string{
	"BOOT_IMAGE", "initrd", "crashkernel", "crash_kexec_post_notifiers", "elfcorehdr", "kexec_jump_back_entry",
	"root", "rootfstype", "rootflags", "rootwait", "rootdelay", "ro", "rw", "init", "rdinit", "resume", "resume_offset", "noresume",
	"rd.", "systemd.", "luks.", "ip", "nfsroot", "fsck.", "splash", "vt.handoff", "single", "emergency", "rescue", "bootdev", "ostree", "ignition.", "security", "selinux", "enforcing", "apparmor", "audit", "fips",
	"mem", "memmap", "hugepages", "hugepagesz", "default_hugepagesz", "hugetlb_cma", "cma", "movablecore", "kernelcore", "movable_node",
	"swiotlb", "log_buf_len", "slub_debug", "page_owner", "page_poison", "init_on_alloc", "init_on_free", "kmemleak", "kasan", "kfence.", "kasan.", "trace_buf_size", "ftrace", "trace_event",
	"maxcpus", "nr_cpus", "possible_cpus", "isolcpus", "nohz_full", "rcu_nocbs", "numa", "numa_balancing", "cgroup_disable", "transparent_hugepage",
	"debug", "ignore_loglevel", "loglevel", "initcall_debug", "quiet", "printk.devkmsg",
	"panic", "panic_on_oops", "panic_on_warn", "oops", "hung_task_panic", "softlockup_panic", "nmi_watchdog", "panic_print",
	"reset_devices", "irqpoll", "novmcoredd", "lockdown", "module.sig_enforce",
}

// added are those that the crash kernel has in any case. With one processor it
// needs less memory, and lost interrupts of devices that nobody has stopped are
// polled for (Documentation/admin-guide/kdump/kdump.rst).
var added = []string{"nr_cpus=1", "reset_devices", "irqpoll", "cgroup_disable=memory", "numa=off", "transparent_hugepage=never",
	"novmcoredd", "rdinit=/init", "panic=10", "quiet",
	// The files of tracefs, which nobody looks at there, take 9 MiB until 6.6:
	// without them crashkernel=96M does.
	"initcall_blacklist=tracer_init_tracefs",
	// Else the first file system is a tmpfs of half the memory, which the initrd
	// does not always fit in (init/do_mounts.c).
	"rootfstype=ramfs"}

// commandLine makes the crash kernel's command line from that of the running
// one. What had to be left out for its length is told.
func commandLine(running string) (line string, left []string) {
	var list []string
	for _, p := range splitParameters(running) {
		if p == "--" {
			break // what follows is for init
		}
		if !isDropped(p) && !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	for {
		line = strings.Join(append(slices.Clone(list), added...), " ")
		if len(line) <= maxCommandLine || len(list) == 0 {
			return line, left
		}
		// The console comes first in most command lines, and matters most.
		i := len(list) - 1
		for j := i; j >= 0; j-- {
			if !strings.HasPrefix(list[j], "console=") {
				i = j
				break
			}
		}
		left = append(left, list[i])
		list = slices.Delete(list, i, i+1)
	}
}

func isDropped(p string) bool {
	name, _, _ := strings.Cut(p, "=")
	for _, d := range dropped {
		if name == d || strings.HasSuffix(d, ".") && strings.HasPrefix(name, d) {
			return true
		}
	}
	// A word that is no parameter is an argument of init: a runlevel.
	return strings.Trim(name, "0123456789") == "" || p == "S"
}

// splitParameters splits a command line at spaces that are not in quotes, as
// the kernel does (lib/cmdline.c).
func splitParameters(line string) []string {
	var list []string
	start, quoted := -1, false
	for i := 0; i <= len(line); i++ {
		end := i == len(line) || !quoted && (line[i] == ' ' || line[i] == '\t' || line[i] == '\n')
		switch {
		case end && start >= 0:
			list = append(list, line[start:i])
			start = -1
		case !end && start < 0:
			start = i
		}
		if i < len(line) && line[i] == '"' {
			quoted = !quoted
		}
	}
	return list
}

// parameter is the value of the last parameter of that name.
func parameter(line, name string) (value string, ok bool) {
	for _, p := range splitParameters(line) {
		if n, v, _ := strings.Cut(p, "="); n == name {
			value, ok = v, true
		}
	}
	return value, ok
}

// tooLong says which parameters the crash kernel does without.
func tooLong(left []string) string {
	return fmt.Sprintf("the crash kernel is started without %s: its command line would be longer than %d bytes", strings.Join(left, " "), maxCommandLine)
}
