package arm

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"procdump/kernel/rescue"
)

// moduleList collects modules in an order to load them in.
type moduleList struct {
	table   *moduleTable
	loaded  func(name string) bool // in the running kernel
	command []string               // parameters of the running kernel
	done    map[string]int         // the place in modules, or pending
	modules []rescue.Module
	files   []string // of the modules, on this machine
}

// pending is the place of a module whose needs are being added.
const pending = -1

// newModuleList starts an empty list.
func (s *System) newModuleList() (*moduleList, error) {
	t, err := s.modules()
	if err != nil {
		return nil, err
	}
	return &moduleList{table: t, done: map[string]int{}, command: splitParameters(s.text("proc/cmdline")),
		loaded: func(name string) bool { return s.exists("sys/module", name) }}, nil
}

// add adds a module, by its name or an alias, after all that it needs. What the
// kernel has built in needs nothing. It tells whether there is such a module.
func (l *moduleList) add(name string, optional bool) bool {
	key := canonical(name)
	if l.table.builtin[key] {
		return true
	}
	if _, ok := l.table.files[key]; !ok {
		return l.addAlias(key)
	}
	if at, ok := l.done[key]; ok {
		if at != pending && l.modules[at].Optional && !optional {
			l.modules[at].Optional = false
			for _, need := range l.table.needs[key] {
				l.add(need, false)
			}
		}
		return true
	}
	// Set first: a soft dependency may be mutual.
	l.done[key] = pending
	for _, before := range l.table.before[key] {
		l.addSoft(before)
	}
	for _, need := range l.table.needs[key] {
		l.add(need, optional)
	}
	file := l.table.files[key]
	l.files = append(l.files, path.Join("/", l.table.folder, file))
	if strings.HasPrefix(file, "/") {
		l.files[len(l.files)-1] = file
	}
	l.done[key] = len(l.modules)
	l.modules = append(l.modules, rescue.Module{File: path.Base(file), Parameters: l.parameters(key), Optional: optional})
	return true
}

// addAlias adds the modules that an alias stands for: those that the running
// kernel has, or all of them, of which some will not do on this machine.
func (l *moduleList) addAlias(alias string) bool {
	names := l.table.alias[alias]
	have := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !l.loaded(n) && !l.table.builtin[n] })
	if len(have) > 0 {
		names = have
	}
	for _, n := range names {
		l.add(n, len(names) > 1 || len(have) == 0)
	}
	return len(names) > 0
}

// addSoft adds a soft dependency. One that the running kernel has not loaded, in
// the module's own interest, is not needed on this machine.
func (l *moduleList) addSoft(name string) {
	key := canonical(name)
	if _, ok := l.table.files[key]; ok {
		if l.loaded(key) {
			l.add(key, true)
		}
		return
	}
	for _, n := range l.table.alias[key] {
		if l.loaded(n) {
			l.add(n, true)
		}
	}
}

// parameters are those of modprobe.d and, after them, of the kernel's command
// line (modprobe(8)): later ones win.
func (l *moduleList) parameters(name string) string {
	list := slices.Clone(l.table.options[name])
	for _, p := range l.command {
		module, rest, ok := strings.Cut(p, ".")
		if key, _, _ := strings.Cut(module, "="); ok && key == module && canonical(module) == name && rest != "" {
			list = append(list, rest)
		}
	}
	return strings.Join(list, " ")
}

// addDevice adds the drivers of a block device: those of all devices that it
// hangs on, from the outermost on.
func (s *System) addDevice(l *moduleList, d device) error {
	disk := s.disk(d)
	for _, c := range s.controllers(disk) {
		if err := s.addChain(l, c); err != nil {
			return err
		}
	}
	return s.addChain(l, disk.sys)
}

func (s *System) addChain(l *moduleList, folder string) error {
	var chain []string
	for ; below(folder, "/sys/devices") && folder != "/sys/devices"; folder = filepath.Dir(folder) {
		// A driver that is built in has no module (sysfs(5)).
		if real, err := filepath.EvalSymlinks(s.file(folder, "driver/module")); err == nil {
			chain = append(chain, filepath.Base(real))
		}
	}
	slices.Reverse(chain)
	for _, name := range chain {
		if !l.add(name, false) {
			return &Error{ErrUnreachable, fmt.Sprintf("the module %s that the disk needs is not in %s", name, l.table.folder),
				"install the kernel's modules anew, or start the kernel that is installed"}
		}
	}
	return nil
}

// addPlace adds all that a place needs.
func (s *System) addPlace(l *moduleList, p place) error {
	if err := s.addDevice(l, p.device); err != nil {
		return err
	}
	for _, name := range p.modules {
		// A file system without a module is built in; so is a set of characters.
		if l.add(name, false) || !strings.HasPrefix(name, "fs-") || s.builtinFileSystem(strings.TrimPrefix(name, "fs-")) {
			continue
		}
		return &Error{ErrUnreachable, fmt.Sprintf("no module for the file system %s is in %s", p.FSType, l.table.folder),
			"install the kernel's modules anew, or start the kernel that is installed"}
	}
	return nil
}

// builtinFileSystem tells whether the running kernel knows a file system.
func (s *System) builtinFileSystem(name string) bool {
	for line := range strings.Lines(s.text("proc/filesystems")) {
		if f := strings.Fields(line); len(f) > 0 && f[len(f)-1] == name {
			return true
		}
	}
	return false
}
