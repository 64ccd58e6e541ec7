package victims

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
)

// cFlags keep every call a call, so that the stacks of a victim are what its
// source says, and leave out frame pointers as most programs do.
var cFlags = []string{"-std=gnu11", "-Wall", "-Wextra", "-Werror", "-g", "-O1", "-fno-inline", "-fno-optimize-sibling-calls",
	"-fno-ipa-icf", "-pthread"}

var cppFlags = []string{"-std=c++17", "-Wall", "-Wextra", "-Werror", "-g", "-O1", "-fno-inline", "-fno-optimize-sibling-calls",
	"-fno-ipa-icf", "-pthread"}

// variants are what can stand behind "@" in a C program's name.
var variants = map[string][]string{
	"":           {"-pie", "-fPIE"},
	"nopie":      {"-no-pie", "-fno-PIE"},
	"static":     {"-static", "-no-pie", "-fno-PIE"},
	"static-pie": {"-static-pie", "-fPIE"},
	"i386":       {"-m32", "-pie", "-fPIE"},
	// With musl in the place of the GNU C library. Debian's has no call frame
	// information of its own code.
	"musl":        {"-pie", "-fPIE"},
	"musl-static": {"-static", "-no-pie", "-fno-PIE"},
}

// compiler is what builds a C program's variant.
func compiler(variant string) string {
	if strings.HasPrefix(variant, "musl") {
		return "musl-gcc"
	}
	return "gcc"
}

// recipe is how a program is made and run.
type recipe struct {
	tools   []string // what must be installed
	sources []string // relative to the victims folder
	// build makes out from the sources; nil: there is nothing to make.
	build func(dir, out string) []string
	// run is the command line; out is what build made.
	run func(dir, out string) []string
}

// recipeOf finds how the named program is made.
func recipeOf(name string) (recipe, error) {
	base, variant, _ := strings.Cut(name, "@")
	flags, ok := variants[variant]
	if !ok {
		return recipe{}, fmt.Errorf("victim %s: unknown variant %q", name, variant)
	}
	direct := func(_, out string) []string { return []string{out} }
	switch base {
	case "cpp":
		if compiler(variant) != "gcc" {
			return recipe{}, fmt.Errorf("victim %s: there is no C++ library for it", name)
		}
		src := "cpp/templates.cc"
		return recipe{[]string{"g++"}, []string{src}, func(dir, out string) []string {
			return join([]string{"g++"}, cppFlags, flags, []string{"-o", out, filepath.Join(dir, src)})
		}, direct}, nil
	case "goroutines":
		return recipe{[]string{"go"}, []string{"go/main.go"}, func(dir, out string) []string {
			return []string{"go", "build", "-o", out, filepath.Join(dir, "go", "main.go")}
		}, direct}, nil
	case "python":
		return script("python3", "python/threads.py"), nil
	case "node":
		return script("node", "node/timers.js"), nil
	case "java":
		return script("java", "java/Threads.java"), nil
	}
	src, cc := "c/"+base+".c", compiler(variant)
	return recipe{[]string{cc}, []string{src, "c/victim.h", "c/sha256.h"}, func(dir, out string) []string {
		return join([]string{cc}, cFlags, flags, []string{"-o", out, filepath.Join(dir, src), "-lrt"})
	}, direct}, nil
}

func script(interpreter, source string) recipe {
	return recipe{[]string{interpreter}, []string{source}, nil, func(dir, _ string) []string {
		return []string{interpreter, filepath.Join(dir, source)}
	}}
}

func join(parts ...[]string) []string {
	var all []string
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// Tools lists the programs that must be installed to build and run a victim.
func Tools(name string) []string {
	r, err := recipeOf(name)
	if err != nil {
		return nil
	}
	return r.tools
}

// Names lists the C victims, without variants.
func Names() ([]string, error) {
	dir, err := sourceDir()
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(dir, "c", "*.c"))
	for i, f := range files {
		files[i] = strings.TrimSuffix(filepath.Base(f), ".c")
	}
	return files, err
}

var building sync.Mutex

// Build makes the named program if it is not in the cache and returns its
// path. A program that needs no building yields its interpreter's path.
func Build(name string) (string, error) {
	building.Lock()
	defer building.Unlock()
	r, err := recipeOf(name)
	if err != nil {
		return "", err
	}
	dir, err := sourceDir()
	if err != nil {
		return "", err
	}
	if r.build == nil {
		p, err := exec.LookPath(r.run(dir, "")[0])
		if err != nil {
			return "", fmt.Errorf("find victim's interpreter: %w", err)
		}
		return filepath.EvalSymlinks(p)
	}
	key, err := keyOf(r, dir)
	if err != nil {
		return "", err
	}
	folder := filepath.Join(CacheDir("victims"), key)
	out := filepath.Join(folder, strings.ReplaceAll(name, "@", "-"))
	if _, err := os.Stat(out); err == nil {
		return out, nil
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("make victim's folder: %w", err)
	}
	// Several test binaries may build the same program at once.
	tmp := fmt.Sprintf("%s.%d.tmp", out, os.Getpid())
	defer os.Remove(tmp)
	argv := r.build(dir, tmp)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build victim %s: %w\n%s", name, err, msg)
	}
	if err := os.Rename(tmp, out); err != nil {
		return "", fmt.Errorf("build victim %s: %w", name, err)
	}
	return out, nil
}

// keyOf is a name for everything that decides what the built program is.
func keyOf(r recipe, dir string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, runtime.GOARCH, r.build("DIR", "OUT"))
	for _, s := range r.sources {
		b, err := os.ReadFile(filepath.Join(dir, s))
		if err != nil {
			return "", fmt.Errorf("read victim's source: %w", err)
		}
		fmt.Fprintln(h, len(b))
		h.Write(b)
	}
	version := "--version"
	if r.tools[0] == "go" {
		version = "version"
	}
	v, err := exec.Command(r.tools[0], version).Output()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", r.tools[0], err)
	}
	h.Write(v)
	return fmt.Sprintf("%x", h.Sum(nil)[:8]), nil
}

// ModuleDir returns the folder of go.mod, seen from the working directory.
func ModuleDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("find module: no go.mod above the working directory")
		}
		dir = up
	}
}

func sourceDir() (string, error) {
	root, err := ModuleDir()
	return filepath.Join(root, "victims"), err
}

// CacheDir returns the folder for things that tests make and keep under the
// given name: in $PROCDUMP_CACHE, or in .cache of the module.
func CacheDir(name string) string {
	if dir := os.Getenv("PROCDUMP_CACHE"); dir != "" {
		return filepath.Join(dir, name)
	}
	root, err := ModuleDir()
	if err != nil {
		root = os.TempDir()
	}
	return filepath.Join(root, ".cache", name)
}

// commandOf gives the command line that runs a victim, and the program file.
func commandOf(s Spec) (command []string, exe string, err error) {
	r, err := recipeOf(s.Name)
	if err != nil {
		return nil, "", err
	}
	dir, err := sourceDir()
	if err != nil {
		return nil, "", err
	}
	exe = s.Exe
	if exe == "" {
		if exe, err = Build(s.Name); err != nil {
			return nil, "", err
		}
	}
	command = r.run(dir, exe)
	if r.build == nil {
		command[0] = exe
	}
	return join(s.Wrap, command, s.Args), exe, nil
}
