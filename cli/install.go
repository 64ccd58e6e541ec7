package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"procdump/capture"
	"procdump/corepattern"
)

// handlerSettings are what -i FOLDER, or -i FOLDER/NAME, and the switches beside
// it ask for. Folder and name may be "".
func handlerSettings(o *Options) (corepattern.Settings, error) {
	set := corepattern.Settings{Kinds: o.Kinds, DropLargest: o.DropLargest, Mask: o.Mask, DontDump: o.DontDump,
		Format: o.Format, Compress: o.Compress, Comment: o.Comment, TimeLimit: o.TimeLimit,
		PerMinute: o.Rate, Keep: o.Keep}
	switch {
	case o.KernelStacks:
		return set, usagef("-mk", "leave -mk out", "the kernel stacks of a crashed process show only that its core is being dumped")
	case o.View64:
		return set, usagef("-64", "leave -64 out", "the kernel tells a crash handler the 32-bit registers of a 32-bit process only")
	}
	if o.Path != "" {
		path, err := filepath.Abs(o.Path)
		if err != nil {
			return set, fmt.Errorf("find dump folder: %w", err)
		}
		set.Folder, set.Name = corepattern.SplitPath(path)
	}
	return set, nil
}

// install is -i: it makes procdump the machine's crash handler and tells what
// will happen to a process that crashes.
func install(c *Console, sys corepattern.System, set corepattern.Settings, overwrite bool) int {
	in, err := sys.Install(set, overwrite)
	if err != nil {
		c.Error(err)
		return installCode(err)
	}
	set = in.Settings
	c.Note("procdump is installed as crash handler: each process that crashes is dumped to %s.", set.Folder)
	for _, kind := range set.Kinds {
		c.Note("  kind      %s", kind)
	}
	if mask, err := capture.ParseMask(filepath.Join(set.Folder, set.Name), capture.MaskOptions{Format: set.Format, Compress: set.Compress}); err == nil {
		c.Note("  format    %s", mask.Format())
		c.Note("  name      %s", mask)
	}
	c.Note("  keeps     %s", keepText(set.Keep))
	if set.PerMinute > 0 {
		c.Note("  at most   %d dumps of one program a minute", set.PerMinute)
	}
	c.Note("  tells     each dump, and what was not dumped or removed, in %s and the system's log", filepath.Join(set.Folder, corepattern.LogName))
	c.Note("  before    core_pattern was %q; procdump -u gives it back", in.Before)
	for _, w := range in.Warnings {
		c.Warning(w)
	}
	return ExitOK
}

// keepText says which dumps stay.
func keepText(k corepattern.Keep) string {
	text := ""
	add := func(format string, args ...any) {
		if text != "" {
			text += ", "
		}
		text += fmt.Sprintf(format, args...)
	}
	if k.Count > 0 {
		add("the newest %d dumps", k.Count)
	}
	if k.Bytes > 0 {
		add("%s of dumps", capture.Bytes(k.Bytes))
	}
	if k.Age > 0 {
		add("dumps for %v", k.Age)
	}
	if text == "" {
		add("all dumps")
	}
	if k.Free > 0 {
		add("%s of the disk free", capture.Bytes(k.Free))
	}
	return text
}

// uninstall is -u alone: it gives back what was there before -i.
func uninstall(c *Console, sys corepattern.System, overwrite bool) int {
	r, err := sys.Uninstall(overwrite)
	if err != nil {
		c.Error(err)
		return installCode(err)
	}
	if r.Restored {
		c.Note("procdump is not the crash handler any more: core_pattern is %q again. The dumps stay.", r.Before)
		return ExitOK
	}
	c.Warning(fmt.Sprintf("core_pattern was changed to %q after -i and is left so; before -i it was %q", r.Now, r.Before))
	return ExitOK
}

// installCode is the exit code for an error of -i or -u.
func installCode(err error) int {
	if errors.Is(err, fs.ErrPermission) {
		return ExitPermission
	}
	return exitCode(err)
}
