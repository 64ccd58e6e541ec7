package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"procdump/kernel/settings"
)

// runConfig runs the verb on a file and returns what it prints.
func runConfig(t *testing.T, file string, loaded bool, words ...string) (out, errOut string, code int) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has crash kernels")
	}
	o, err := parseConfig(words)
	if err != nil {
		return "", err.Error() + "\n", ExitUsage
	}
	s := newScreen(t, o.JSON, 0)
	c := &config{options: o, console: s.Console, file: file, loaded: func() bool { return loaded }}
	if err := c.run(); err != nil {
		c.console.Error(err)
		code = configExit(err)
	}
	c.console.Flush()
	return s.out.String(), s.err.String(), code
}

func TestConfigGolden(t *testing.T) {
	path, err := filepath.Abs("testdata/kernelconfig.golden")
	if err != nil {
		t.Fatal(err)
	}
	// A whole path is of another length each time, and has the lines broken
	// elsewhere.
	t.Chdir(t.TempDir())
	const file = "kernel.toml"
	var b strings.Builder
	for _, line := range []string{
		"",
		"kind",
		"kind CrashDumpEnabled DumpFile",
		"CrashDumpEnabled=1 FilterPages=1 small_count=5",
		"FilterPages",
		"folder=/srv/it's\u00a0full AutoReboot=0",
		"kind=active",
		"kind=none",
		"knd",
		"kind=full",
		"folder=crash",
		"NMICrashDump=1",
		"kind keep=true",
		"-x",
		"small_count",
	} {
		words := strings.Split(line, " ")
		if line == "" {
			words = nil
		}
		out, errOut, code := runConfig(t, file, line != "kind=active", words...)
		fmt.Fprintf(&b, "--- config %s\n%s%s--- exit %d\n", line, out, errOut, code)
	}
	golden(t, path, b.String())
}

func TestConfigHelp(t *testing.T) {
	help := configHelp()
	for i, line := range strings.Split(help, "\n") {
		if len(line) > helpWidth || strings.TrimRight(line, " ") != line {
			t.Errorf("line %d: %q", i+1, line)
		}
	}
	golden(t, "testdata/kernelconfighelp.golden", help)
	for _, e := range configExamples {
		words := strings.Fields(e.name)
		o, err := parseConfig(words[3:])
		if err != nil || words[1] != kernelVerb || words[2] != configVerb || findVerb(kernelVerbs(), words[2:]) == nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		s := settings.Default()
		if err := s.SetAll(o.Set); err != nil {
			t.Errorf("%s: %v", e.name, err)
		}
	}
	if o, err := parseConfig([]string{"kind=x", "-?", "-y"}); err != nil || !o.Help {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestConfigJSON(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kernel.toml")
	for _, c := range []struct {
		line  string
		want  map[string]any // names and values
		saved bool
	}{
		{"MinidumpsCount=7 keep=yes", map[string]any{"small_count": 7.0, "keep": true}, true},
		{"DumpFile", map[string]any{"folder": "/var/crash", "file": "vmcore.kdump"}, false},
		{"keep=yes", map[string]any{}, true},
	} {
		out, errOut, code := runConfig(t, file, false, append(strings.Fields(c.line), "-json")...)
		var e kernelSettingsEvent
		if err := json.Unmarshal([]byte(out), &e); err != nil || errOut != "" || code != ExitOK {
			t.Fatalf("%s: %q, %q, %d: %v", c.line, out, errOut, code, err)
		}
		got := map[string]any{}
		for _, s := range e.Settings {
			got[s.Name] = s.Value
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) || e.Event != "kernelSettings" || e.File != file || e.Saved != c.saved {
			t.Errorf("%s: %+v, want %v", c.line, e, c.want)
		}
	}
	out, _, _ := runConfig(t, file, false, "-json")
	var e kernelSettingsEvent
	if err := json.Unmarshal([]byte(out), &e); err != nil || len(e.Settings) != len(settings.Keys()) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestConfigErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "kernel.toml")
	if err := os.WriteFile(file, []byte("# mine\nkeeep = true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, errOut, code := runConfig(t, file, false, "kind=small")
	if code != ExitFailed || !strings.Contains(errOut, file+", line 2: keeep: unknown setting; did you mean keep?") {
		t.Errorf("%d: %s", code, errOut)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "# mine\nkeeep = true\n" {
		t.Errorf("a damaged file was changed: %q, %v", b, err)
	}
	if code := configExit(fmt.Errorf("save settings: %w", &fs.PathError{Op: "open", Path: "/etc", Err: fs.ErrPermission})); code != ExitPermission {
		t.Errorf("exit code %d", code)
	}
	if code := configExit(errors.New("x")); code != ExitFailed {
		t.Errorf("exit code %d", code)
	}
	// A folder in the place of the file's folder.
	if _, errOut, code := runConfig(t, filepath.Join(file, "kernel.toml"), false, "kind=small"); code != ExitFailed || errOut == "" {
		t.Errorf("%d: %s", code, errOut)
	}
}

// TestConfigDocument holds docs/kernel.md against the settings and the event.
func TestConfigDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/kernel.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range settings.Keys() {
		row := regexp.MustCompile("(?m)^\\| `" + k.Name + "` \\| .* \\| `(.*)` \\| (.*)\\|$").FindSubmatch(text)
		if row == nil {
			t.Errorf("%s is not documented", k.Name)
			continue
		}
		if got, want := string(row[1]), k.Text(settings.Default()); got != want {
			t.Errorf("%s: documented default %s, is %s", k.Name, got, want)
		}
		if got, want := strings.TrimSpace(string(row[2])), strings.Join(k.Windows, ", "); got != want {
			t.Errorf("%s: documented as %q of Windows, is %q", k.Name, got, want)
		}
	}
	_, section, _ := strings.Cut(string(text), "\n### kernelSettings\n")
	section, _, _ = strings.Cut(section, "\n### ")
	got := []string{"event", "time"} // of all events
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-zA-Z]+)` \\|").FindAllStringSubmatch(section, -1) {
		got = append(got, m[1])
	}
	if want := jsonFields(reflect.TypeFor[kernelSettingsEvent]()); !slices.Equal(got, want) {
		t.Errorf("documented fields %q, has %q", got, want)
	}
	for _, name := range jsonFields(reflect.TypeFor[settingValue]()) {
		if !strings.Contains(section, "`"+name+"`") {
			t.Errorf("field %s of a setting is not documented", name)
		}
	}
}
