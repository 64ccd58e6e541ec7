package settings

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestDefaultIsValid(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Fatal(err)
	}
}

// TestKeysCoverSettings holds the table of keys against the struct.
func TestKeysCoverSettings(t *testing.T) {
	var tags []string
	for f := range reflect.TypeFor[Settings]().Fields() {
		tags = append(tags, f.Tag.Get("toml"))
	}
	if len(tags) != len(Keys()) {
		t.Fatalf("%d fields, %d keys", len(tags), len(Keys()))
	}
	for _, k := range Keys() {
		if !strings.Contains(" "+strings.Join(tags, " ")+" ", " "+k.Name+" ") {
			t.Errorf("key %s is no field", k.Name)
		}
		if k.Meaning == "" || k.Values == "" || strings.HasSuffix(k.Meaning, ".") {
			t.Errorf("key %s: meaning %q, values %q", k.Name, k.Meaning, k.Values)
		}
		for _, w := range k.Windows {
			got, err := lookup(w)
			if err != nil || !strings.Contains(strings.Join(got.keys, " "), k.Name) {
				t.Errorf("%s is Windows' name of %s and sets %v, %v", w, k.Name, got.keys, err)
			}
		}
	}
}

// other returns settings of which none is the default.
func other() Settings {
	return Settings{Kind: Active, Folder: `/srv/d"u\mps ä`, File: "k_YYMMDD'.kdump", SmallFolder: "/srv/small", SmallCount: 3,
		Keep: true, Compression: "none"}
}

func TestSaveLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "etc", "kernel.toml")
	if s, err := Load(path); err != nil || s != Default() {
		t.Fatalf("without file: %+v, %v", s, err)
	}
	for _, s := range []Settings{Default(), other()} {
		if err := s.Save(path); err != nil {
			t.Fatal(err)
		}
		if got, err := Load(path); err != nil || got != s {
			t.Errorf("%+v, %v; want %+v", got, err, s)
		}
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o644 {
			t.Errorf("%v, %v", st.Mode(), err)
		}
	}
	before, _ := os.ReadFile(path)
	bad := other()
	bad.SmallCount = 0
	if err := bad.Save(path); err == nil {
		t.Error("saved a wrong value")
	}
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Error("an error has changed the file")
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

// TestCommentsAreTrue holds what the file says of each key against what is so:
// it names the default, and every value it offers is accepted.
func TestCommentsAreTrue(t *testing.T) {
	s := other()
	text := string(s.Marshal())
	position := -1
	for _, k := range Keys() {
		at := strings.Index(text, "\n"+k.Name+" = ")
		if at < position {
			t.Errorf("%s is out of order", k.Name)
		}
		position = at
		_, comment, _ := strings.Cut(text[:at], "\n\n")
		comment = comment[strings.LastIndex(comment, "\n\n")+1:]
		_, value, ok := strings.Cut(comment, "Default: ")
		if !ok {
			t.Fatalf("%s has no default in %q", k.Name, comment)
		}
		got, err := Parse(value)
		if err != nil || k.Text(got) != k.Text(Default()) || !strings.HasPrefix(value, k.Name+" = ") {
			t.Errorf("%s: the comment's default %q is %+v, %v", k.Name, value, got, err)
		}
		if k.Name != "kind" && k.Name != "compression" && k.Values != "true, false" {
			continue
		}
		for _, v := range strings.Split(k.Values, ", ") {
			s := Default()
			if err := s.Set(k.Name + "=" + v); err != nil || k.Text(s) != v {
				t.Errorf("%s=%s: %v, is %s", k.Name, v, err, k.Text(s))
			}
		}
	}
	for line := range strings.Lines(text) {
		if len(line) > 121 {
			t.Errorf("a line of %d bytes: %s", len(line), line)
		}
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		text string
		want func(*Settings)
	}{
		{"", func(*Settings) {}},
		{"kind = 'Complete'", func(s *Settings) { s.Kind = Complete }},
		{"# x\n\nSmall_Count=7\noverwrite = false", func(s *Settings) { s.SmallCount, s.Overwrite = 7, false }},
		{"CrashDumpEnabled = 2\nAutoReboot = 0", func(s *Settings) { s.Kind, s.Reboot = Kernel, false }},
		{"FilterPages = 1\nCrashDumpEnabled = 1", func(s *Settings) { s.Kind = Active }},
		{"DumpFile = '/d/MEMORY.DMP'\nMinidumpDir = '/d/small'\nMinidumpsCount = 2", func(s *Settings) {
			s.Folder, s.File, s.SmallFolder, s.SmallCount = "/d", "MEMORY.DMP", "/d/small", 2
		}},
	} {
		want := Default()
		c.want(&want)
		if got, err := Parse(c.text); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", c.text, got, err, want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct {
		text string
		line int
		want string
	}{
		{"kind = 'kernel'\n\nfoldr = '/x'", 3, "foldr: unknown setting; did you mean folder?"},
		{"xyz = 1", 1, "xyz: unknown setting; choose kind, folder, file,"},
		{"MiniDumpCount = 1", 1, "did you mean MinidumpsCount?"},
		{"# kind = 1\nkind = 'full'", 2, `"full" is no kind of dump; choose automatic, kernel`},
		{"CrashDumpEnabled = 5", 1, "choose 0 (none), 1 (complete), 2 (kernel), 3 (small) or 7 (automatic)"},
		{"FilterPages = 1", 1, "set kind=active"},
		{"CrashDumpEnabled = 1\nkind = 'small'", 2, "CrashDumpEnabled sets the same; give one of the two"},
		{"kind = 'small'\nKIND = 'none'", 2, "KIND: it is given twice; give it once"},
		{"LastCrashTime = 1", 1, "this setting of Windows is none here; procdump kernel status shows it"},
		{"folder = 'var/crash'", 1, "is not absolute"},
		{"folder = ''", 1, "it is empty"},
		{"folder = ''\nsmall_folder = '/x'", 1, "folder: it is empty"},
		{"\nMinidumpDir = '/dev/sda1'", 2, `small_folder: "/dev/sda1" is a device`},
		{"folder = '/var//crash/'", 1, "write /var/crash"},
		{"folder = '/'", 1, "root folder"},
		{"folder = '/run/crash'", 1, "does not outlive a reboot"},
		{"folder = '/dev/shm/crash'", 1, "does not outlive a reboot"},
		{"folder = \"/a\\nb\"", 1, "control character"},
		{"file = 'a/b'", 1, "has a folder in it"},
		{"file = '.hidden'", 1, "is hidden"},
		{"DumpFile = '%SystemRoot%\\MEMORY.DMP'", 1, "give the whole path, from /"},
		{"DumpFile = '/var/crash/'", 1, "set folder=/var/crash"},
		{"DedicatedDumpFile = '/var/x'", 1, "is no block device"},
		{"small_count = 0", 1, "choose 1 to 10000"},
		{"small_count = 'many'", 1, "is no whole number"},
		{"small_count = 1.5", 1, "is no value of a setting"},
		{"small_count = 99999999999999999999", 1, "out of range"},
		{"overwrite = 'perhaps'", 1, "says neither yes nor no"},
		{"compression = 'lzo'", 1, "choose zstd, snappy, zlib, none"},
		{"kind = ['small']", 1, "a list, a table or a date"},
		{"reboot = true\n[folder]\nx = 1", 2, "a list, a table or a date"},
		{"\n[other]\nkind = 'small'", 2, "other: unknown setting"},
		{"other.kind = 'small'", 1, "other: unknown setting"},
		{"kind.x = 'small'", 1, "a list, a table or a date"},
		{"kind = small", 1, "texts in quotes"},
		{"kind = 'small'\nkind = 'none'", 2, "texts in quotes"},
	} {
		_, err := Parse(c.text)
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(e.Error(), c.want) || e.Line != c.line {
			t.Errorf("%q: line %d: %v; want %q in line %d", c.text, lineIn(e), err, c.want, c.line)
		}
	}
}

func lineIn(e *Error) int {
	if e == nil {
		return -1
	}
	return e.Line
}

func TestLoadNamesFileAndLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kernel.toml")
	if err := os.WriteFile(path, []byte("\nkeep = 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.HasPrefix(err.Error(), path+", line 2: keep: ") {
		t.Error(err)
	}
	if err := os.WriteFile(path, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "larger than 1 MiB") {
		t.Error(err)
	}
	if _, err := Load(t.TempDir()); err == nil {
		t.Error("read a folder")
	}
}

func TestSetAll(t *testing.T) {
	for _, c := range []struct {
		words string
		want  func(*Settings)
	}{
		{"kind=SMALL", func(s *Settings) { s.Kind = Small }},
		{"smallCount=5 small-folder=/x log_event=off", func(s *Settings) { s.SmallCount, s.SmallFolder, s.LogEvent = 5, "/x", false }},
		{"crashdumpenabled=7", func(*Settings) {}},
		{"CRASHDUMPENABLED=0", func(s *Settings) { s.Kind = None }},
		{"CrashDumpEnabled=3", func(s *Settings) { s.Kind = Small }},
		{"FilterPages=1 CrashDumpEnabled=1", func(s *Settings) { s.Kind = Active }},
		{"FilterPages=0 CrashDumpEnabled=1", func(s *Settings) { s.Kind = Complete }},
		{"FilterPages=0", func(*Settings) {}},
		{"DedicatedDumpFile=/dev/vdb AlwaysKeepMemoryDump=1 Overwrite=0 LogEvent=0", func(s *Settings) {
			s.Folder, s.Keep, s.Overwrite, s.LogEvent = "/dev/vdb", true, false, false
		}},
		{"DumpFile=/dev/disk/by-id/x", func(s *Settings) { s.Folder = "/dev/disk/by-id/x" }},
	} {
		got, want := Default(), Default()
		c.want(&want)
		if err := got.SetAll(strings.Fields(c.words)); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", c.words, got, err, want)
		}
	}
	s := other()
	for words, want := range map[string]string{
		"kind":                            "write kind=VALUE",
		"keep=false kind=huge":            "is no kind",
		"keep=false FilterPages=2":        "choose 0 or 1",
		"FilterPages=0 FilterPages=1":     "given twice",
		"kind=small kind=none":            "kind: it is given twice; give it once",
		"AutoReboot=1 autoreboot=0":       "autoreboot: it is given twice",
		"MinidumpDir=/a small_folder=/b":  "MinidumpDir sets the same",
		"=x":                              "unknown setting",
		"folder=/dev/vdb DumpFile=/x/y":   "folder sets the same",
		"kind=kernel FilterPages=1":       "kind is kernel",
		"keep=false AutoReboot=1 kind=ab": "is no kind",
	} {
		if err := s.SetAll(strings.Fields(words)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", words, err, want)
		}
	}
	for word, want := range map[string]string{"file=" + strings.Repeat("x", maxName+1): "more than 200", "folder=/a\xff": "is not text", "file=x\x1b": "control character"} {
		if err := s.Set(word); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", word, err, want)
		}
	}
	if s != other() {
		t.Errorf("an error has changed the settings: %+v", s)
	}
	if err := s.Set("kind = automatic"); err != nil || s.Kind != Automatic {
		t.Error(s.Kind, err)
	}
}

func TestGet(t *testing.T) {
	active := Default()
	active.Kind, active.Overwrite = Active, false
	raw := Default()
	raw.Folder, raw.Kind = "/dev/vdb", None
	for _, c := range []struct {
		s          Settings
		name, want string
	}{
		{Default(), "kind", "automatic"}, {Default(), "crashdumpenabled", "7"}, {active, "CrashDumpEnabled", "1"},
		{active, "FilterPages", "1"}, {Default(), "FilterPages", "0"}, {active, "overwrite", "false"}, {active, "AutoReboot", "1"},
		{Default(), "DumpFile", "/var/crash/vmcore.kdump"}, {raw, "DumpFile", "/dev/vdb"}, {raw, "DedicatedDumpFile", "/dev/vdb"},
		{Default(), "DedicatedDumpFile", ""}, {raw, "CrashDumpEnabled", "0"}, {Default(), "MinidumpsCount", "50"},
		{Default(), "small_count", "50"}, {Default(), "log_event", "true"},
	} {
		got, err := c.s.Get(c.name)
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
		}
	}
	if _, err := Default().Get("knd"); err == nil || !strings.Contains(err.Error(), "did you mean kind?") {
		t.Error(err)
	}
}

// FuzzParse holds that a text is settings that are valid and survive a round
// trip, or an error, and that nothing panics.
func FuzzParse(f *testing.F) {
	f.Add(string(Default().Marshal()))
	f.Add(string(other().Marshal()))
	f.Add("CrashDumpEnabled = 1\nFilterPages = 1\n[x]\ny = [1, {a = 1}]")
	f.Add("'kind' = \"\"\"\nsmall\"\"\"")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			if s != (Settings{}) {
				t.Fatal("an error and settings")
			}
			return
		}
		if err := s.Validate(); err != nil {
			t.Fatal(err)
		}
		if again, err := Parse(string(s.Marshal())); err != nil || again != s {
			t.Fatalf("%+v becomes %+v, %v", s, again, err)
		}
	})
}
