package target

import (
	"path"
	"strings"
)

// rank says how well a name matches; the lowest that any process reaches wins.
type rank int

const (
	exact rank = iota
	otherCase
	withoutExe // "app.exe" for the process "app": a Windows habit
	script     // the file that an interpreter runs
	scriptOtherCase
	noMatch
)

// nameRank matches a NAME with a process: the image's file name, comm, and
// argv[0]'s base name, each with or without extension.
func nameRank(name string, p *Process) rank {
	names := []string{base(p.Exe), p.comm, p.Name, argv0Base(p)}
	if matchAny(name, names, equal) {
		return exact
	}
	if matchAny(name, names, strings.EqualFold) {
		return otherCase
	}
	if n := len(name) - len(".exe"); n > 0 && strings.EqualFold(name[n:], ".exe") && matchAny(name[:n], names, strings.EqualFold) {
		return withoutExe
	}
	file := []string{scriptName(p)}
	if matchAny(name, file, equal) {
		return script
	}
	if matchAny(name, file, strings.EqualFold) {
		return scriptOtherCase
	}
	return noMatch
}

func equal(a, b string) bool { return a == b }

func matchAny(name string, candidates []string, same func(a, b string) bool) bool {
	for _, c := range candidates {
		if c != "" && (same(name, c) || same(name, withoutExtension(c))) {
			return true
		}
	}
	return false
}

// withoutExtension drops what follows the last dot, unless nothing precedes it.
func withoutExtension(name string) string {
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		return name[:i]
	}
	return name
}

// base is the file name of a path; of a Windows path too, as Wine's processes
// have it in argv[0]. "" stays "".
func base(p string) string {
	if p == "" || p == "/" {
		return ""
	}
	if isWindowsPath(p) {
		return p[strings.LastIndexByte(p, '\\')+1:]
	}
	return path.Base(p)
}

func isWindowsPath(p string) bool { return len(p) > 2 && p[1] == ':' && p[2] == '\\' }

// argv0Base is the base name of argv[0]. Where a program has written a title
// there ("nginx: worker process", "sshd: bob@pts/0") its first word counts,
// and a login shell's dash does not ("-bash").
func argv0Base(p *Process) string {
	if len(p.Args) == 0 {
		return ""
	}
	arg := strings.TrimPrefix(p.Args[0], "-")
	if name := base(arg); isWindowsPath(arg) || name != "" && name == base(p.Exe) {
		return name // a path, blanks and all
	}
	word, _, cut := strings.Cut(arg, " ")
	if cut {
		word = strings.TrimSuffix(word, ":")
	}
	return base(word)
}

// interpreters run the file that their first argument without a dash names.
var interpreters = map[string]bool{
	"awk": true, "bash": true, "bun": true, "busybox": true, "csh": true, "dash": true, "deno": true, "dotnet": true, "escript": true,
	"fish": true, "gawk": true, "guile": true, "java": true, "julia": true, "ksh": true, "lua": true, "luajit": true, "mawk": true,
	"mono": true, "mono-sgen": true, "node": true, "nodejs": true, "perl": true, "php": true, "pwsh": true, "pypy": true, "python": true,
	"qemu-x86_64": true, "raku": true, "Rscript": true, "ruby": true, "sh": true, "tclsh": true, "wish": true, "zsh": true,
}

// scriptName is the base name of the file that p interprets, "" if p is no interpreter.
func scriptName(p *Process) string {
	if !isInterpreter(base(p.Exe)) && !isInterpreter(argv0Base(p)) {
		return ""
	}
	for i, arg := range p.Args {
		if i > 0 && !strings.HasPrefix(arg, "-") {
			return base(arg)
		}
	}
	return ""
}

// isInterpreter looks a name up without the version behind it ("python3.11", "perl5.36.0").
func isInterpreter(name string) bool {
	return interpreters[name] || interpreters[strings.TrimRight(name, "0123456789.-")]
}
