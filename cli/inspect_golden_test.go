package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"procdump/image"
	"procdump/inspect"
	"procdump/internal/packed"
	"procdump/render"
	"procdump/render/html"
	"procdump/render/html/htmltest"
)

// TestInspectGolden holds what is said of small dumps: text, JSON, and the
// structure of the page. Nothing in them depends on the machine: programs are
// looked for in a folder that has crash or nothing.
func TestInspectGolden(t *testing.T) {
	const folder, nowhere = "testdata/inspect", "/nonexistent"
	root := t.TempDir()
	program := filepath.Join(root, "tmp/shop/crash")
	if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, packed.Read(t, filepath.Join(folder, "crash.gz")), 0o755); err != nil {
		t.Fatal(err)
	}
	samples := processSamples(t)
	crash, idle := packed.Read(t, filepath.Join(folder, "crash.core.gz")), packed.Read(t, filepath.Join(folder, "idle.dmp.gz"))
	const text, object, page = "txt", "json", "html"
	for _, c := range []struct {
		name  string
		dump  []byte
		root  string
		forms []string
	}{
		{"crash", crash, root, []string{text, object, page}},
		{"idle", idle, root, []string{text, object, page}},
		// Without the program there are its code and call frame information in the
		// full dump, and in the mini dump neither.
		{"crash-alone", crash, nowhere, []string{text}},
		{"idle-alone", idle, nowhere, []string{text}},
		{"kernel-amd64", samples["kernel-amd64.core.gz"], nowhere, []string{text, object, page}},
		{"kernel-i386", samples["kernel-i386.core.gz"], nowhere, []string{text}},
		{"gcore-amd64", samples["gcore-amd64.core.gz"], nowhere, []string{text}},
		{"gcore-i386", samples["gcore-i386.core.gz"], nowhere, []string{text}},
		{"gcore-amd64-minidump", samples["minidump"], nowhere, []string{text}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := explained(t, c.dump, image.Options{Roots: []string{c.root}, DebugDirs: []string{nowhere}})
			for _, form := range c.forms {
				var b bytes.Buffer
				var err error
				switch form {
				case text:
					err = render.Text(&b, r)
				case object:
					err = render.JSON(&b, r)
				case page:
					if err = html.Write(&b, r); err == nil {
						b = *bytes.NewBufferString(htmltest.Skeleton(t, b.String()))
					}
				}
				if err != nil {
					t.Fatal(err)
				}
				golden(t, filepath.Join(folder, c.name+"."+form+".golden"), b.String())
			}
		})
	}
}

// explained is the report on a dump of a process.
func explained(t *testing.T, dump []byte, o image.Options) *inspect.Report {
	t.Helper()
	p, warnings, err := openProcess(bytes.NewReader(dump), int64(len(dump)), false)
	if p == nil || err != nil {
		t.Fatalf("it is refused: %v", err)
	}
	set := image.NewSet(p, o)
	defer set.Close()
	return inspect.Collect(p, set, warnings).Report()
}
