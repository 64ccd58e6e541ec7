package arm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"procdump/internal/sys/fsys"
)

const (
	// UnitName is the unit that arms the machine at each boot.
	UnitName   = "procdump-kernel.service"
	unitFolder = "/etc/systemd/system"
	// unitTarget wants the unit: it is started early, and is not waited for.
	unitTarget = "sysinit.target"
)

func unitFile() string { return path.Join(unitFolder, UnitName) }
func unitLink() string { return path.Join(unitFolder, unitTarget+".wants", UnitName) }

// Systemd tells whether systemd has started this machine (sd_booted(3)).
func (s *System) Systemd() bool { return s.exists("run/systemd/system") }

// unit is the text of the unit file. Folders are those that have to be mounted.
func unit(program string, replace bool, folders []string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Written by procdump kernel arm; procdump kernel disarm removes it.")
	line("[Unit]")
	line("Description=Load the crash kernel of procdump")
	line("Documentation=man:procdump(1)")
	line("DefaultDependencies=no")
	// Whoever loads a crash kernel last has it.
	after := "local-fs.target systemd-journald.socket"
	if replace {
		after += " kdump-early.service kdump.service kdump-tools.service"
	}
	line("After=%s", after)
	line("Conflicts=shutdown.target")
	line("Before=shutdown.target")
	for _, f := range folders {
		line("RequiresMountsFor=%s", quoteUnit(f))
	}
	line("")
	line("[Service]")
	line("Type=oneshot")
	line("RemainAfterExit=yes")
	command := quoteUnit(program) + " kernel arm -boot"
	if replace {
		command += " -o"
	}
	line("ExecStart=%s", command)
	line("")
	line("[Install]")
	line("WantedBy=%s", unitTarget)
	return b.String()
}

// quoteUnit writes a path as systemd.syntax(7) and systemd.unit(5) read it: %
// begins a specifier. $ begins a variable only in the arguments of a command.
func quoteUnit(word string) string {
	word = strings.NewReplacer("%", "%%", `\`, `\\`, `"`, `\"`).Replace(word)
	if strings.ContainsAny(word, " '\"\\;") {
		return `"` + word + `"`
	}
	return word
}

// CheckProgram wants InstallUnit to be possible with this program.
func (s *System) CheckProgram(program string) error {
	if !s.Systemd() {
		return nil
	}
	return checkProgram(program)
}

// InstallUnit has the program arm the machine at each boot. Only systemd can be
// told so: elsewhere it returns false. The units are there at the next boot;
// systemd has to be told to read them before.
func (s *System) InstallUnit(program string, replace bool, folders []string) (bool, error) {
	if !s.Systemd() {
		return false, nil
	}
	if err := s.CheckProgram(program); err != nil {
		return false, err
	}
	err := os.MkdirAll(filepath.Dir(s.file(unitLink())), 0o755)
	if err == nil {
		err = fsys.WriteFile(s.file(unitFile()), []byte(unit(program, replace, folders)), 0o644, fsys.Overwrite|fsys.Durable)
	}
	if err == nil {
		err = os.Symlink(unitFile(), s.file(unitLink()))
		if errors.Is(err, fs.ErrExist) {
			err = nil
		}
	}
	if err != nil {
		return false, fmt.Errorf("install unit: %w", err)
	}
	return true, nil
}

// removeUnit tells whether there was one.
func (s *System) removeUnit() (bool, error) {
	found := false
	for _, f := range []string{unitLink(), unitFile()} {
		switch err := os.Remove(s.file(f)); {
		case err == nil:
			found = true
		case !errors.Is(err, fs.ErrNotExist):
			return found, fmt.Errorf("remove unit: %w", err)
		}
	}
	return found, nil
}

// unitEnabled tells whether the machine is armed at each boot.
func (s *System) unitEnabled() bool {
	_, err := os.Lstat(s.file(unitLink()))
	return err == nil && s.exists(unitFile())
}
