package arm

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"procdump/kernel/modfile"
)

// moduleTable is what depmod(8) and the administrator have written about the
// modules of a kernel. Modules are known by their names, with _ for -.
type moduleTable struct {
	folder  string              // of this machine
	files   map[string]string   // file, from folder
	needs   map[string][]string // in the order of loading
	builtin map[string]bool
	alias   map[string][]string // without wildcards
	before  map[string][]string // soft dependencies: names or aliases
	options map[string][]string // parameters
}

// moduleFolder finds the folder of the running kernel's modules.
func (s *System) moduleFolder() string {
	for _, f := range []string{"/lib/modules", "/usr/lib/modules"} {
		if s.exists(f, s.Release, "modules.dep") {
			return path.Join(f, s.Release)
		}
	}
	return ""
}

// modules reads the table. A kernel without modules has an empty one.
func (s *System) modules() (*moduleTable, error) {
	t := &moduleTable{files: map[string]string{}, needs: map[string][]string{}, builtin: map[string]bool{},
		alias: map[string][]string{}, before: map[string][]string{}, options: map[string][]string{}}
	if t.folder = s.moduleFolder(); t.folder == "" {
		if s.exists("proc/modules") && s.text("proc/modules") != "" {
			return nil, &Error{ErrNotThere, "the modules of kernel " + s.Release + " are not in /lib/modules",
				"start the kernel that is installed (a new one may have taken the place of the running one)"}
		}
		return t, nil
	}
	if err := s.lines(path.Join(t.folder, "modules.dep"), func(line string) {
		// "file: file file", what is needed first being last (modules.dep(5))
		file, needs, ok := strings.Cut(line, ":")
		name := modfile.Name(file)
		if !ok || name == "" {
			return
		}
		t.files[name] = file
		for f := range strings.FieldsSeq(needs) {
			t.needs[name] = append(t.needs[name], modfile.Name(f))
		}
		slices.Reverse(t.needs[name])
	}); err != nil {
		return nil, err
	}
	// The others may not be there.
	s.lines(path.Join(t.folder, "modules.builtin"), func(line string) { t.builtin[modfile.Name(line)] = true })
	s.lines(path.Join(t.folder, "modules.alias"), func(line string) { t.line(line) })
	s.lines(path.Join(t.folder, "modules.softdep"), func(line string) { t.line(line) })
	for _, file := range s.modprobeFiles() {
		s.lines(file, func(line string) { t.line(line) })
	}
	return t, nil
}

// modprobeFiles are the administrator's, in the order of modprobe.d(5): of two
// of one name the first folder's counts.
func (s *System) modprobeFiles() []string {
	byName := map[string]string{}
	for _, folder := range []string{"/lib/modprobe.d", "/usr/lib/modprobe.d", "/usr/local/lib/modprobe.d", "/run/modprobe.d", "/etc/modprobe.d"} {
		for _, name := range s.names(folder) {
			if strings.HasSuffix(name, ".conf") {
				byName[name] = path.Join(folder, name)
			}
		}
	}
	var names []string
	for name := range byName {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		names[i] = byName[name]
	}
	return names
}

// line takes a line of modprobe.d(5), which those of depmod are, too.
func (t *moduleTable) line(line string) {
	f := strings.Fields(line)
	if len(f) < 3 {
		return
	}
	name := canonical(f[1])
	switch f[0] {
	case "alias":
		if !strings.ContainsAny(f[1], "*?[") {
			add(t.alias, name, canonical(f[2]))
		}
	case "softdep":
		pre := false
		for _, w := range f[2:] {
			if strings.HasSuffix(w, ":") {
				pre = w == "pre:"
			} else if pre {
				add(t.before, name, w)
			}
		}
	case "options":
		t.options[name] = append(t.options[name], f[2:]...)
	}
}

func add(m map[string][]string, key, value string) {
	if !slices.Contains(m[key], value) {
		m[key] = append(m[key], value)
	}
}

// lines calls f for the lines of a file that are neither empty nor comments.
func (s *System) lines(file string, f func(line string)) error {
	b, err := os.ReadFile(s.file(file))
	if err != nil {
		return fmt.Errorf("read table of modules: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			f(line)
		}
	}
	return nil
}

// canonical is a name of a module, or an alias, as the kernel compares it.
func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }
