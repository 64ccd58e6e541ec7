package corepattern

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Install makes procdump the machine's crash handler. Where it is that already
// the settings become these. Force replaces another tool's handler.
func (s System) Install(set Settings, force bool) (*Installation, error) {
	set = set.withDefaults()
	if err := set.check(); err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("install crash handler: %w: run as root", fs.ErrPermission)
	}
	exe, err := s.handlerPath()
	if err != nil {
		return nil, err
	}
	pattern, err := patternFor(exe)
	if err != nil {
		return nil, err
	}
	st := &state{Pattern: pattern}
	if err := s.keepBefore(st, force); err != nil {
		return nil, err
	}
	if err := makeFolder(set.Folder); err != nil {
		return nil, err
	}
	if set.Keep.Free == 0 {
		set.Keep.Free = min(DefaultFree, diskSize(set.Folder)/20)
	}
	st.Settings = set
	if _, err := set.mask(); err != nil {
		return nil, err
	}
	if err := s.checkSysctl(force); err != nil {
		return nil, err
	}
	// What is needed to undo it is on disk before anything is changed.
	if err := s.writeState(st); err != nil {
		return nil, err
	}
	err = s.activate(st)
	if err != nil {
		_, undo := s.Uninstall(false)
		return nil, errors.Join(err, undo)
	}
	in, err := s.Status()
	if err == nil {
		in.Warnings = append(in.Warnings, s.overridden()...)
	}
	return in, err
}

// Status tells how things stand.
func (s System) Status() (*Installation, error) {
	now, err := os.ReadFile(s.kernelFile("core_pattern"))
	if err != nil {
		return nil, fmt.Errorf("read core_pattern: %w", err)
	}
	in := &Installation{Pattern: line(now)}
	st, err := s.readState()
	if errors.Is(err, ErrNotInstalled) {
		return in, nil
	}
	if err != nil {
		return nil, err
	}
	in.Installed, in.Before, in.Settings = true, line(st.Before.Pattern), st.Settings
	in.Active = in.Pattern == st.Pattern
	if !in.Active {
		in.Warnings = append(in.Warnings, fmt.Sprintf("core_pattern was changed to %q since: crashes do not go to procdump (-i installs it again)", in.Pattern))
	}
	return in, nil
}

// Uninstall puts back what was there before Install. Where somebody has
// changed core_pattern since, that stays, unless force is set.
func (s System) Uninstall(force bool) (*Removal, error) {
	st, err := s.readState()
	if err != nil {
		if errors.Is(err, ErrNotInstalled) {
			err = fmt.Errorf("uninstall crash handler: %w: there is no %s", err, s.stateFile())
		}
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("uninstall crash handler: %w: run as root", fs.ErrPermission)
	}
	now, err := os.ReadFile(s.kernelFile("core_pattern"))
	if err != nil {
		return nil, fmt.Errorf("read core_pattern: %w", err)
	}
	r := &Removal{Before: line(st.Before.Pattern), Now: line(now)}
	switch {
	case r.Now == st.Pattern || force:
		if err := s.write("core_pattern", st.Before.Pattern); err != nil {
			return nil, err
		}
		r.Restored, r.Now = true, r.Before
	case r.Now == r.Before: // of an Uninstall that was cut short
		r.Restored = true
	}
	limit, err := os.ReadFile(s.kernelFile("core_pipe_limit"))
	if err == nil && st.Before.PipeLimit != nil && (line(limit) == pipeLimit || force) {
		if err := s.write("core_pipe_limit", st.Before.PipeLimit); err != nil {
			return nil, err
		}
	}
	return r, s.removeFiles()
}

// removeFiles removes what Install made, but not the dumps; the settings, which
// undo the rest, last.
func (s System) removeFiles() error {
	locks, _ := filepath.Glob(filepath.Join(s.stateDir(), "lock.*"))
	for _, f := range append(locks, s.sysctlFile(), s.stateFile()) {
		if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("uninstall crash handler: %w", err)
		}
	}
	os.Remove(s.stateDir()) // unless the dumps are there
	return nil
}

// keepBefore reads what is there now, or, where that is ours, takes over what
// was there before.
func (s System) keepBefore(st *state, force bool) error {
	var err error
	read := func(name string) []byte {
		b, e := os.ReadFile(s.kernelFile(name))
		if e != nil && !errors.Is(e, fs.ErrNotExist) && err == nil {
			err = fmt.Errorf("read kernel setting: %w", e)
		}
		return b
	}
	st.Before = before{read("core_pattern"), read("core_pipe_limit"), read("core_uses_pid")}
	if err == nil && st.Before.Pattern == nil {
		err = fmt.Errorf("install crash handler: there is no %s: this kernel writes no cores", s.kernelFile("core_pattern"))
	}
	if err != nil {
		return err
	}
	now := line(st.Before.Pattern)
	old, err := s.readState()
	switch {
	case err == nil && now == old.Pattern:
		st.Before = old.Before
		return nil
	case err == nil && line(st.Before.PipeLimit) == pipeLimit:
		st.Before.PipeLimit = old.Before.PipeLimit // ours, too
	case err != nil && !errors.Is(err, ErrNotInstalled) && !force:
		return err
	}
	if tool := foreign(now); tool != "" && !force {
		return fmt.Errorf("install crash handler: %w: core_pattern hands crashes to %s (%q); -o replaces it, and -u gives it back", ErrForeign, tool, now)
	}
	return nil
}

// activate changes the kernel's settings, now and for the next start.
func (s System) activate(st *state) error {
	if err := os.MkdirAll(filepath.Dir(s.sysctlFile()), 0o755); err != nil {
		return fmt.Errorf("install crash handler: %w", err)
	}
	if err := replaceFile(s.sysctlFile(), sysctlText(st.Pattern), 0o644, true); err != nil {
		return err
	}
	if st.Before.PipeLimit != nil {
		if err := s.write("core_pipe_limit", []byte(pipeLimit+"\n")); err != nil {
			return err
		}
	}
	return s.write("core_pattern", []byte(st.Pattern+"\n"))
}

const sysctlHeader = "# Written by procdump -i: crashed processes are dumped by procdump.\n"

func sysctlText(pattern string) []byte {
	return []byte(sysctlHeader +
		"# procdump -u removes this file and gives back what was there before.\n" +
		"# core_pipe_limit: the kernel waits for the handler (not 0) and skips no crash.\n" +
		"kernel.core_pipe_limit=" + pipeLimit + "\n" +
		"kernel.core_pattern=" + pattern + "\n")
}

// checkSysctl refuses to replace a file that procdump did not write.
func (s System) checkSysctl(force bool) error {
	b, err := os.ReadFile(s.sysctlFile())
	if err == nil && !bytes.HasPrefix(b, []byte(sysctlHeader)) && !force {
		return fmt.Errorf("install crash handler: %s was not written by procdump; -o replaces it", s.sysctlFile())
	}
	return nil
}

// overridden warns of files that set core_pattern after ours when the machine
// starts (sysctl.d(5): in the order of their names, sysctl.conf last).
func (s System) overridden() []string {
	ours := s.sysctlFile()
	files, _ := filepath.Glob(filepath.Join(filepath.Dir(ours), "*.conf"))
	files = slices.DeleteFunc(files, func(f string) bool { return f <= ours })
	files = append(files, filepath.Join(filepath.Dir(filepath.Dir(ours)), "sysctl.conf"))
	var out []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for l := range strings.Lines(string(b)) {
			name, _, ok := strings.Cut(strings.TrimLeft(l, " \t-"), "=")
			if name = strings.ReplaceAll(strings.TrimSpace(name), "/", "."); ok && name == "kernel.core_pattern" {
				out = append(out, fmt.Sprintf("%s sets kernel.core_pattern too and comes later: after a restart of the machine that counts", f))
			}
		}
	}
	return out
}

// write writes one of the kernel's settings in one go.
func (s System) write(name string, value []byte) error {
	f, err := os.OpenFile(s.kernelFile(name), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return fmt.Errorf("write kernel setting: %w", err)
	}
	_, err = f.Write(value)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write kernel setting: %w", err)
	}
	return nil
}

// line is a setting without the newline that the kernel adds.
func line(b []byte) string { return strings.TrimSuffix(string(b), "\n") }
