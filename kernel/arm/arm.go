package arm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"procdump/internal/sys/kexec"
	"procdump/kernel/initrd"
	"procdump/kernel/rescue"
	"procdump/kernel/settings"
)

// Request is what to arm the machine for.
type Request struct {
	Settings settings.Settings
	// Replace lets the crash kernel take the place of another program's, and
	// dumps that of what a device holds.
	Replace bool
	Version string // of procdump
}

// Job is a machine about to be armed.
type Job struct {
	Plan        rescue.Plan
	Image       string // of the kernel
	CommandLine string // of the crash kernel
	Warnings    []string
	// Replaces names the program whose crash kernel is dropped; "" if none is.
	Replaces string

	system  *System
	request Request
	target  place
	small   *place
	files   []string // of the modules
}

// Prepare finds out all that is needed, and changes nothing. Its error is an
// *Error where the machine is not as it has to be.
func (s *System) Prepare(r Request) (*Job, error) {
	state, err := s.check(r.Replace)
	if err != nil {
		return nil, err
	}
	j := &Job{system: s, request: r}
	if state.Loaded {
		j.Replaces = s.owner()
	}
	if j.Image, err = s.image(); err != nil {
		return nil, err
	}
	if j.target, err = s.place(r.Settings.Folder); err != nil {
		return nil, err
	}
	if j.target.unknown && !r.Replace {
		return nil, &Error{ErrInUse, r.Settings.Folder + " holds something that procdump does not know", "if nothing in it is needed, give -o"}
	}
	list, err := s.newModuleList()
	if err != nil {
		return nil, err
	}
	if err := s.addPlace(list, j.target); err != nil {
		return nil, err
	}
	// Small dumps can do without a place of their own.
	small, err := s.place(r.Settings.SmallFolder)
	if err == nil {
		err = s.addPlace(list, small)
	}
	if err != nil {
		j.warn("small dumps go to %s, not to small_folder: %v", r.Settings.Folder, err)
	} else {
		j.small = &small
	}
	for _, folder := range j.Folders() {
		if above := s.replaceable(folder); above != "" {
			j.warn("others than root can write %s, and put something else in the place of %s: a dump may be lost", above, folder)
		}
	}
	if units := s.others(); len(units) > 0 {
		j.warn("%s is enabled as well and loads a crash kernel of its own at boot: systemctl disable %[1]s", strings.Join(units, " "))
	}
	var left []string
	if j.CommandLine, left = commandLine(s.text("proc/cmdline")); len(left) > 0 {
		j.warn("%s", tooLong(left))
	}
	if bitmaps := s.memory() / 4096 / 2; bitmaps > 8<<20 && state.Reserved < s.leastReserved()+bitmaps {
		j.warn("%d MiB are reserved for the crash kernel, which may not do to dump this much memory: crashkernel=%dM is better",
			state.Reserved>>20, s.advised())
	}
	j.files = list.files
	j.Plan = rescue.Plan{Modules: list.modules, Target: j.target.Target, Settings: r.Settings, Version: r.Version}
	if j.small != nil {
		j.Plan.SmallTarget = &j.small.Target
	}
	return j, nil
}

func (j *Job) warn(format string, args ...any) {
	j.Warnings = append(j.Warnings, fmt.Sprintf(format, args...))
}

// check wants the machine to be able to load a crash kernel.
func (s *System) check(replace bool) (kexec.State, error) {
	state, err := kexec.Read(s.Root)
	switch {
	case err != nil:
		return state, err
	case s.User != 0:
		return state, &Error{ErrNotRoot, "", "run procdump as root"}
	case !state.Supported:
		return state, &Error{ErrUnsupported, "it was built without CONFIG_CRASH_DUMP and CONFIG_KEXEC_FILE, or this is a container",
			"use the kernel of a distribution, on the machine itself"}
	case state.Disabled:
		return state, &Error{ErrUnsupported, "kernel.kexec_load_disabled is set, and cannot be reset before the next boot",
			"remove it from /etc/sysctl.d and reboot"}
	}
	if err := s.checkReservation(state); err != nil {
		return state, err
	}
	if state.Loaded && !s.ours() && !replace {
		return state, &Error{ErrForeign, "it is that of " + s.owner(), "-o replaces it"}
	}
	return state, nil
}

// SetReserved tells the plan of space that has been set aside in a file of the
// folder for dumps.
func (j *Job) SetReserved(file string, size int64) {
	if file == "" || j.target.folder == "" {
		return
	}
	j.Plan.ReservedFile, j.Plan.Reserved = path.Join(j.Plan.Target.Folder, path.Base(file)), size
}

// Place says in words where dumps go.
func (j *Job) Place() string {
	d := j.target.device.path()
	if j.target.folder == "" {
		return "the device " + d
	}
	return fmt.Sprintf("%s on %s (%s)", j.target.folder, d, j.target.FSType)
}

// Folders are those of this machine that dumps go to.
func (j *Job) Folders() []string {
	var all []string
	for _, p := range []*place{&j.target, j.small} {
		if p != nil && p.folder != "" {
			all = append(all, p.folder)
		}
	}
	return all
}

// Load makes the folder or marks the device, and loads the crash kernel. If that
// fails the crash kernel that was there may be gone: the kernel drops it first.
func (j *Job) Load() (*Loaded, error) {
	s := j.system
	if err := j.preparePlace(); err != nil {
		return nil, err
	}
	image, err := os.Open(s.file(j.Image))
	if err != nil {
		return nil, fmt.Errorf("open image of the kernel: %w", err)
	}
	defer image.Close()
	memory, unpacked, err := j.initrd()
	if err != nil {
		return nil, err
	}
	defer memory.Close()
	l := &Loaded{Plan: j.Plan, Time: time.Now(), Image: j.Image, CommandLine: j.CommandLine, Boot: s.boot(), UnpackedBytes: unpacked}
	if l.ImageBytes, err = sizeOf(image); err != nil {
		return nil, err
	}
	if l.InitrdBytes, err = sizeOf(memory); err != nil {
		return nil, err
	}
	if err := s.Load(image, memory, j.CommandLine); err != nil {
		if state, err := kexec.Read(s.Root); err == nil && !state.Loaded {
			s.forget()
		}
		return nil, s.explain(err)
	}
	if err := s.remember(l); err != nil {
		// Nobody would know whose it is.
		return nil, errors.Join(err, s.Unload())
	}
	return l, nil
}

// preparePlace makes the folders, or marks the device.
func (j *Job) preparePlace() error {
	s := j.system
	if j.target.folder == "" {
		uuid, err := s.mark(j.target.device)
		if err != nil {
			return err
		}
		j.Plan.Target.Device = "UUID=" + uuid
	}
	for _, p := range []*place{&j.target, j.small} {
		if p == nil || p.folder == "" {
			continue
		}
		if err := os.MkdirAll(s.file(p.folder), 0o700); err != nil {
			return fmt.Errorf("make folder for dumps: %w", err)
		}
	}
	return nil
}

func sizeOf(f *os.File) (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("find size of %s: %w", f.Name(), err)
	}
	return st.Size(), nil
}

// zoneFile is where Go looks for the time zone; maxZone is larger than any, in
// bytes.
const (
	zoneFile = "/etc/localtime"
	maxZone  = 64 << 10
)

// initrd makes the initrd. It also returns how many bytes it has unpacked.
func (j *Job) initrd() (f *os.File, unpacked int64, err error) {
	p, err := j.system.program()
	if err != nil {
		return nil, 0, err
	}
	defer p.Close()
	plan, err := json.MarshalIndent(j.Plan, "", "\t")
	if err != nil {
		return nil, 0, fmt.Errorf("write plan: %w", err)
	}
	f, err = kexec.Memory("procdump-initrd", func(w io.Writer) error {
		a := initrd.NewCompressed(w)
		// The kernel opens it for the first process.
		a.AddDevice("/dev/console", 0o600, 5, 1)
		// Go opens it for the standard files that are not open.
		a.AddDevice("/dev/null", 0o666, 1, 3)
		a.AddDir("/proc")
		a.AddDir("/sys")
		if err := a.AddFile("/init", 0o755, p.size, p.reader()); err != nil {
			return err
		}
		a.AddBytes(rescue.PlanFile, 0o600, plan)
		// The names of dumps have the machine's time.
		if zone, err := os.ReadFile(j.system.file(zoneFile)); err == nil && len(zone) < maxZone {
			a.AddBytes(zoneFile, 0o644, zone)
		}
		for i, m := range j.Plan.Modules {
			if err := j.addModule(a, j.files[i], path.Join(rescue.ModuleFolder, m.File)); err != nil {
				return err
			}
		}
		err := a.Close()
		unpacked = a.Size()
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("make initrd: %w", err)
	}
	return f, unpacked, nil
}

// addModule adds a module as it is on disk: it may be compressed.
func (j *Job) addModule(a *initrd.Writer, file, name string) error {
	f, err := os.Open(j.system.file(file))
	if err != nil {
		return fmt.Errorf("add module: %w", err)
	}
	defer f.Close()
	size, err := sizeOf(f)
	if err != nil {
		return err
	}
	return a.AddFile(name, 0o644, size, f)
}

// explain adds to an error of kexec what to do about it.
func (s *System) explain(err error) error {
	state, _ := kexec.Read(s.Root)
	switch {
	case errors.Is(err, kexec.ErrTooSmall):
		want := fmt.Sprintf("crashkernel=%dM", max(s.advised(), state.Reserved>>20*2))
		return &Error{err, fmt.Sprintf("%d MiB are reserved", state.Reserved>>20), "start the kernel with " + want + ": " + s.bootRemedy(want)}
	case errors.Is(err, kexec.ErrRefused) && state.Disabled:
		return &Error{err, "kernel.kexec_load_disabled is set, and cannot be reset before the next boot", "remove it from /etc/sysctl.d and reboot"}
	case errors.Is(err, kexec.ErrSignature), errors.Is(err, kexec.ErrRefused) && state.Lockdown != "" && state.Lockdown != "none":
		return &Error{err, fmt.Sprintf("with Secure Boot or lockdown (%s) it loads images only that are signed by a key it trusts", or(state.Lockdown, "unknown")),
			"use the distribution's own kernel, or start without lockdown"}
	case errors.Is(err, kexec.ErrRefused):
		return &Error{err, "CAP_SYS_BOOT is missing, or kernel.kexec_load_limit_panic is used up", "run procdump as root, outside of containers"}
	case errors.Is(err, kexec.ErrBusy):
		return &Error{err, "", "try again"}
	}
	return err
}

func or(s, standard string) string {
	if s == "" {
		return standard
	}
	return s
}
