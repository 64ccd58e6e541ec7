package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestBelow: symbolic links below a root lead to where they do on the machine
// that it is the root of.
func TestBelow(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "usr/lib/x.so"), []byte("x"))
	err := errors.Join(
		os.Symlink("usr/lib", filepath.Join(root, "lib")),
		os.Symlink("/usr/lib", filepath.Join(root, "absolute")),
		os.Symlink("../../../../../usr/lib", filepath.Join(root, "above")),
		os.Symlink("/lib/x.so", filepath.Join(root, "usr/lib/y.so")),
		os.Symlink("loop", filepath.Join(root, "loop")),
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/usr/lib/x.so", "/lib/x.so", "/absolute/x.so", "/above/x.so", "/lib/y.so", "/absolute/../lib/./y.so", "/../lib/x.so"} {
		if got, err := below(root, name); err != nil || got != filepath.Join(root, "usr/lib/x.so") {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	if got, err := below(root, "/none/x"); err != nil || got != root+"/none/x" {
		t.Errorf("%s, %v", got, err)
	}
	// The last of too many links would lead to this machine's file.
	outside := write(t, filepath.Join(t.TempDir(), "outside"), []byte("x"))
	for i := range maxLinks {
		err = errors.Join(err, os.Symlink(fmt.Sprint(i+1), filepath.Join(root, fmt.Sprint(i))))
	}
	if err = errors.Join(err, os.Symlink(outside, filepath.Join(root, fmt.Sprint(maxLinks)))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/loop/x", "/0"} {
		if got, err := below(root, name); err == nil {
			t.Errorf("%s: %s", name, got)
		}
	}
	for _, whole := range []string{"", "/"} {
		for name, want := range map[string]string{"/lib/x.so": "/lib/x.so", "//server/share/x.so": "/server/share/x.so"} {
			if got, err := below(whole, name); err != nil || got != want {
				t.Errorf("of the machine's root: %s, %v, want %s", got, err, want)
			}
		}
	}
}

// fetcher has one file of each kind.
type fetcher struct {
	files map[string]string
	asked []string
}

func (f *fetcher) Fetch(id []byte, kind string, fits func(string) error) string {
	f.asked = append(f.asked, kind)
	if file := f.files[kind]; file != "" && fits(file) == nil {
		return file
	}
	return ""
}

func (f *fetcher) Warnings() []string { return []string{"the fetcher's"} }

// TestFetchBy: what is not here is fetched, once, from when there is somebody who
// can, and only if its build id fits.
func TestFetchBy(t *testing.T) {
	b := small(t)
	id := buildID(t, b)
	file := write(t, filepath.Join(t.TempDir(), "small"), b)
	for _, c := range []struct {
		name string
		id   []byte
		want bool
	}{{"it", id, true}, {"another", append([]byte{id[0] + 1}, id[1:]...), false}, {"a short one", id[:4], false}, {"none", nil, false}} {
		s, p := mapped(t, "/gone/small", Options{DebugDirs: []string{"/nonexistent"}})
		p.Modules[0].BuildID = c.id
		im := s.All()[0]
		if im.File() != nil || im.Debug() != nil || len(s.Warnings()) != 1 {
			t.Errorf("%s: there is a file; %q", c.name, s.Warnings())
		}
		f := &fetcher{files: map[string]string{"executable": file}}
		s.FetchBy(f)
		for range 2 {
			if got := im.File(); (got != nil) != c.want {
				t.Errorf("%s: %+v", c.name, got)
			}
		}
		im.Debug() // the file has it
		if asked := len(f.asked); c.want && asked != 1 || len(c.id) < minFetched && asked != 0 {
			t.Errorf("%s: asked %q", c.name, f.asked)
		}
		want := 2
		if c.want {
			want = 1 // that it is not here matters no more
		}
		if got := s.Warnings(); len(got) != want {
			t.Errorf("%s: warnings %q", c.name, got)
		}
	}
}
