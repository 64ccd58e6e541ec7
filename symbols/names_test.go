package symbols

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"procdump/arch"
	"procdump/image"
	"procdump/snapshot"
)

func TestWithoutParameters(t *testing.T) {
	for in, want := range map[string]string{
		"main":                                       "main",
		"A::f(int, char const*)":                     "A::f",
		"A::f() const":                               "A::f",
		"f(void (*)(int))":                           "f",
		"v::L::operator()(int)":                      "v::L::operator()",
		"v::L::operator()":                           "v::L::operator()",
		"(anonymous namespace)::g(int)":              "(anonymous namespace)::g",
		"a::(anonymous namespace)":                   "a::(anonymous namespace)",
		"int v::tmpl<int>(int)":                      "v::tmpl<int>",
		"std::enable_if<(1)>::type f<2>(A)":          "f<2>",
		"v::t<int>(int)::{lambda(int)#1}::_FUN(int)": "v::t<int>(int)::{lambda(int)#1}::_FUN",
		"f(int) [clone .cold]":                       "f",
		"std::ostream& operator<< <int>(A)":          "std::ostream& operator<< <int>",
		"non-virtual thunk to A<int>::f(int)":        "non-virtual thunk to A<int>::f",
		"<T as Trait>::f":                            "<T as Trait>::f",
		"":                                           "",
		")":                                          ")",
		"()":                                         "()",
	} {
		if got := withoutParameters(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// TestSymbolFile names code of a program that is not here by its symbol file, a
// Windows program by that of its PDB, and takes no other's.
func TestSymbolFile(t *testing.T) {
	const text = "\nFILE 0 /src/a.cc\nFUNC 10 20 0 A::f(int)\n10 20 7 0\nPUBLIC 100 0 _ZN1B1gEv\n"
	dir := t.TempDir()
	for name, id := range map[string]string{
		"app/04030201060508070102030405060708" + "0/app.sym": "040302010605080701020304050607080",
		"win.pdb/0403020106050807010203040506070815/win.sym": "0403020106050807010203040506070815",
		"flat.sym":  "040302010605080701020304050607080",
		"other.sym": "000000010605080701020304050607080",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("MODULE x y "+id+" name"+text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	id := []byte{1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0x15, 0, 0, 0}
	for _, c := range []struct {
		path  string
		found bool
	}{
		{"/gone/app", true}, {"/gone/flat", true}, {`C:\gone\win.exe`, true}, {"/gone/other", false}, {"/gone/none", false}, {"/gone/..", false}, {"", false},
	} {
		p := &snapshot.Process{System: snapshot.System{Machine: arch.AMD64}, Modules: []snapshot.Module{
			{Range: snapshot.Range{Addr: 0x400000, Size: 0x4000}, Path: c.path, BuildID: id}}}
		set := image.NewSet(p, image.Options{})
		defer set.Close()
		if got := New(set).Lookup(0x400018); got != nil {
			t.Errorf("%s: %+v before the folders are named", c.path, got)
		}
		set.SymbolsIn([]string{t.TempDir(), dir})
		var want, public []Location
		if c.found {
			want = []Location{{Function: "A::f", Linkage: "", Offset: 8, File: "/src/a.cc", Line: 7}}
			public = []Location{{Function: "B::g", Linkage: "_ZN1B1gEv", Offset: 1}}
		}
		s := New(set)
		if got := s.Lookup(0x400018); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %q", c.path, got, set.Warnings())
		}
		if got := s.Lookup(0x400101); !reflect.DeepEqual(got, public) {
			t.Errorf("%s: %+v", c.path, got)
		}
	}
}
