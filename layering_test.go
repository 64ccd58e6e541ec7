// Package procdump_test holds what must be true of the module as a whole.
package procdump_test

import (
	"encoding/json"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "procdump"

// layers says which packages of the module each folder's packages may import;
// the longest folder that fits a package decides. "*" is anything. What a
// folder's own packages import of each other is free.
var layers = map[string][]string{
	"arch":     {},
	"snapshot": {"arch"},

	"elfcore":  {"snapshot", "arch", "internal/elfimage"},
	"minidump": {"snapshot", "arch"},
	"kdump":    {"snapshot", "arch"},
	"zseek":    {},

	"internal/sys":       {"arch"},
	"internal/elfimage":  {},
	"internal/signals":   {},
	"internal/spelling":  {},
	"internal/mountinfo": {},
	"internal/packed":    {},
	"internal/guard":     {},
	"internal/printable": {},
	"internal/safeopen":  {},
	"live":               {"snapshot", "arch", "internal/sys", "internal/elfimage", "internal/mountinfo"},
	"target":             {"internal/sys", "internal/mountinfo", "internal/printable"},
	"dumpkind":           {"snapshot", "arch"},
	"capture":            {"snapshot", "dumpkind", "elfcore", "minidump", "zseek", "arch", "internal/sys"},

	"trigger":     {},
	"probe":       {"trigger", "internal/sys", "internal/spelling", "internal/mountinfo"},
	"monitor":     {"trigger", "probe", "live", "capture", "target", "snapshot", "dumpkind", "internal/signals"},
	"corepattern": {"snapshot", "arch", "elfcore", "dumpkind", "capture", "live", "target", "internal/sys", "internal/signals"},

	"image":     {"snapshot", "arch", "internal/elfimage", "internal/safeopen", "internal/guard"},
	"unwind":    {"snapshot", "arch", "image"},
	"symbols":   {"snapshot", "arch", "image", "internal/guard"},
	"goroutine": {"snapshot", "arch", "image"},
	"interp":    {"snapshot", "arch", "image", "unwind", "internal/guard"},
	"inspect":   {"snapshot", "arch", "image", "unwind", "symbols", "goroutine", "interp", "internal/signals"},
	"render":    {"inspect"},
	"kernel":    {"kdump", "arch", "internal/sys", "internal/spelling", "internal/mountinfo"},

	"inspect/kernel": {"kdump", "kernel", "arch", "internal/printable"},
	"render/kernel":  {"inspect/kernel", "render/page"},
	"render/page":    {"internal/printable"},

	"cli":          {"*"},
	"cmd/procdump": {"cli"},

	"victims": {},
	"e2e":     {"*"},
	"bench":   {"*"},
	"":        {},
}

// testHelpers may be imported by the tests of any package.
var testHelpers = []string{"victims", "victims/need", "snapshot/snapshottest", "internal/packed"}

// external says which packages from outside the standard library a folder's
// packages may import. Whoever is not listed may import none.
var external = map[string][]string{
	"internal/sys":     {"golang.org/x/sys"},
	"internal/sys/bpf": {"golang.org/x/sys", "github.com/cilium/ebpf"},
	"probe/hang":       {"github.com/jezek/xgb"},
	"zseek":            {"github.com/klauspost/compress"},
	"capture":          {"github.com/klauspost/compress"},
	"kdump":            {"github.com/klauspost/compress"},
	"kernel/settings":  {"github.com/BurntSushi/toml"},
	"image":            {"github.com/klauspost/compress", "github.com/ulikunitz/xz"},
	"interp":           {"go.opentelemetry.io/ebpf-profiler", "github.com/cilium/ebpf"},
	"symbols":          {"github.com/ianlancetaylor/demangle"},
	"unwind":           {"golang.org/x/arch"},
	"inspect/access":   {"golang.org/x/arch"},
	"kernel/modfile":   {"github.com/klauspost/compress", "github.com/ulikunitz/xz"},
}

// noOS are the folders whose packages know no operating system.
var noOS = []string{"arch", "snapshot", "elfcore", "minidump", "kdump", "dumpkind", "trigger", "zseek", "internal/signals", "internal/spelling", "internal/mountinfo", "kernel/layout", "kernel/pages", "kernel/unwind", "kernel/small", "inspect/kernel", "render"}

// osPackages are those of the standard library that reach the operating system.
var osPackages = []string{"os", "syscall", "net", "plugin", "runtime/cgo"}

// source is one Go file.
type source struct {
	file    string
	folder  string // of its package, relative to the module
	pkg     string
	doc     string
	imports []string
}

func (s source) test() bool { return strings.HasSuffix(s.file, "_test.go") }

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && file != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(file, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		s := source{file: file, folder: path.Dir(filepath.ToSlash(file)), pkg: f.Name.Name, doc: f.Doc.Text()}
		if s.folder == "." {
			s.folder = ""
		}
		for _, i := range f.Imports {
			p, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			s.imports = append(s.imports, p)
		}
		all = append(all, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("found %d Go files: not the module's folder", len(all))
	}
	return all
}

// under tells whether folder is base or lies below it.
func under(folder, base string) bool { return folder == base || strings.HasPrefix(folder, base+"/") }

// layerOf returns the longest entry of table that folder lies under.
func layerOf[V any](table map[string]V, folder string) (name string, v V, ok bool) {
	for base, value := range table {
		if under(folder, base) && (!ok || len(base) > len(name)) {
			name, v, ok = base, value, true
		}
	}
	return name, v, ok
}

// standard tells whether an import path is of the standard library.
func standard(p string) bool { return !strings.Contains(strings.Split(p, "/")[0], ".") }

// forbidden returns why s may not import p, or "".
func forbidden(s source, p string) string {
	layer, allowed, ok := layerOf(layers, s.folder)
	if !ok {
		return "its folder is in no layer: add it to the table"
	}
	if p == module || strings.HasPrefix(p, module+"/") {
		to := strings.TrimPrefix(strings.TrimPrefix(p, module), "/")
		switch {
		case slices.Contains(allowed, "*"), under(to, layer) && layer != "":
			return ""
		case s.test() && slices.Contains(testHelpers, to):
			return ""
		}
		for _, a := range allowed {
			if under(to, a) {
				return ""
			}
		}
		return "layer " + strconv.Quote(layer) + " may import " + strings.Join(allowed, ", ")
	}
	if !standard(p) {
		_, ext, _ := layerOf(external, s.folder)
		for _, e := range ext {
			if under(p, e) {
				return ""
			}
		}
		return "not of the standard library"
	}
	if s.test() {
		return ""
	}
	for _, base := range noOS {
		// The conformance suite of snapshot is test support.
		if under(s.folder, base) && s.folder != "snapshot/snapshottest" {
			for _, o := range osPackages {
				if under(p, o) {
					return "layer " + strconv.Quote(base) + " knows no operating system"
				}
			}
		}
	}
	return ""
}

func TestLayers(t *testing.T) {
	for _, s := range sources(t) {
		for _, p := range s.imports {
			if why := forbidden(s, p); why != "" {
				t.Errorf("%s imports %s: %s", s.file, p, why)
			}
		}
	}
}

// TestLayerRulesForbid shows that the rules are able to say no.
func TestLayerRulesForbid(t *testing.T) {
	for _, c := range []struct {
		file, folder, imports string
		ok                    bool
	}{
		{"a.go", "snapshot", "procdump/arch", true},
		{"a.go", "snapshot", "procdump/elfcore", false},
		{"a.go", "elfcore", "os", false},
		{"a.go", "minidump", "syscall", false},
		{"a.go", "elfcore", "io", true},
		{"a_test.go", "elfcore", "os", true},
		{"a_test.go", "elfcore", "procdump/victims", true},
		{"a.go", "elfcore", "procdump/victims", false},
		{"a.go", "elfcore", "procdump/minidump", false},
		{"a.go", "live/linux", "golang.org/x/sys/unix", false},
		{"a.go", "internal/sys/ptrace", "golang.org/x/sys/unix", true},
		{"a.go", "internal/sys/ptrace", "procdump/snapshot", false},
		{"a.go", "cmd/procdump", "procdump/capture", false},
		{"a.go", "cmd/procdump", "procdump/cli", true},
		{"a.go", "cli", "procdump/live/linux", true},
		{"a.go", "newcomer", "io", false},
	} {
		why := forbidden(source{file: c.folder + "/" + c.file, folder: c.folder}, c.imports)
		if (why == "") != c.ok {
			t.Errorf("%s in %s imports %s: %q, want allowed %v", c.file, c.folder, c.imports, why, c.ok)
		}
	}
}

// TestPackageComments wants a comment on every package, in one of its files.
func TestPackageComments(t *testing.T) {
	documented := map[string]bool{}
	for _, s := range sources(t) {
		if s.test() {
			continue
		}
		documented[s.folder] = documented[s.folder] || s.doc != ""
	}
	for folder, ok := range documented {
		if !ok {
			t.Errorf("package %s has no package comment", folder)
		}
	}
}

// TestPackageFileSizes holds files to one noun each.
func TestPackageFileSizes(t *testing.T) {
	const limit = 500 // lines
	for _, s := range sources(t) {
		b, err := os.ReadFile(s.file)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(b), "\n"); n > limit {
			t.Errorf("%s has %d lines, want at most %d", s.file, n, limit)
		}
	}
}

// TestPackageModules: go.mod names each module once. With a second line of one,
// every command of go that may write the file changes it.
func TestPackageModules(t *testing.T) {
	out, err := exec.Command("go", "mod", "edit", "-json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var m struct{ Require []struct{ Path string } }
	if err := json.Unmarshal(out, &m); err != nil || len(m.Require) == 0 {
		t.Fatalf("%v, %s", err, out)
	}
	seen := map[string]bool{}
	for _, r := range m.Require {
		if seen[r.Path] {
			t.Errorf("go.mod requires %s twice", r.Path)
		}
		seen[r.Path] = true
	}
}
