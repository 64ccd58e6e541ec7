package arm

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"procdump/internal/sys/kexec"
)

// leastReserved is the smallest reservation, in bytes, that a crash kernel of
// Debian's has been seen to write a dump in. In smaller ones it crashes while it
// unpacks its initrd, or has no memory left for the dump.
func (s *System) leastReserved() int64 {
	if b, err := s.embeddedProgram(); err == nil && b == nil {
		return 128 << 20 // procdump as a whole
	}
	return 96 << 20
}

// memory is the machine's memory in bytes, 0 if it is not known.
func (s *System) memory() int64 {
	for line := range strings.Lines(s.text("proc/meminfo")) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "MemTotal:" {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err == nil {
				return n << 10
			}
		}
	}
	return 0
}

// advised is the reservation, in MiB, for this machine: what a distribution's
// kernel and procdump need, and four bits for each page of the memory to dump.
func (s *System) advised() int64 {
	base := int64(192)
	memory := s.memory()
	switch {
	case s.Machine == "arm64":
		base = 256 // more is built into its kernels
	case memory > 0 && memory < 2<<30:
		base = 128
	}
	const step = 64
	bitmaps := memory / 4096 / 2 >> 20
	if bitmaps < 16 {
		return base
	}
	return (base + bitmaps + step - 1) / step * step
}

// checkReservation wants memory to be reserved for the crash kernel.
func (s *System) checkReservation(state kexec.State) error {
	least := s.leastReserved()
	if state.Reserved >= least {
		return nil
	}
	now, given := parameter(s.text("proc/cmdline"), "crashkernel")
	want := fmt.Sprintf("crashkernel=%dM", s.advised())
	cause := "the kernel was started without the parameter crashkernel="
	switch {
	case state.Reserved > 0:
		cause = fmt.Sprintf("only %d MiB are reserved, and at least %d are needed", state.Reserved>>20, least>>20)
	case given:
		cause = fmt.Sprintf("the kernel was started with crashkernel=%s, but found no room of that size, or has given it back", now)
	}
	return &Error{ErrReservation, cause, "start the kernel with " + want + ": " + s.bootRemedy(want)}
}

// bootRemedy says how a kernel parameter is set on this machine.
func (s *System) bootRemedy(parameter string) string {
	reboot := ", and reboot"
	switch {
	case s.exists("usr/sbin/grubby") || s.exists("sbin/grubby"):
		return `grubby --update-kernel=ALL --args="` + parameter + `"` + reboot
	case s.exists("usr/sbin/update-grub") || s.exists("sbin/update-grub"):
		if s.exists("etc/default/grub.d") {
			return fmt.Sprintf(`echo 'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT %s"' >/etc/default/grub.d/procdump.cfg && update-grub%s`, parameter, reboot)
		}
		return fmt.Sprintf("add %s to GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, run update-grub%s", parameter, reboot)
	case s.exists("usr/sbin/grub2-mkconfig"):
		return fmt.Sprintf("add %s to GRUB_CMDLINE_LINUX in /etc/default/grub, run grub2-mkconfig -o /boot/grub2/grub.cfg%s", parameter, reboot)
	case s.exists("usr/bin/grub-mkconfig") || s.exists("usr/sbin/grub-mkconfig"):
		return fmt.Sprintf("add %s to GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, run grub-mkconfig -o /boot/grub/grub.cfg%s", parameter, reboot)
	}
	for _, esp := range []string{"/boot", "/efi", "/boot/efi"} {
		if !s.exists(esp, "loader/entries") {
			continue
		}
		if s.exists("etc/kernel/cmdline") {
			return fmt.Sprintf("add %s to /etc/kernel/cmdline, run kernel-install add %s /lib/modules/%s/vmlinuz%s", parameter, s.Release, s.Release, reboot)
		}
		return fmt.Sprintf("add %s to the line options of the entry in %s%s", parameter, path.Join(esp, "loader/entries"), reboot)
	}
	return fmt.Sprintf("add %s to the kernel's parameters in the configuration of the boot loader%s", parameter, reboot)
}
