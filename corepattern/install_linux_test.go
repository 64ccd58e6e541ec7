package corepattern

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"procdump/dumpkind"
)

// TestUninstallGivesBackTheBytes installs and uninstalls over various settings.
func TestUninstallGivesBackTheBytes(t *testing.T) {
	for _, pattern := range []string{"core\n", "\n", "core.%e.%p\n", "/var/cores/ core \n", "core", "|/usr/lib/systemd/systemd-coredump %P %u %g %s %t %c %h\n"} {
		for _, limit := range []string{"0\n", "16\n", pipeLimit + "\n"} {
			s, dir := machine(t)
			put(t, s.kernelFile("core_pattern"), pattern)
			put(t, s.kernelFile("core_pipe_limit"), limit)
			in, err := s.Install(Settings{Folder: filepath.Join(dir, "dumps"), Kinds: []dumpkind.Kind{dumpkind.Full}}, true)
			if err != nil {
				t.Fatalf("%q: %v", pattern, err)
			}
			ours := "|" + s.Executable + " -j " + specifiers
			if !in.Installed || !in.Active || in.Before != strings.TrimSuffix(pattern, "\n") || in.Pattern != ours || len(in.Warnings) > 0 {
				t.Errorf("%q: %+v", pattern, in)
			}
			if got := get(t, s.kernelFile("core_pattern")); got != ours+"\n" {
				t.Errorf("core_pattern is %q", got)
			}
			if got := get(t, s.kernelFile("core_pipe_limit")); got != "4194304\n" {
				t.Errorf("core_pipe_limit is %q", got)
			}
			if conf := get(t, s.sysctlFile()); !strings.Contains(conf, "\nkernel.core_pattern="+ours+"\n") || !strings.Contains(conf, "\nkernel.core_pipe_limit=4194304\n") {
				t.Errorf("sysctl.d has %q", conf)
			}
			if st, err := os.Stat(s.stateFile()); err != nil || st.Mode() != 0o600 {
				t.Errorf("settings file: %v, %v", st.Mode(), err)
			}
			// Installed again, with other settings, it still knows.
			if in, err = s.Install(Settings{Folder: filepath.Join(dir, "dumps"), Kinds: []dumpkind.Kind{dumpkind.Triage}}, false); err != nil ||
				in.Before != strings.TrimSuffix(pattern, "\n") || in.Settings.Kinds[0] != dumpkind.Triage {
				t.Errorf("%q: again: %+v, %v", pattern, in, err)
			}
			if r, err := s.Uninstall(false); err != nil || !r.Restored {
				t.Errorf("%q: uninstall: %+v, %v", pattern, r, err)
			}
			if p, l := get(t, s.kernelFile("core_pattern")), get(t, s.kernelFile("core_pipe_limit")); p != pattern || l != limit {
				t.Errorf("given back %q and %q, want %q and %q", p, l, pattern, limit)
			}
			for _, gone := range []string{s.sysctlFile(), s.stateFile(), s.State} {
				if _, err := os.Stat(gone); err == nil {
					t.Errorf("%s is still there", gone)
				}
			}
		}
	}
}

func TestUninstallLeavesWhatOthersChanged(t *testing.T) {
	s, dir := machine(t)
	set := Settings{Folder: filepath.Join(dir, "dumps")}
	install := func() {
		if _, err := s.Install(set, true); err != nil {
			t.Fatal(err)
		}
	}
	install()
	put(t, s.kernelFile("core_pattern"), "theirs\n")
	put(t, s.kernelFile("core_pipe_limit"), "5\n")
	if in, err := s.Status(); err != nil || !in.Installed || in.Active || len(in.Warnings) != 1 {
		t.Errorf("status %+v, %v", in, err)
	}
	r, err := s.Uninstall(false)
	if err != nil || r.Restored || r.Now != "theirs" || r.Before != "core" {
		t.Errorf("%+v, %v", r, err)
	}
	if p, l := get(t, s.kernelFile("core_pattern")), get(t, s.kernelFile("core_pipe_limit")); p != "theirs\n" || l != "5\n" {
		t.Errorf("left %q, %q", p, l)
	}
	if _, err := os.Stat(s.stateFile()); err == nil {
		t.Error("the settings file is still there")
	}
	if _, err := s.Uninstall(false); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("second uninstall: %v", err)
	}

	put(t, s.kernelFile("core_pattern"), "core\n")
	install()
	put(t, s.kernelFile("core_pattern"), "theirs\n")
	if r, err := s.Uninstall(true); err != nil || !r.Restored || get(t, s.kernelFile("core_pattern")) != "core\n" {
		t.Errorf("by force: %+v, %v", r, err)
	}
}

func TestInstallRefuses(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(s *System, dir string, set *Settings)
		is      error
		want    string
	}{
		{"another handler", func(s *System, _ string, _ *Settings) {
			put(t, s.kernelFile("core_pattern"), "|/usr/share/apport/apport -p%p\n")
		}, ErrForeign, "apport"},
		{"program of a user", func(s *System, _ string, _ *Settings) { os.Chown(s.Executable, 1000, 0) }, ErrUntrusted, "make install"},
		{"program that others write", func(s *System, _ string, _ *Settings) { os.Chmod(s.Executable, 0o775) }, ErrUntrusted, "make install"},
		{"program in a folder that others write", func(s *System, _ string, _ *Settings) { os.Chmod(filepath.Dir(s.Executable), 0o1777) }, ErrUntrusted, "make install"},
		{"program in /tmp", func(s *System, _ string, _ *Settings) { s.Executable = t.TempDir() }, ErrUntrusted, "make install"},
		{"no program", func(s *System, _ string, _ *Settings) { os.Chmod(s.Executable, 0o644) }, ErrUntrusted, "make install"},
		{"relative folder", func(_ *System, _ string, set *Settings) { set.Folder = "dumps" }, nil, "absolute"},
		{"folder in nowhere", func(_ *System, dir string, set *Settings) { set.Folder = dir + "/a/b" }, nil, "create it"},
		{"folder that others write", func(_ *System, dir string, set *Settings) {
			set.Folder = dir + "/open"
			os.Mkdir(set.Folder, 0)
			os.Chmod(set.Folder, 0o1777)
		}, ErrUntrusted, "can be written by others"},
		{"folder of a user", func(_ *System, dir string, set *Settings) {
			set.Folder = dir + "/user"
			os.Mkdir(set.Folder, 0o755)
			os.Chown(set.Folder, 1000, 1000)
		}, ErrUntrusted, "belongs to user 1000"},
		{"folder below a user's", func(_ *System, dir string, set *Settings) {
			set.Folder = dir + "/home/dumps"
			os.MkdirAll(set.Folder, 0o755)
			os.Chown(dir+"/home", 1000, 1000)
		}, ErrUntrusted, "belongs to user 1000"},
		{"a file of another's in sysctl.d", func(s *System, _ string, _ *Settings) { put(t, s.sysctlFile(), "kernel.x=1\n") }, nil, "not written by procdump"},
		{"a kernel without cores", func(s *System, _ string, _ *Settings) { os.Remove(s.kernelFile("core_pattern")) }, nil, "no cores"},
		{"a negative limit", func(_ *System, _ string, set *Settings) { set.PerMinute = -1 }, nil, "negative"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, dir := machine(t)
			set := Settings{Folder: filepath.Join(dir, "dumps")}
			c.prepare(&s, dir, &set)
			before, _ := os.ReadFile(s.kernelFile("core_pattern"))
			_, err := s.Install(set, false)
			if err == nil || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if after, _ := os.ReadFile(s.kernelFile("core_pattern")); string(after) != string(before) {
				t.Errorf("core_pattern is %q, was %q", after, before)
			}
			if _, err := os.Stat(s.stateFile()); err == nil {
				t.Error("a settings file is there")
			}
		})
	}
}

// TestInstallThatFailsChangesNothing has a kernel that takes no pattern.
func TestInstallThatFailsChangesNothing(t *testing.T) {
	s, dir := machine(t)
	limit := s.kernelFile("core_pipe_limit")
	os.Remove(limit)
	// Read it can be, through the link, but not written.
	if err := os.Symlink("/proc/sys/kernel/ngroups_max", limit); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Install(Settings{Folder: filepath.Join(dir, "dumps")}, false); err == nil {
		t.Fatal("installed")
	}
	if got := get(t, s.kernelFile("core_pattern")); got != "core\n" {
		t.Errorf("core_pattern is %q", got)
	}
	for _, f := range []string{s.sysctlFile(), s.stateFile()} {
		if _, err := os.Stat(f); err == nil {
			t.Errorf("%s is there", f)
		}
	}
}

func TestInstallWarnsOfLaterFiles(t *testing.T) {
	s, dir := machine(t)
	put(t, filepath.Join(s.Sysctl, "10-early.conf"), "kernel.core_pattern=core\n")
	put(t, filepath.Join(s.Sysctl, "99-late.conf"), "# x\n -kernel/core_pattern = /tmp/core\n")
	put(t, filepath.Join(dir, "sysctl.conf"), "kernel.core_uses_pid=1\n")
	in, err := s.Install(Settings{Folder: filepath.Join(dir, "dumps")}, false)
	if err != nil || len(in.Warnings) != 1 || !strings.Contains(in.Warnings[0], "99-late.conf") {
		t.Errorf("%+v, %v", in, err)
	}
}
