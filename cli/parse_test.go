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
	"procdump/monitor"
	"procdump/trigger"
)

// dumpOptions are the options of "procdump 1" with changes.
func dumpOptions(change func(*Options)) Options {
	o := Options{Target: "1", Kinds: []dumpkind.Kind{dumpkind.Mini},
		Rules: monitor.Rules{Hold: 10 * time.Second, Interval: 10 * time.Second}, Limits: monitor.Limits{PerProcess: 1}}
	if change != nil {
		change(&o)
	}
	return o
}

func kinds(list ...dumpkind.Kind) func(*Options) {
	return func(o *Options) { o.Kinds = list }
}

// held is -s SECONDS.
func held(seconds int) func(*Options) {
	return func(o *Options) {
		o.Rules.Hold = time.Duration(seconds) * time.Second
		o.Rules.Interval = o.Rules.Hold
	}
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
	{"1 -n 3 -s 2", func(o *Options) { o.Limits.PerProcess = 3; held(2)(o) }},
	{"-n 3 1 -s 0 x", func(o *Options) { o.Limits.PerProcess, o.Path = 3, "x"; held(0)(o) }},
	{"-s 5 1", held(5)},
	{"-at 30 1", func(o *Options) { o.TimeLimit = 30 * time.Second }},
	{"-r 1", func(o *Options) { o.Clone, o.Clones = CloneAlways, 1 }}, // the process 1
	{"-r 3 -a 1", func(o *Options) { o.Clone, o.Clones, o.Avoid = CloneAlways, 3, true }},
	{"-ma -r live 1", func(o *Options) {
		o.Kinds, o.Clone, o.Clones, o.PreCopy = []dumpkind.Kind{dumpkind.Full}, CloneAlways, 1, true
	}},
	{"-ma -r 0 1", func(o *Options) { o.Kinds, o.Clone = []dumpkind.Kind{dumpkind.Full}, CloneNever }},
	{"-ma -throttle 20 1", func(o *Options) {
		o.Kinds, o.Clone, o.Clones, o.Throttle = []dumpkind.Kind{dumpkind.Full}, CloneAlways, 1, 20<<20
	}},
	{"-mp -r 2 -throttle 1 1", func(o *Options) {
		o.Kinds, o.Clone, o.Clones, o.Throttle = []dumpkind.Kind{dumpkind.MiniPlus}, CloneAlways, 2, 1<<20
	}},
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
	// Triggers.
	{"outlook -s 10 -p \\Processor(_Total)\\%~Processor~Time 20", func(o *Options) {
		o.Target = "outlook"
		o.Rules.Counters = []monitor.Counter{{Name: `\Processor(_Total)\% Processor Time`, Bound: monitor.Bound{Value: 20}}}
	}},
	{"-c 90 -n 3 -u consume.exe c:\\dump", func(o *Options) {
		o.Target, o.Path, o.Limits.PerProcess = "consume.exe", `c:\dump`, 3
		o.Rules.CPU, o.Rules.OneCore = []monitor.Bound{{Value: 90}}, true
	}},
	{"-cl 5% -c 90 1", func(o *Options) { o.Rules.CPU = []monitor.Bound{{Value: 5, Below: true}, {Value: 90}} }},
	{"-m 100,200.5 -ml 10% 1", func(o *Options) {
		o.Limits.PerProcess = 3
		o.Rules.Commit = []monitor.Commit{
			{Bound: monitor.Bound{Value: 100 << 20}, Listed: true, WrittenAs: "100 MB"},
			{Bound: monitor.Bound{Value: 200.5 * (1 << 20)}, Listed: true, WrittenAs: "200.5 MB"},
			{Bound: monitor.Bound{Value: 10, Below: true}, Percent: true, WrittenAs: "10%"},
		}
	}},
	{"-tc 9 -fc 8 1", func(o *Options) {
		o.Rules.Threads, o.Rules.Files = []monitor.Bound{{Value: 9}}, []monitor.Bound{{Value: 8}}
	}},
	{"-t X.exe -w dumpname", func(o *Options) {
		o.Target, o.Path, o.Wait, o.Rules.Terminate = "X.exe", "dumpname", true, true
	}},
	{"4444 -e file", func(o *Options) { o.Target, o.Path, o.Rules.Unhandled = "4444", "file", true }},
	{"-e 1 w3wp.exe x", func(o *Options) {
		o.Target, o.Path, o.Rules.Unhandled, o.Rules.FirstChance = "w3wp.exe", "x", true, true
	}},
	{"-e 1", func(o *Options) { o.Rules.Unhandled = true }}, // the process 1
	{"-e -b -ct -et -ld -ud 1 x", func(o *Options) {
		o.Path = "x"
		o.Rules = monitor.Rules{Unhandled: true, Breakpoints: true, ThreadStart: true, ThreadExit: true, Mapped: true, Unmapped: true,
			Hold: o.Rules.Hold, Interval: o.Rules.Interval}
	}},
	{"-sig SEGV,10,sigrtmin+1 1", func(o *Options) { o.Rules.Signals = []int{11, 10, 35} }},
	{"-h -hp http://[::1]:80/x -hp tcp://localhost:5 1", func(o *Options) {
		o.Rules.Window, o.Rules.Endpoints = true, []string{"http://[::1]:80/x", "tcp://localhost:5"}
	}},
	{"-l -f a,b -f c -fx d 1", func(o *Options) {
		o.Rules.Output, o.include, o.exclude = true, []string{"a,b", "c"}, []string{"d"}
		o.Rules.Filter = trigger.ParseFilter(o.include, o.exclude)
	}},
	{"-l -f '' 1", func(o *Options) {
		o.Rules.Output, o.include = true, []string{""}
		o.Rules.Filter = trigger.ParseFilter(o.include, nil)
	}},
	{"-pf 20 -cooldown 5 -ntotal 7 -k -pt -live 1", func(o *Options) {
		o.Rules.Period, o.Limits.Cooldown, o.Limits.Total = 20*time.Millisecond, 5*time.Second, 7
		o.Kill, o.Tree, o.Live = true, true, true
	}},
	{"-pgid 77 out", func(o *Options) { o.Target, o.Path, o.Group, o.All = "pgid:77", "out", true, true }},
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
		{"-u", Options{Action: ActionUninstall}},
		{"-u -o", Options{Action: ActionUninstall, Overwrite: true}},
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
	{"-r 6 1", "-r", `"6" is not a number of clones from 0 to 5`},
	{"-a 1", "-a", "needs -r"},
	{"-ma -throttle 0 1", "-throttle", `"0" is not a number of MB a second from 1 to 1048576`},
	{"-ma -r 0 -throttle 5 1", "-throttle", "cannot be combined with -r 0"},
	{"-ma -r live -throttle 5 1", "-throttle", "cannot be combined with -r live"},
	{"-throttle 5 1", "-throttle", "a small one is copied while the process stands"},
	{"-mt -mm -r -throttle 5 x", "-throttle", "paces large dumps"},
	{"-ma -a -throttle 5 1", "-a", "needs -r"},
	{"-r 0 -a 1", "-a", "cannot be combined with -r 0"},
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
	{"-i -c 90", "-i", "cannot be combined with -c"},
	{"-i a b", "-i", `"b" is one word too many`},
	{"-keep 3 1", "-keep", "needs -i"},
	{"-i -keep 3x", "-keep", `"3x" is none of these`},
	{"-i -keep 1.5", "-keep", `"1.5" is none of these`},
	{"-i -rate 0", "-rate", "from 1 to"},
	{"-c x 1", "-c", `"x" is not a percentage`},
	{"-c NaN 1", "-c", `"NaN" is not a percentage`},
	{"-m 1,,2 1", "-m", `"" is not a number of MB`},
	{"-m 101% 1", "-m", `"101" is not a percentage from 0 to 100`},
	{"-m inf 1", "-m", `"inf" is not`},
	{"-tc 1.5 1", "-tc", `"1.5" is not a number of threads`},
	{"-p nonsense 5 1", "-p", "nonsense"},
	{"-p psi:cpu.some.avg10 x 1", "-p", `"x" is not a number`},
	{"-sig SIGFOO 1", "-sig", "SIGFOO"},
	{"-sig 0 1", "-sig", "0"},
	{"-hp localhost:80 1", "-hp", "is no address of a server"},
	{"-hp tcp://localhost 1", "-hp", "is no address of a server"},
	{"-pf 1 1", "-pf", "from 10 to"},
	{"-pgid 5 a b", "-pgid", `"b" is one word too many`},
	{"-pgid 5 -w", "-pgid", "cannot be combined with -w"},
	{"-counters 1 2", "-counters", `"2" is one word too many`},
	{"-counters -ma", "-counters", "cannot be combined with -ma"},
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
		{"-ma -mk -pt -k -wer 1 x", "-wer: not available yet; procdump -? lists what is"},
		{"-e -g -wer w3wp.exe", "-g, -wer: not available yet; procdump -? lists what is"},
		{"-ma 1 -usegcore", "-usegcore: not available yet; procdump writes its dumps itself"},
		{"-md x.dll -gcm 5 1 y", "-md, -gcm: not available yet; procdump -? lists what is"},
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
		{"-e 1 -p psi:cpu.some.avg10 5", "1", ""},
		{"-e 1 -p psi:cpu.some.avg10 5 c", "c", ""},
		{"-e 1 -- notepad", "notepad", ""},
		{"-e 1 --", "1", ""},
		{"-e 1 -x . prog", "", ""},
		{"-e 12 x", "12", "x"}, // not one digit, so a PID
		{"-e", "", ""},
		{"-e notepad", "notepad", ""},
		{"-r 3", "3", ""},
		{"-r 3 1", "1", ""},
		{"-r live 1", "1", ""},
		{"-r LIVE -ma", "LIVE", ""}, // a process of that name
		{"-e live", "live", ""},
		{"-e live x", "live", "x"},
		{"-e 1 -r 3", "3", ""},
		{"-e 1 -r 3 notepad", "notepad", ""},
		{"-ma -e -r 2 1234 x", "1234", "x"},
	} {
		p := parser{rest: words(tt.args), given: map[string]bool{}}
		_ = p.run() // what is missing or comes later is another test's matter
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
