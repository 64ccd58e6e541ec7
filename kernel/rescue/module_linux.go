package rescue

import (
	"fmt"
	"os"
	"path/filepath"

	"procdump/internal/sys/kmod"
	"procdump/kernel/modfile"
)

// loadModules loads the plan's modules in their order. Those that fail are tried
// again when others have been loaded: one may need what another does when it
// starts, of which no table tells (libcrc32c wants a crc32c).
func (s *session) loadModules() {
	left := s.plan.Modules
	var errs []error
	for {
		var again []Module
		errs = nil
		for _, m := range left {
			s.log.alive()
			if err := loadModule(m); err != nil {
				again, errs = append(again, m), append(errs, err)
			}
		}
		progress := len(again) < len(left)
		left = again
		if len(left) == 0 || !progress {
			break
		}
	}
	for i, m := range left {
		if m.Optional {
			s.log.printf("%v; it can be done without", errs[i])
		} else {
			s.failed(errs[i])
		}
	}
	s.log.printf("%d of %d modules loaded", len(s.plan.Modules)-len(left), len(s.plan.Modules))
}

func loadModule(m Module) error {
	name := filepath.Join(ModuleFolder, m.File)
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("load module: %w", err)
	}
	defer f.Close()
	if !modfile.Compressed(m.File) {
		err = kmod.LoadFile(f, m.Parameters)
	} else {
		var b []byte
		if b, err = modfile.Read(m.File, f); err == nil {
			err = kmod.Load(b, m.Parameters)
		}
	}
	if err != nil {
		return fmt.Errorf("load module %s: %w", m.File, err)
	}
	// A file of the initrd takes memory, which is scarce.
	os.Remove(name)
	return nil
}
