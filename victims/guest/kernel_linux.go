package guest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"procdump/victims"
	"procdump/victims/need"
)

// Kernel is an unpacked kernel package.
type Kernel struct {
	Folder  string // with boot and lib/modules
	Release string // as uname -r says it
}

// Image is the kernel's file.
func (k Kernel) Image() string { return filepath.Join(k.Folder, "boot", "vmlinuz-"+k.Release) }

// Modules is the folder of its modules.
func (k Kernel) Modules() string { return filepath.Join(k.Folder, "lib", "modules", k.Release) }

// FindKernel returns a kernel that fetch-kernel has fetched: "default", "newest"
// or a series such as "6.12". The test ends if it is not there.
func FindKernel(t testing.TB, name string) Kernel {
	t.Helper()
	link := filepath.Join(victims.CacheDir("guest"), name)
	release, err := os.ReadFile(filepath.Join(link, "ready"))
	if err != nil {
		need.Missing(t, "guest", fmt.Sprintf("no kernel %q (victims/guest/fetch-kernel %s gets it)", name, name))
	}
	// Another test run may put a newer one in the link's place.
	folder, err := filepath.EvalSymlinks(link)
	if err != nil {
		t.Fatal(err)
	}
	return Kernel{folder, strings.TrimSpace(string(release))}
}

// moduleFiles returns the files of the named modules and of all that they
// depend on, relative to the kernel's folder of modules, in an order to load
// them in. What is built into the kernel is left out.
func (k Kernel) moduleFiles(names ...string) ([]string, error) {
	table, err := os.ReadFile(filepath.Join(k.Modules(), "modules.dep"))
	if err != nil {
		return nil, err
	}
	builtin, err := os.ReadFile(filepath.Join(k.Modules(), "modules.builtin"))
	if err != nil {
		return nil, err
	}
	type module struct {
		file  string
		needs []string
	}
	known := map[string]module{}
	for line := range strings.Lines(string(table)) {
		// "file: file file", what is needed first being last (modules.dep(5))
		file, needs, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			continue
		}
		m := module{file: file, needs: strings.Fields(needs)}
		slices.Reverse(m.needs)
		known[moduleName(file)] = m
	}
	for line := range strings.Lines(string(builtin)) {
		known[moduleName(strings.TrimSpace(line))] = module{}
	}
	var files []string
	for _, name := range names {
		m, ok := known[moduleName(name)]
		if !ok {
			return nil, fmt.Errorf("find module %s: kernel %s has none", name, k.Release)
		}
		for _, f := range append(m.needs, m.file) {
			if f != "" && !slices.Contains(files, f) {
				files = append(files, f)
			}
		}
	}
	return files, nil
}

// moduleName is the name that the kernel knows a module's file by.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".")
	return strings.ReplaceAll(name, "-", "_")
}

// readModule returns a module, not compressed: not every kernel can unpack one.
func (k Kernel) readModule(file string) ([]byte, error) {
	full := filepath.Join(k.Modules(), file)
	var tool string
	switch filepath.Ext(file) {
	case ".ko":
		return os.ReadFile(full)
	case ".xz":
		tool = "xz"
	case ".zst":
		tool = "zstd"
	default:
		return nil, fmt.Errorf("read module %s: unknown compression", full)
	}
	var errs bytes.Buffer
	cmd := exec.Command(tool, "-dc", full)
	cmd.Stderr = &errs
	b, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("unpack module %s: %w\n%s", full, err, &errs)
	}
	return b, nil
}
