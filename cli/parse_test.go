package cli

import (
	"errors"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"procdump/capture"
	"procdump/dumpkind"
)

// dumpOptions are the options of "procdump 1" with changes.
func dumpOptions(change func(*Options)) Options {
	o := Options{Target: "1", Kinds: []dumpkind.Kind{dumpkind.Mini}, Count: 1, Interval: 10 * time.Second}
	if change != nil {
		change(&o)
	}
	return o
}

func kinds(list ...dumpkind.Kind) func(*Options) {
	return func(o *Options) { o.Kinds = list }
}

var goodCommands = []struct {
	args   string // split at spaces; ~ is a space, '' nothing
	change func(*Options)
}{
	{"1", nil},
	{"1 /var/tmp/x", func(o *Options) { o.Path = "/var/tmp/x" }},
	{"-mm 1", nil},
	{"-ma 1", kinds(dumpkind.Full)},
	{"/ma 1", kinds(dumpkind.Full)},
	{"/MA 1", kinds(dumpkind.Full)},
	{"-Ma 1", kinds(dumpkind.Full)},
	{"--ma 1", kinds(dumpkind.Full)},
	{"1 -ma", kinds(dumpkind.Full)},
	{"-ma -mm 1", kinds(dumpkind.Mini, dumpkind.Full)},
	{"-mm -ma 1", kinds(dumpkind.Mini, dumpkind.Full)},
	{"-ma -ma 1", kinds(dumpkind.Full)},
	{"-ma -mp -mc 3f -mm -mt 1", func(o *Options) {
		o.Kinds, o.Mask = []dumpkind.Kind{dumpkind.Triage, dumpkind.Mini, dumpkind.Custom, dumpkind.MiniPlus, dumpkind.Full}, 0x3f
	}},
	{"-mpx 1", func(o *Options) { o.Kinds, o.DropLargest = []dumpkind.Kind{dumpkind.MiniPlus}, true }},
	{"-mc 0x1F 1", func(o *Options) { o.Kinds, o.Mask = []dumpkind.Kind{dumpkind.Custom}, 0x1f }},
	{"-mk 1", func(o *Options) { o.KernelStacks = true }},
	{"-dontdump -64 -all 1", func(o *Options) { o.DontDump, o.View64, o.All = true, true, true }},
	{"1 -n 3 -s 2", func(o *Options) { o.Count, o.Interval = 3, 2*time.Second }},
	{"-n 3 1 -s 0 x", func(o *Options) { o.Count, o.Interval, o.Path = 3, 0, "x" }},
	{"-s 5 1", func(o *Options) { o.Interval = 5 * time.Second }},
	{"-at 30 1", func(o *Options) { o.TimeLimit = 30 * time.Second }},
	{"-o -z -json 1", func(o *Options) { o.Overwrite, o.Compress, o.JSON = true, true, true }},
	{"-format MiniDump 1", func(o *Options) { o.Format = capture.FormatMinidump }},
	{"-dc a~comment 1", func(o *Options) { o.Comment = "a comment" }},
	{"-dc -ma 1", func(o *Options) { o.Comment = "-ma" }},
	{"-dc '' 1", nil},
	{"-accepteula -ma 1", kinds(dumpkind.Full)},
	{"/accepteula 1", nil},
	{"1 -accepteula c:\\dumps", func(o *Options) { o.Path = `c:\dumps` }},
	// Paths that begin with / are no switches; only names of switches are.
	{"1 /tmp", func(o *Options) { o.Path = "/tmp" }},
	{"1 /maa", func(o *Options) { o.Path = "/maa" }},
	{"1 /./ma", func(o *Options) { o.Path = "/./ma" }},
	{"1 /ma/", func(o *Options) { o.Path = "/ma/" }},
	{"1 /", func(o *Options) { o.Path = "/" }},
	{"/usr/bin/vi", func(o *Options) { o.Target = "/usr/bin/vi" }},
	{"/maa", func(o *Options) { o.Target = "/maa" }},
	// After --.
	{"-ma -- 1 -x", func(o *Options) { o.Kinds, o.Path = []dumpkind.Kind{dumpkind.Full}, "-x" }},
	{"1 -- /ma", func(o *Options) { o.Path = "/ma" }},
	{"-- -sh", func(o *Options) { o.Target = "-sh" }},
	{"- x", func(o *Options) { o.Target, o.Path = "-", "x" }},
	{"-all cmd:java~.*Main", func(o *Options) { o.All, o.Target = true, "cmd:java .*Main" }},
	// Launching.
	{"-ma -x /tmp prog", func(o *Options) {
		o.Target, o.Path, o.Launch, o.Kinds = "", "/tmp", []string{"prog"}, []dumpkind.Kind{dumpkind.Full}
	}},
	{"-X . prog -ma -- '' -? /x", func(o *Options) {
		o.Target, o.Path, o.Launch = "", ".", []string{"prog", "-ma", "--", "", "-?", "/x"}
	}},
	{"/x . /ma/prog -n 0", func(o *Options) { o.Target, o.Path, o.Launch = "", ".", []string{"/ma/prog", "-n", "0"} }},
}

func words(line string) []string {
	args := strings.Split(line, " ")
	for i, a := range args {
		args[i] = strings.ReplaceAll(strings.ReplaceAll(a, "~", " "), "''", "")
	}
	if line == "" {
		return nil
	}
	return args
}

func TestParse(t *testing.T) {
	for _, tt := range goodCommands {
		got, err := Parse(words(tt.args))
		if err != nil {
			t.Errorf("%s: %v", tt.args, err)
			continue
		}
		if want := dumpOptions(tt.change); !reflect.DeepEqual(*got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", tt.args, *got, want)
		}
	}
}

func TestParseActions(t *testing.T) {
	for _, tt := range []struct {
		args string
		want Options
	}{
		{"-?", Options{Action: ActionHelp}},
		{"/?", Options{Action: ActionHelp}},
		{"--help", Options{Action: ActionHelp}},
		{"-help -e", Options{Action: ActionHelp}},
		{"-? -e", Options{Action: ActionHelp}},
		{"-ma 1 2 -? 3", Options{Action: ActionHelp}},
		{"-accepteula", Options{Action: ActionHelp}},
		{"--version", Options{Action: ActionVersion}},
		{"-VERSION", Options{Action: ActionVersion}},
		{"--man", Options{Action: ActionMan}},
	} {
		got, err := Parse(words(tt.args))
		if err != nil || !reflect.DeepEqual(*got, tt.want) {
			t.Errorf("%s: %+v, %v", tt.args, got, err)
		}
	}
	got, err := Parse(words("-json -cancel 77 -accepteula"))
	if err != nil || got.Action != ActionCancel || got.CancelPID != 77 || !got.JSON {
		t.Errorf("-cancel 77: %+v, %v", got, err)
	}
}

// badCommands are those that are refused, with what the message must have:
// the switch, then the problem and the remedy.
var badCommands = []struct{ args, name, text string }{
	{"", "", "no target given; give a PID"},
	{"-ma", "", "no target given"},
	{"--", "", "no target given"},
	{"''", "", "target is empty"},
	{"1 ''", "", "dump path is empty"},
	{"1 -", "", "standard output"},
	{"1 x y", "", `"y" is one word too many`},
	{"-x", "-x", "missing FOLDER; type -x FOLDER PROGRAM [ARG...]"},
	{"-x /tmp", "-x", "missing PROGRAM"},
	{"-x /tmp ''", "-x", "PROGRAM is empty"},
	{"-x '' prog", "-x", "FOLDER is empty"},
	{"-x -ma /tmp prog", "-x", "expected FOLDER, found the switch -ma; put switches before -x"},
	{"-x /tmp -ma prog", "-x", "expected PROGRAM, found the switch -ma"},
	{"1 -x /tmp prog", "-x", `"1" is one word too many`},
	{"-all -x /tmp prog", "-x", "cannot be combined with -all"},
	{"-n", "-n", "missing N; type -n N"},
	{"-n 0 1", "-n", "from 1 to 1000000"},
	{"-n x 1", "-n", `"x" is not a number of dumps`},
	{"-n -1 1", "-n", "from 1 to"},
	{"-n 99999999999999999999 1", "-n", "from 1 to"},
	{"-n 1 -n 2 1", "-n", "given twice"},
	{"-N 1 /n 2 1", "-n", "given twice"},
	{"-s -1 1", "-s", "from 0 to 604800"},
	{"-s 1.5 1", "-s", "not a number of seconds"},
	{"-at 0 1", "-at", "from 1 to 604800"},
	{"-at 1", "", "no target given"},
	{"-mc", "-mc", "missing MASK"},
	{"-mc xyz 1", "-mc", "hexadecimal mask from 0 to"},
	{"-mc 0x 1", "-mc", "hexadecimal mask"},
	{"-mc 100000000 1", "-mc", "hexadecimal mask"},
	{"-mp -mpx 1", "-mpx", "cannot be combined with -mp;"},
	{"-format pe 1", "-format", "give elf or minidump"},
	{"-format elf -format minidump 1", "-format", "given twice"},
	{"-cancel", "-cancel", "missing PID"},
	{"-cancel 0", "-cancel", "PID from 1"},
	{"-cancel x", "-cancel", "PID from 1"},
	{"-cancel 1 2", "-cancel", `"2" is one word too many`},
	{"-cancel 1 -ma", "-cancel", "cannot be combined with -ma"},
	{"-o -cancel 1", "-cancel", "cannot be combined with -o"},
	{"-cancel 1 -w", "-cancel", "cannot be combined with -w"},
	// Unknown ones, and what was meant.
	{"-maa 1", "-maa", "unknown switch; did you mean -ma?"},
	{"--jsno 1", "--jsno", "did you mean -json?"},
	{"-MQQQ 1", "-MQQQ", "-? lists the switches"},
	{"-n3 1", "-n3", "did you mean -n 3?"},
	{"-mc=1f 1", "-mc=1f", "did you mean -mc 1f?"},
	{"-full 1", "-full", "did you mean -ma?"},
	{"-dondump 1", "-dondump", "did you mean -dontdump?"},
	{"-formta elf 1", "-formta", "did you mean -format?"},
	{"-vesion", "-vesion", "did you mean -version?"},
	{"--- 1", "---", "unknown switch"},
	// ProcDump's combinations that make no sense.
	{"-mk -r 1", "-mk", "cannot be combined with -r"},
	{"-a 1", "-a", "needs -r"},
	{"-g 1", "-g", "needs -e"},
	{"-b 1", "-b", "needs -e"},
	{"-ld 1", "-ld", "needs -e"},
	{"-ud 1", "-ud", "needs -e"},
	{"-ct 1", "-ct", "needs -e"},
	{"-et 1", "-et", "needs -e"},
	{"-f x 1", "-f", "needs -e or -l"},
	{"-fx x 1", "-fx", "needs -e or -l"},
	{"-u 1", "-u", "needs -c or -cl"},
	{"-ma -u", "-u", "to uninstall, give it alone"},
	{"-w 123", "-w", "123 is a PID"},
	{"-w -x . prog", "-x", "cannot be combined with -w"},
	{"-i -n 3", "-i", "cannot be combined with -n"},
	{"-i -e", "-i", "cannot be combined with -e"},
}

func TestParseErrors(t *testing.T) {
	for _, tt := range badCommands {
		o, err := Parse(words(tt.args))
		var usage *UsageError
		if !errors.As(err, &usage) || o != nil {
			t.Errorf("%s: %+v, error %v", tt.args, o, err)
			continue
		}
		if usage.Switch != tt.name || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %q of switch %q, want %q of %q", tt.args, err, usage.Switch, tt.text, tt.name)
		}
	}
}

func TestParsePlatform(t *testing.T) {
	bad := []string{"-mc 200 1", "-mc 61826 1", "-64 -format minidump 1", "-64 1 x.DMP"}
	if runtime.GOOS == "windows" {
		bad = []string{"-format elf 1"}
	}
	for _, args := range bad {
		if o, err := Parse(words(args)); err == nil {
			t.Errorf("%s: accepted as %+v", args, o)
		}
	}
}

// TestParseLater has what is understood and refused: the message must name
// the switch, never a word that was its value.
func TestParseLater(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"-h 1", "-h: not available yet; for help type -?"},
		{"outlook -s 10 -p \\Processor(_Total)\\%~Processor~Time 20", "-p: not available yet; procdump -? lists what is"},
		{"-c 90 -n 3 -u consume.exe c:\\dump", "-c, -u: not available yet; procdump -? lists what is"},
		{"-t X.exe -w dumpname", "-t, -w: not available yet; procdump -? lists what is"},
		{"4444 -e file", "-e: not available yet; procdump -? lists what is"},
		{"-e 1 -f '' w3wp.exe x", "-e, -f: not available yet; procdump -? lists what is"},
		{"-ma -i c:\\dumps", "-i: not available yet; procdump -? lists what is"},
		{"-u", "-u: not available yet; procdump -? lists what is"},
		{"-e -w -x c:\\dumps", ""}, // -x lacks its program
		{"-ma -e -x c:\\dumps notepad.exe", "-e: not available yet; procdump -? lists what is"},
		{"-ma -mk -pt -k -wer 1 x", "-pt, -k, -wer: not available yet; procdump -? lists what is"},
		{"-ma 1 -usegcore", "-usegcore: not available yet; procdump writes its dumps itself"},
		{"-f a -f b -e 1", "-f, -e: not available yet; procdump -? lists what is"},
	} {
		_, err := Parse(words(tt.args))
		if err == nil || tt.want != "" && err.Error() != tt.want {
			t.Errorf("%s: %v, want %s", tt.args, err, tt.want)
		}
	}
	for i := range switches {
		s := &switches[i]
		if !s.later {
			continue
		}
		args := []string{s.typed()}
		for range s.values {
			args = append(args, "-n") // values may look like switches
		}
		for _, name := range []string{"e", "r", "c", "restrack"} { // what it may need
			for _, n := range needing {
				if n.name == s.name && n.others[0] == name {
					args = append(args, "-"+name)
				}
			}
		}
		if s.name != "u" && s.name != "i" {
			args = append(args, "target", "path")
		}
		if _, err := Parse(args); err == nil || !strings.Contains(err.Error(), s.typed()) || !strings.Contains(err.Error(), "not available yet") {
			t.Errorf("%q: %v", args, err)
		}
	}
}

// TestOptionalNumber has ProcDump's optional numbers, which are the target if
// nothing else can be it.
func TestOptionalNumber(t *testing.T) {
	for _, tt := range []struct {
		args         string
		target, path string
	}{
		{"-e 1", "1", ""},
		{"-e 1 notepad", "notepad", ""},
		{"-e 1 notepad file", "notepad", "file"},
		{"notepad -e 1", "notepad", ""},
		{"-e 1 -ma", "1", ""},
		{"-e 1 -ma notepad", "notepad", ""},
		{"-e 1 -n 5", "1", ""}, // 5 is the value of -n
		{"-e 1 -p a b", "1", ""},
		{"-e 1 -p a b c", "c", ""},
		{"-e 1 -- notepad", "notepad", ""},
		{"-e 1 --", "1", ""},
		{"-e 1 -x . prog", "", ""},
		{"-e 12 x", "12", "x"}, // not one digit, so a PID
		{"-e", "", ""},
		{"-e notepad", "notepad", ""},
		{"-r 3", "3", ""},
		{"-r 3 1", "1", ""},
		{"-r 9 notepad", "notepad", ""}, // for -r to refuse
		{"-e 1 -r 3", "3", ""},
		{"-e 1 -r 3 notepad", "notepad", ""},
		{"-ma -e -r 2 1234 x", "1234", "x"},
	} {
		p := parser{rest: words(tt.args), given: map[string]bool{}}
		if err := p.run(); err == nil {
			t.Errorf("%s: no error", tt.args) // later switches
		}
		if got := text(p.target); got != tt.target {
			t.Errorf("%s: target %q, want %q", tt.args, got, tt.target)
		}
		if got := text(p.path); got != tt.path {
			t.Errorf("%s: path %q, want %q", tt.args, got, tt.path)
		}
	}
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// TestSwitchTable checks what the parser and the help take for granted, and
// that no switch of ProcDump, of ProcDump for Linux or of our own is missing.
func TestSwitchTable(t *testing.T) {
	const all = "mm ma mt mp mpx mc mk md n s c cl u m ml p pl h e g b ld ud ct et l t f fx dc o r a at wer 64 w x i k " +
		"accepteula cancel ? pt gcm gcgen pc pcl restrack sr tc fc sig pf pgid log usegcore " +
		"format z dontdump all json help version man cooldown ntotal live counters throttle inspect hp"
	for name := range strings.FieldsSeq(all) {
		if lookup(name) == nil {
			t.Errorf("-%s is missing", name)
		}
	}
	var names []string
	for i := range switches {
		s := &switches[i]
		names = append(names, s.name)
		if s.also != "" {
			names = append(names, s.also)
		}
		if s.name != strings.ToLower(s.name) {
			t.Errorf("-%s is not lower case", s.name)
		}
		if s.later == (s.set != nil) {
			t.Errorf("-%s: either later or with a function", s.name)
		}
		if s.section != secHidden && s.help == "" {
			t.Errorf("-%s: no help", s.name)
		}
		if s.optional != "" && len(s.values) > 0 {
			t.Errorf("-%s: values and an optional one", s.name)
		}
	}
	slices.Sort(names)
	if n := len(names); len(slices.Compact(names)) != n {
		t.Errorf("two switches of one name: %q", names)
	}
	for _, r := range excluding {
		for _, name := range append([]string{r.name}, r.others...) {
			if lookup(name) == nil {
				t.Errorf("a rule is about -%s, which does not exist", name)
			}
		}
	}
}
