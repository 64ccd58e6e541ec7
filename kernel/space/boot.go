package space

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"procdump/internal/sys/fsys"
	"procdump/internal/sys/systemlog"
	"procdump/kernel/capture"
	"procdump/kernel/rescue"
	"procdump/kernel/settings"
)

// Report is what AfterBoot has found and done.
type Report struct {
	// Outcome is what became of the last crash, nil if there was none since the
	// last call.
	Outcome *Outcome
	// Warnings say what could not be done.
	Warnings []string
}

func (r *Report) warn(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}

// AfterBoot takes the record of a crash, if the crash kernel has left one, and
// does what is due then; see the package comment. Where there was no crash it
// does nothing. It is to be called before Reserve, when the file systems of the
// dumps are mounted. An error means that the record is still there, or that the
// next call is going to meet it again.
func (m *Manager) AfterBoot() (*Report, error) {
	unlock, err := lockState(m.StateFile)
	if err != nil {
		return nil, err
	}
	defer unlock()
	r := &Report{}
	state, err := loadState(m.StateFile)
	if err != nil {
		r.warn("%v; begun anew", err)
	}
	found, err := m.findRecord(&state, r)
	if err != nil {
		return nil, err
	}
	if found == nil || state.Last != nil && state.Last.Sum == found.sum {
		return r, found.done() // none, or it was dealt with and only not removed
	}
	o := &Outcome{Record: *found.record, Sum: found.sum, Seen: m.Now()}
	r.Outcome = o
	m.locate(o, found, r)
	learn(&state, &o.Record, m.Now())
	m.tidy(o, r)
	state.Last = o
	if err := state.save(m.StateFile); err != nil {
		return nil, err
	}
	if m.Settings.LogEvent {
		level := systemlog.Notice
		if !o.good() {
			level = systemlog.Warning
		}
		m.Log(level, o.Event())
	}
	return r, found.done()
}

// learn updates what is known of how large dumps are.
func learn(state *State, rec *rescue.Record, now time.Time) {
	if rec.Wanted != settings.Automatic {
		return
	}
	fits, needed, n := !rec.NoSpace, rec.NeededBytes, dumpBytes(rec)
	if (rec.Kind == settings.Automatic || rec.Kind == settings.Kernel) && n >= state.Peak {
		state.peak(n, now)
	}
	if state.Reserved > 0 && n > state.Reserved {
		fits, needed = false, n // it had to take space that was not set aside for it
	}
	if fits {
		return
	}
	state.LastCrashTime, state.Needed = rec.Time, min(max(needed, 0), maxSize)
	if !clockSet(rec.Time) || rec.Time.After(now) && clockSet(now) {
		state.LastCrashTime = now
	}
}

// dumpBytes is how many bytes of disk a dump takes.
func dumpBytes(rec *rescue.Record) int64 {
	if rec.DiskBytes > 0 {
		return rec.DiskBytes
	}
	return rec.SizeBytes
}

// foundRecord is a record and where it was.
type foundRecord struct {
	record *rescue.Record
	sum    string
	file   string // "" of a device
	// folder and smallFolder are where its dumps are; folder is "" of a device.
	folder, smallFolder string
	small               []byte // the small dump, of a device
}

// done removes the record, for it has been dealt with. That of a device stays.
func (f *foundRecord) done() error {
	if f == nil || f.file == "" {
		return nil
	}
	if err := os.Remove(f.file); err != nil {
		return fmt.Errorf("remove record of the last crash: %w", err)
	}
	return nil
}

// findRecord looks for a record where the settings and the last Reserve have
// dumps go. It returns nil if there is none.
func (m *Manager) findRecord(state *State, r *Report) (*foundRecord, error) {
	for _, p := range m.places(state) {
		if (settings.Settings{Folder: p.folder}).Raw() {
			f, err := readDevice(p)
			if f != nil || err != nil {
				return f, err
			}
		} else if f, err := readFolder(p, p.folder, r); f != nil || err != nil {
			return f, err
		}
		if f, err := readFolder(p, p.smallFolder, r); f != nil || err != nil {
			return f, err
		}
	}
	return nil, nil
}

// places are those of findRecord.
func (m *Manager) places(state *State) []foundRecord {
	s := &m.Settings
	all := []foundRecord{{folder: s.Folder, smallFolder: s.SmallFolder}}
	if state.Folder != "" && (state.Folder != s.Folder || state.SmallFolder != s.SmallFolder) {
		all = append(all, foundRecord{folder: state.Folder, smallFolder: state.SmallFolder})
	}
	return all
}

// maxRecord is the largest record that is read, in bytes.
const maxRecord = 1 << 20

// readFolder reads the record in a folder. A damaged one is put aside, for it
// would be met at each boot.
func readFolder(p foundRecord, folder string, r *Report) (*foundRecord, error) {
	p.file = filepath.Join(folder, rescue.RecordName)
	f, err := os.OpenFile(p.file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read record of the last crash: %w", err)
	}
	defer f.Close()
	if !trusted(f, folder) {
		r.warn("%s is not heeded, for it is no file, or another user has made it; remove it", p.file)
		return nil, nil
	}
	b, err := io.ReadAll(io.LimitReader(f, maxRecord))
	if err != nil {
		return nil, fmt.Errorf("read record of the last crash: %w", err)
	}
	if p.record, err = rescue.ParseRecord(b); err != nil {
		aside := p.file + ".damaged"
		if e := os.Rename(p.file, aside); e != nil {
			return nil, fmt.Errorf("put damaged record aside: %w", e)
		}
		r.warn("the kernel has crashed, but the record of what was dumped is damaged: %v; it is %s now", err, aside)
		p.record, p.file = &rescue.Record{Failures: []string{"the record of what was dumped is damaged: " + err.Error()}}, ""
	}
	p.sum = sum(b)
	return &p, nil
}

// readDevice reads the record at the end of a device.
func readDevice(p foundRecord) (*foundRecord, error) {
	f, err := os.Open(p.folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read record of the last crash: %w", err)
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("read record of the last crash: %w", err)
	}
	p.record, p.small, err = rescue.ReadTail(f, end)
	if errors.Is(err, rescue.ErrNoRecord) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read record of the last crash from %s: %w", p.folder, err)
	}
	b, err := p.record.Encode()
	if err != nil {
		return nil, err
	}
	p.sum = sum(b)
	return &p, nil
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// locate finds the dumps that a record names, by the names that they have in
// this system. A small dump at the end of a device becomes a file.
func (m *Manager) locate(o *Outcome, f *foundRecord, r *Report) {
	rec := &o.Record
	raw := (settings.Settings{Folder: f.folder}).Raw()
	switch {
	case rec.File == "":
	case raw:
		o.Dump = f.folder
	default:
		o.Dump = existing(filepath.Join(f.folder, path.Base(rec.File)))
	}
	switch {
	case len(f.small) > 0:
		name, err := m.takeSmall(rec, f.smallFolder, f.small)
		if err != nil {
			r.warn("copy the small dump from %s: %v", f.folder, err)
		}
		o.Small = name
	case rec.Small != "":
		o.Small = existing(filepath.Join(f.smallFolder, path.Base(rec.Small)))
		if o.Small == "" && !raw { // where the folder of small dumps could not be had
			o.Small = existing(filepath.Join(f.folder, path.Base(rec.Small)))
		}
	}
}

// existing returns path if there is a file, else "".
func existing(path string) string {
	if st, err := os.Lstat(path); err != nil || !st.Mode().IsRegular() {
		return ""
	}
	return path
}

// takeSmall writes a small dump to a file of its own.
func (m *Manager) takeSmall(rec *rescue.Record, folder string, b []byte) (string, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	at := rec.Time
	if at.IsZero() {
		at = m.Now()
	}
	mask, err := capture.ParseName(filepath.Join(folder, rescue.SmallName), capture.FormatAuto)
	if err != nil {
		return "", err
	}
	for name := range mask.Alternatives(at) {
		switch err := fsys.WriteFile(name, b, 0o600, fsys.Durable); {
		case err == nil:
			return name, nil
		case !errors.Is(err, fs.ErrExist):
			return "", err
		}
	}
	return "", errors.New("no name is free")
}

// tidy removes dumps that are not to stay.
func (m *Manager) tidy(o *Outcome, r *Report) {
	var removed []string
	if isFile(o.Dump) && m.Settings.Overwrite && o.Record.Finished && o.Record.Verified {
		for _, older := range dumpsOf(filepath.Dir(o.Dump), m.Settings.File, capture.IsDump) {
			if older != o.Dump && remove(older, r) {
				removed = append(removed, older)
			}
		}
	}
	if len(removed) > 0 {
		o.note("older dumps removed, as overwrite is set: %s", strings.Join(removed, ", "))
	}
	m.lowDisk(o, r)
	if o.Small == "" {
		return
	}
	small := dumpsOf(filepath.Dir(o.Small), rescue.SmallName, isSmall)
	small = slices.DeleteFunc(small, func(s string) bool { return s == o.Small })
	gone := 0
	for _, s := range small[:max(len(small)-(m.Settings.SmallCount-1), 0)] {
		if remove(s, r) {
			gone++
		}
	}
	if gone > 0 {
		o.note("%d small dumps removed, as %d are kept", gone, m.Settings.SmallCount)
	}
}

// lowDisk removes the dump where the disk is nearly full.
func (m *Manager) lowDisk(o *Outcome, r *Report) {
	if m.Settings.Keep || !isFile(o.Dump) || !capture.Holds(o.Dump, capture.IsDump) {
		return
	}
	disk, err := m.Disk(filepath.Dir(o.Dump))
	if err != nil {
		r.warn("find out how much of the disk is free: %v", err)
		return
	}
	if disk.Free >= disk.LowFree() {
		return
	}
	if remove(o.Dump, r) {
		o.note("the dump %s of %s was removed: %s of the disk were free, less than %s; set keep=true to keep such dumps",
			o.Dump, size(dumpBytes(&o.Record)), size(disk.Free), size(disk.LowFree()))
		o.Dump = ""
	}
}

func isFile(p string) bool { return p != "" && !(settings.Settings{Folder: p}).Raw() }

func remove(path string, r *Report) bool {
	if err := os.Remove(path); err != nil {
		r.warn("remove dump: %v", err)
		return false
	}
	return true
}

func (o *Outcome) note(format string, args ...any) {
	o.Notes = append(o.Notes, fmt.Sprintf(format, args...))
}
