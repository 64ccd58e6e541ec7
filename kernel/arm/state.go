package arm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"procdump/internal/sys/fsys"
	"procdump/internal/sys/kexec"
	"procdump/kernel/rescue"
)

// Loaded is what procdump has loaded.
type Loaded struct {
	Plan        rescue.Plan `json:"plan"`
	Time        time.Time   `json:"time"`
	Image       string      `json:"image"`
	CommandLine string      `json:"commandLine"`
	ImageBytes  int64       `json:"imageBytes"`
	// InitrdBytes is the size of the initrd as it is loaded, UnpackedBytes that
	// of what is in it.
	InitrdBytes   int64 `json:"initrdBytes"`
	UnpackedBytes int64 `json:"unpackedBytes"`
	// Boot is the boot that it is loaded for.
	Boot string `json:"boot"`
}

// stateFile tells the next procdump whose crash kernel is loaded. It is gone
// with the boot.
const stateFile = "/run/procdump/kernel.json"

// boot identifies the boot of the kernel.
func (s *System) boot() string { return s.text("proc/sys/kernel/random/boot_id") }

func (s *System) remember(l *Loaded) error {
	b, err := json.MarshalIndent(l, "", "\t")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(s.file(stateFile)), 0o755)
	}
	if err == nil {
		err = fsys.WriteFile(s.file(stateFile), append(b, '\n'), 0o600, fsys.Overwrite)
	}
	if err != nil {
		return fmt.Errorf("write down what is loaded: %w", err)
	}
	return nil
}

func (s *System) forget() error {
	if err := os.Remove(s.file(stateFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget what was loaded: %w", err)
	}
	return nil
}

// remembered is what procdump loaded at this boot, or nil.
func (s *System) remembered() *Loaded {
	b, err := os.ReadFile(s.file(stateFile))
	if err != nil {
		return nil
	}
	var l Loaded
	if json.Unmarshal(b, &l) != nil || l.Boot != s.boot() {
		return nil
	}
	return &l
}

// ours tells whether the crash kernel that is loaded is procdump's, as far as is
// known: another program may have replaced it, which the kernel does not tell.
func (s *System) ours() bool { return s.remembered() != nil }

// dumpServices are the units of other tools that load a crash kernel.
var dumpServices = []string{
	"kdump-tools.service", // Debian, Ubuntu
	"kdump.service",       // Fedora, RHEL, SUSE
	"kdump-early.service", // SUSE
	"kdump",               // OpenRC
	"crash-dump.service",  // Arch's wiki
}

// others are the units of other tools that are enabled.
func (s *System) others() []string {
	var units []string
	for _, unit := range dumpServices {
		for _, folder := range []string{"etc/systemd/system", "etc/runlevels"} {
			for _, target := range s.names(folder) {
				if _, err := os.Lstat(s.file(folder, target, unit)); err == nil && !slices.Contains(units, unit) {
					units = append(units, unit)
				}
			}
		}
	}
	return units
}

// owner names who has loaded the crash kernel that is loaded.
func (s *System) owner() string {
	if s.ours() {
		return "procdump"
	}
	if units := s.others(); len(units) > 0 {
		return strings.Join(units, " or ")
	}
	for _, t := range []struct{ file, tool string }{{"usr/sbin/kdump-config", "kdump-tools"}, {"usr/bin/kdumpctl", "kdump (kexec-tools)"}, {"usr/sbin/kdumptool", "kdump"}} {
		if s.exists(t.file) {
			return t.tool
		}
	}
	return "another program, kexec -p for one"
}

// Disarmed is what Disarm did.
type Disarmed struct {
	Unloaded bool // procdump's crash kernel was loaded
	Unit     bool // the unit was there
	// Foreign names the program whose crash kernel is loaded and stays; "" if
	// there is none.
	Foreign string
}

// Disarm unloads the crash kernel, unless it is another program's and not to be
// unloaded anyway, and removes the unit.
func (s *System) Disarm(anyway bool) (Disarmed, error) {
	var d Disarmed
	if s.User != 0 {
		return d, &Error{ErrNotRoot, "", "run procdump as root"}
	}
	state, err := kexec.Read(s.Root)
	if err != nil {
		return d, err
	}
	if d.Unit, err = s.removeUnit(); err != nil {
		return d, err
	}
	switch {
	case !state.Loaded:
	case !s.ours() && !anyway:
		d.Foreign = s.owner()
		return d, nil
	default:
		if err := s.Unload(); err != nil {
			return d, s.explain(err)
		}
		d.Unloaded = true
	}
	return d, s.forget()
}
