package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// typed runs procdump with what is typed behind its name.
func typed(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var files [2]*os.File
	for i := range files {
		f, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files[i] = f
	}
	code = Main(args, files[0], files[1])
	var text [2]string
	for i, f := range files {
		b, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		text[i] = string(b)
	}
	return code, text[0], text[1]
}

// TestVerbs types what is the same of every verb: its help in each spelling, and
// a switch that it has not.
func TestVerbs(t *testing.T) {
	var names []string
	for _, v := range verbs() {
		names = append(names, v.word)
	}
	for _, v := range kernelVerbs() {
		names = append(names, kernelVerb+" "+v.word)
	}
	for _, name := range names {
		words := strings.Fields(name)
		for _, help := range []string{"-?", "/?", "--help", "-HELP"} {
			code, text, problem := typed(t, append(words, "-JSON", help, "-nonsense")...)
			if code != ExitOK || !strings.Contains(text, "Usage: procdump") || !strings.Contains(text, "procdump "+name) || problem != "" {
				t.Errorf("%s %s: code %d, %q, %q", name, help, code, text, problem)
			}
		}
		for _, wrong := range []string{"-nonsense", "--NONSENSE"} {
			code, text, problem := typed(t, append(words, "a", "-json", wrong, "b", "c")...)
			want := wrong + ": unknown switch; procdump " + name + " -? lists the switches\nprocdump " + name + " -? explains all switches.\n"
			if code != ExitUsage || text != "" || problem != "procdump: "+want {
				t.Errorf("%s %s: code %d, %q, %q; want %q", name, wrong, code, text, problem, want)
			}
		}
	}
}

// TestParseVerb types what parseVerb takes apart.
func TestParseVerb(t *testing.T) {
	type options struct {
		values []string
		on     bool
	}
	switches := []verbSwitch[options]{
		{name: "v", also: "value", value: "WORD", set: func(o *options, v string) error { o.values = append(o.values, v); return nil }},
		{name: "on", set: func(o *options, _ string) error { o.on = true; return nil }},
		verbHelp[options](),
	}
	for _, c := range []struct{ line, values, words, problem string }{
		{"", "", "", ""},
		{"a -v b /ON c", "b", "a c", ""},
		{"--VALUE -on -- -on --", "-on", "-on --", ""},
		{"/value /usr /var - -on -on", "/usr", "/var -", ""},
		{"-v", "", "", "-v: missing WORD; type -v WORD"},
		{"-v a -value b", "", "", "-v: given twice; give it once"},
		{"-x", "", "", "-x: unknown switch; procdump verb -? lists the switches"},
		{"-? -x", "", "", ""},
	} {
		o := &options{}
		line, err := parseVerb("verb", switches, strings.Fields(c.line), o)
		if c.problem != "" {
			if err == nil || err.Error() != c.problem {
				t.Errorf("%q: %v; want %s", c.line, err, c.problem)
			}
			continue
		}
		if err != nil || strings.Join(o.values, " ") != c.values || strings.Join(line.words, " ") != c.words {
			t.Errorf("%q: %q, %q, %v", c.line, o.values, line.words, err)
		}
		if o.on != line.given["on"] || line.help() != strings.Contains(c.line, "-?") {
			t.Errorf("%q: %+v, %v", c.line, o, line.given)
		}
	}
}
