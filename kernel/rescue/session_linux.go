package rescue

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"procdump/internal/sys/machine"
	"procdump/internal/sys/window"
	"procdump/kdump"
	"procdump/kdump/vmcore"
	"procdump/kernel/dumped"
	"procdump/kernel/layout"
	"procdump/kernel/settings"
	"procdump/kernel/small"
)

// session is the work on one crash.
type session struct {
	plan  *Plan
	log   *logger
	rec   Record
	place place       // nil: there is none
	small place       // nil: there is none
	dump  *kdump.Dump // nil: there is none
}

func newSession(p *Plan, log *logger, version string) *session {
	return &session{plan: p, log: log, rec: Record{Wanted: p.Settings.Kind, Version: version}}
}

// run does all that can be done. What fails is in the record, and what depends
// on it is left out.
func (s *session) run() {
	v := &volumes{s: s, mounted: map[string]string{}}
	defer v.close()
	defer s.saveRecord(true)
	s.step("load modules", func() error { s.loadModules(); return nil })
	s.step("open memory", s.openMemory)
	s.step("read the kernel's log", s.describe)
	s.step("open target", func() (err error) { s.place, err = v.place(s.plan.Target); return err })
	s.step("open target of small dumps", func() error { return s.openSmall(v) })
	s.step("give back reserved space", s.release)
	s.step("write small dump", s.writeSmall)
	s.saveRecord(false)
	if k := s.plan.Settings.Kind; k != settings.Small && k != settings.None {
		s.step("write dump", s.writeDump)
	}
}

// openSmall opens the place of small dumps. Where it cannot be had they go beside
// the others.
func (s *session) openSmall(v *volumes) error {
	s.small = s.place
	if s.plan.SmallTarget == nil {
		return nil
	}
	p, err := v.place(*s.plan.SmallTarget)
	if err == nil {
		s.small = p
	}
	return err
}

// step does one thing. Damaged memory may lead to anything, even to a bug.
func (s *session) step(name string, f func() error) {
	defer func() {
		if p := recover(); p != nil {
			s.failed(fmt.Errorf("%s: procdump has a bug: %v", name, p))
			stack := strings.Split(string(debug.Stack()), "\n")
			s.log.printf("%s", strings.Join(stack[:min(len(stack), 30)], " | "))
		}
	}()
	s.rec.Step = name
	s.log.alive()
	if err := f(); err != nil {
		s.failed(err)
	}
}

// failed tells of something that went wrong.
func (s *session) failed(err error) {
	// The next boot knows the files by other names.
	text := err.Error()
	for _, p := range []place{s.place, s.small} {
		if f, ok := p.(*folder); ok {
			text = strings.ReplaceAll(text, f.root+"/", "/")
		}
	}
	s.log.printf("%s", text)
	s.rec.Failures = append(s.rec.Failures, text)
}

// saveRecord writes the record: before the dump, and again in the end.
func (s *session) saveRecord(finished bool) {
	s.rec.Seconds = time.Since(s.log.start).Seconds()
	s.rec.ResidentBytes = kilobytes("/proc/self/status", "VmHWM:")
	s.rec.Log = s.log.said()
	if finished {
		s.log.printf("done after %.1f s, with %d MiB of memory", s.rec.Seconds, s.rec.ResidentBytes>>20)
		s.rec.Finished, s.rec.Step = true, ""
	}
	for _, p := range []place{s.place, s.small} {
		if p == nil {
			continue
		}
		err := p.saveRecord(&s.rec)
		if err == nil {
			return
		}
		s.failed(err)
	}
}

// openMemory opens the memory of the kernel that crashed.
func (s *session) openMemory() error {
	f, err := os.Open("/proc/vmcore")
	if err != nil {
		return fmt.Errorf("open the crashed kernel's memory: %w: the kernel that crashed has damaged what describes it", err)
	}
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("open the crashed kernel's memory: %w", err)
	}
	d, err := vmcore.Open(window.NewReader(f, st.Size()), st.Size())
	if err != nil {
		return fmt.Errorf("open the crashed kernel's memory: %w", err)
	}
	s.dump = d
	if _, err := layout.Open(d); err != nil {
		s.repair(err)
		d = s.dump
	}
	for _, run := range d.Runs {
		s.rec.Memory += run.Size
	}
	s.rec.Release, s.rec.Time = d.Uname.Release, d.Time
	s.log.printf("kernel %s has crashed with %d MiB of memory", d.Uname.Release, s.rec.Memory>>20)
	return nil
}

// repair looks for what VMCOREINFO should tell in memory.
func (s *session) repair(why error) {
	s.failed(why)
	src := dumped.Open(s.dump, dumped.Options{NoTypes: true})
	src.Pages()
	for _, w := range src.Warnings() {
		s.log.printf("%s", w)
	}
	if src.Known() {
		s.dump = src.Dump()
	}
}

// describe finds the reason of the crash.
func (s *session) describe() error {
	if s.dump == nil {
		return nil
	}
	k, err := layout.Open(s.dump)
	if err != nil {
		return err
	}
	records, err := k.Log()
	s.rec.Panic = layout.PanicMessage(records)
	if s.rec.Panic != "" {
		s.log.printf("%s", s.rec.Panic)
	}
	return err
}

// release removes the file that kept space for this dump.
func (s *session) release() error {
	f, ok := s.place.(*folder)
	if !ok || s.plan.ReservedFile == "" || s.plan.Settings.Kind == settings.Small {
		return nil
	}
	path := filepath.Join(f.root, filepath.Join("/", s.plan.ReservedFile))
	err := checkReserved(path)
	if err == nil {
		err = os.Remove(path)
	}
	if errors.Is(err, os.ErrNotExist) {
		s.log.printf("no space is reserved: %v", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("give back reserved space: %w", err)
	}
	s.log.printf("%d MiB of reserved space given back", s.plan.Reserved>>20)
	// Journaling file systems use it again only after that.
	return machine.SyncFS(f.root)
}

// checkReserved wants a file to keep space and nothing else: all of it reads as
// zeros, of which the beginning is looked at.
func checkReserved(path string) error {
	st, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, 4096)
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return err
	}
	if len(bytes.Trim(head[:n], "\x00")) > 0 {
		return fmt.Errorf("%s has other content than space that is kept", path)
	}
	return nil
}

// writeSmall writes the small dump.
func (s *session) writeSmall() error {
	defer debug.FreeOSMemory()
	if s.small == nil || s.dump == nil {
		return nil
	}
	k, err := layout.Open(s.dump)
	if err != nil {
		return fmt.Errorf("write small dump: %w", err)
	}
	var b bytes.Buffer
	report, err := small.Write(&b, k, small.Options{Time: s.at()})
	if err != nil {
		return fmt.Errorf("write small dump: %w", err)
	}
	if s.rec.Panic == "" {
		s.rec.Panic = report.Note.Panic
	}
	if s.rec.Small, err = s.small.saveSmall(b.Bytes(), s.at()); err != nil {
		return err
	}
	s.rec.SmallSizeBytes = int64(b.Len())
	if s.plan.Settings.Kind == settings.Small {
		s.rec.Kind = settings.Small
	}
	s.log.printf("small dump of %d bytes in %s", b.Len(), s.rec.Small)
	return nil
}

// at is the time in the names of dumps.
func (s *session) at() time.Time {
	if !s.rec.Time.IsZero() {
		return s.rec.Time
	}
	return time.Now()
}
