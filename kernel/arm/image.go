package arm

import (
	"fmt"
	"path"
	"strings"
)

// image finds the file of the running kernel.
func (s *System) image() (string, error) {
	var tried []string
	try := func(file string) bool {
		tried = append(tried, file)
		return s.exists(file)
	}
	for _, f := range []string{
		"/boot/vmlinuz-" + s.Release,
		"/lib/modules/" + s.Release + "/vmlinuz",
		"/usr/lib/modules/" + s.Release + "/vmlinuz",
		"/boot/Image-" + s.Release,
		"/boot/kernel-" + s.Release,
	} {
		if try(f) {
			return f, nil
		}
	}
	for _, f := range s.bootImages() {
		if try(f) && strings.Contains(f, s.Release) {
			return f, nil
		}
	}
	return "", &Error{ErrNotThere, "none of " + strings.Join(tried, ", ") + " is there",
		fmt.Sprintf("install the package of kernel %s, mount /boot, or start the kernel that is installed", s.Release)}
}

// bootImages are the files that BOOT_IMAGE of the boot loader may mean: a path
// that begins at the root of some file system, in GRUB with (disk) before it.
func (s *System) bootImages() []string {
	for _, p := range splitParameters(s.text("proc/cmdline")) {
		file, ok := strings.CutPrefix(p, "BOOT_IMAGE=")
		if !ok {
			continue
		}
		if _, after, ok := strings.Cut(file, ")"); ok {
			file = after
		}
		// systemd-boot and EFI write \.
		file = path.Clean("/" + strings.ReplaceAll(file, `\`, "/"))
		return []string{file, path.Join("/boot", file), path.Join("/boot/efi", file), path.Join("/efi", file)}
	}
	return nil
}
