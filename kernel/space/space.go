// Package space manages the disk space of dumps at a crash: how much is set
// aside for the next one, and which dumps stay.
//
// Of kind automatic a dump holds what one of kind kernel holds, and its space is
// procdump's business, as that of Windows' automatic dumps is: a file in the
// folder of the dumps has its blocks allocated beforehand (fallocate(2)), which
// the crash kernel uses for the dump. The policy, in Plan:
//
//   - The file has twice the size that a dump of kind kernel would have now, by
//     the use of the pages and a sample of their compression, or that one had in
//     the last four weeks, and 64 MiB.
//   - A dump that does not fit is recorded as LastCrashTime. The file then has at
//     least the size of the machine's memory, for four weeks.
//   - The file never takes more than what leaves 5 % of the disk free, at most
//     5 GiB. With less than 16 MiB to have there is none.
//
// For other kinds, and on devices without a file system, nothing is set aside.
//
// AfterBoot does what is due at the first boot after a crash. It takes the record
// that the crash kernel has left, and removes dumps: small ones beyond the number
// to keep; older ones, if the new one takes their place; the new one itself, if
// less than 10 % of the disk are free, at most 25 GiB, and it is not to be kept
// anyway. Windows has 25 GB whatever the disk's size.
//
// What is known from one boot to the next is in State, a file of its own.
package space

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"procdump/internal/sys/fsys"
	"procdump/internal/sys/systemlog"
	"procdump/kernel/settings"
)

// StateFile is where the State of the machine is.
const StateFile = "/var/lib/procdump/kernel-space.json"

// ReservedName is the file, in the folder of the dumps, that holds the space set
// aside.
const ReservedName = ".procdump-reserved"

// Manager manages the space of a machine's dumps. Several procdumps may do that
// at once: each waits for the other. The fields may be changed before the first
// call.
type Manager struct {
	Settings  settings.Settings
	StateFile string
	Now       func() time.Time
	// Measure looks at the running kernel.
	Measure func(context.Context) (Measure, error)
	// Disk asks for the file system that holds a folder.
	Disk func(folder string) (Disk, error)
	// Log writes a line to the system's log.
	Log func(level systemlog.Level, text string)
}

// New returns a manager of this machine.
func New(s settings.Settings) *Manager {
	return &Manager{Settings: s, StateFile: StateFile, Now: time.Now, Disk: diskOf, Log: systemlog.Write,
		Measure: func(ctx context.Context) (Measure, error) { return measure(ctx, s.Compression) }}
}

// Reservation is what is set aside.
type Reservation struct {
	File     string // "" if nothing is
	Bytes    int64
	Decision Decision
	// Warnings say what could not be done as it should, and how that can be
	// helped.
	Warnings []string
}

// Reserve sets space aside as Plan says, or gives it back where there is to be
// none. Less space than planned is a warning, not an error: a dump takes what
// is free at the crash as well.
func (m *Manager) Reserve(ctx context.Context) (*Reservation, error) {
	unlock, err := lockState(m.StateFile)
	if err != nil {
		return nil, err
	}
	defer unlock()
	r := &Reservation{}
	state, err := loadState(m.StateFile)
	if err != nil {
		r.warn("%v; begun anew: what dumps needed earlier is forgotten", err)
	}
	in, warnings, err := m.input(ctx, state)
	if err != nil {
		return nil, err
	}
	r.Warnings = append(r.Warnings, warnings...)
	r.Decision = Plan(in)
	state, err = r.Decision.State, nil
	file := filepath.Join(m.Settings.Folder, ReservedName)
	if old := state.File; old != "" && old != file {
		if err := removeReserved(old); err != nil {
			r.warn("give back the space that was set aside before: %v; remove %s", err, old)
		}
	}
	state.File, state.Reserved = "", 0
	if r.Decision.Bytes > 0 {
		state.File = file
		if r.Bytes, err = setAsideMost(file, r.Decision.Bytes); err != nil {
			r.warn("set space aside for dumps: %v; a dump takes what is free at the crash", err)
		}
		state.Reserved = r.Bytes
	} else if !m.Settings.Raw() {
		// Also one that the state does not know of, for it was lost.
		if err := removeReserved(file); err != nil {
			r.warn("give back the space that was set aside before: %v; remove %s", err, file)
		}
	}
	if r.Bytes > 0 {
		r.File = file
	} else {
		state.File = ""
	}
	if wanted := r.Decision.Wanted; r.Bytes < wanted && err == nil {
		r.warn("%s of the %s that the next dump may need are set aside: the rest of the disk is to stay free; make room in %s, or set folder to a larger disk",
			size(r.Bytes), size(wanted), m.Settings.Folder)
	}
	state.Folder, state.SmallFolder = m.Settings.Folder, m.Settings.SmallFolder
	return r, state.save(m.StateFile)
}

// setAsideMost is setAside of n bytes or, where the disk has less to give than it
// said, of less. Btrfs, for one, cannot say.
func setAsideMost(file string, n int64) (int64, error) {
	for {
		had, err := setAside(file, n)
		less := n / 4 * 3 / mib * mib
		if !fsys.IsNoSpace(err) || less < atLeast {
			return had, err
		}
		if had >= less {
			return had, nil
		}
		n = less
	}
}

func (r *Reservation) warn(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}

// input asks the machine what Plan needs to know.
func (m *Manager) input(ctx context.Context, state State) (in Input, warnings []string, err error) {
	in = Input{Now: m.Now(), Kind: m.Settings.Kind, Raw: m.Settings.Raw(), State: state}
	if !in.manages() {
		return in, nil, nil
	}
	if err := os.MkdirAll(m.Settings.Folder, 0o700); err != nil {
		return in, nil, fmt.Errorf("make folder of dumps: %w", err)
	}
	now, err := m.Measure(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return in, nil, context.Cause(ctx)
		}
		warnings = append(warnings, fmt.Sprintf("estimate the size of a dump: %v", err))
	}
	if now.Memory == 0 {
		now.Memory = fsys.Memory()
	}
	in.Measure = now
	if in.Disk, err = m.Disk(m.Settings.Folder); err != nil {
		return in, nil, fmt.Errorf("find out how much of the disk is free: %w", err)
	}
	// What is set aside now can be set aside again.
	in.Disk.Free += reservedSize(filepath.Join(m.Settings.Folder, ReservedName))
	return in, warnings, nil
}

// Release gives back what is set aside, in whatever folder the settings had when
// that was done. Where that is not known any more, it is what lies in the folder
// of the settings.
func (m *Manager) Release() error {
	unlock, err := lockState(m.StateFile)
	if err != nil {
		return err
	}
	defer unlock()
	state, stateErr := loadState(m.StateFile)
	if stateErr != nil {
		stateErr = fmt.Errorf("%w; if space was set aside elsewhere than in %s, remove %s there", stateErr, m.Settings.Folder, ReservedName)
	}
	files := []string{state.File}
	if !m.Settings.Raw() {
		files = append(files, filepath.Join(m.Settings.Folder, ReservedName))
	}
	for _, f := range files {
		if f == "" {
			continue
		}
		if err := removeReserved(f); err != nil {
			return fmt.Errorf("give back the space set aside for dumps: %w", err)
		}
	}
	if stateErr != nil || state.File == "" {
		return stateErr // nothing to write down
	}
	state.File, state.Reserved = "", 0
	return state.save(m.StateFile)
}
