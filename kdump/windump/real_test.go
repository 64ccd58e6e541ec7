package windump

import (
	"os"
	"path/filepath"
	"testing"
)

// TestRealDumps reads dumps that Windows wrote, where someone has some: all files
// *.dmp in the folder PROCDUMP_WINDUMPS.
func TestRealDumps(t *testing.T) {
	folder := os.Getenv("PROCDUMP_WINDUMPS")
	if folder == "" {
		t.Skip("PROCDUMP_WINDUMPS names no folder")
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.dmp"))
	if err != nil || len(files) == 0 {
		t.Fatal("no dumps", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			st, err := f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			r, err := NewReader(f, st.Size())
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%v, build %d, %v, %v", r.Header.Type, r.Header.MinorVersion, r.Header.SystemTime, r.BugCheck())
			mods, err := r.Modules()
			if err != nil || len(mods) == 0 || mods[0].Name != "ntoskrnl.exe" {
				t.Errorf("%d modules, %v", len(mods), err)
			}
			regs, err := r.Context()
			if m, ok := ModuleAt(mods, regs.PC()); err != nil || !ok {
				t.Errorf("crashed at %#x in no module, %v", regs.PC(), err)
			} else {
				t.Logf("crashed in %s+%#x", m.Name, regs.PC()-m.Base)
			}
			cpus, err := r.Processors()
			if err != nil || len(cpus) == 0 {
				t.Errorf("%d processors, %v", len(cpus), err)
			}
			p, err := r.CrashedProcess()
			if err != nil {
				t.Error(err)
			}
			build, err := r.Build()
			t.Logf("%d modules, %d processors (%s), process %+v, build %q, %v", len(mods), len(cpus), cpus[0].Vendor, p, build, err)
		})
	}
}
