package cli

import "procdump/capture"

// What the help and the manual page say beside the switches. Markup is none:
// each of them sets it in its own way.

var synopses = []string{
	"procdump [SWITCHES] TARGET [FILE|FOLDER]",
	"procdump [SWITCHES] -x FOLDER PROGRAM [ARG...]",
	"procdump -i [SWITCHES] [FILE|FOLDER]  procdump -u  procdump -cancel PID",
	kernelSynopsis,
	inspectSynopsis,
	diffSynopsis,
	convertSynopsis,
}

// term is a thing and what it means.
type term struct{ name, meaning string }

var selectors = []term{
	{"PID", "the process of that number"},
	{"NAME", "the program of that name, with or without its extension"},
	{"exe:PATH", "the program in that file (a plain PATH will do, too)"},
	{"cmd:REGEX", "whose command line matches"},
	{"user:NAME", "of that user"},
	{"pgid:N", "of that process group"},
	{"tree:PID", "that process and its descendants"},
	{"unit:NAME", "of that systemd unit"},
	{"cgroup:PATH", "of that cgroup"},
	{"container:ID", "of that container"},
	{"port:N", "that listens on that port"},
}

const selectorRule = "Several selectors joined with commas must all hold: user:www,port:8080."

var nameWords = []term{
	{"PROCESSNAME", "the name of the process"},
	{"PID", "its number"},
	{"YYMMDD", "the date, local"},
	{"HHMMSS", "the time"},
	{"EXCEPTIONCODE", "what triggered the dump; 0 if nothing did"},
	{"CONTAINERID", "12 characters of its container's ID; host if it is in none"},
	{"CGROUP", "its control group: nginx.service, user.slice,...; root"},
}

var defaultNameRule = "Without FILE it is " + capture.DefaultMask + capture.DefaultFormat().Ext() + "."

var fileParagraphs = []string{
	"FILE is the dump's path, FOLDER an existing folder, or a path that ends in /, where the dump gets its default name. " +
		"Neither given means the current folder.",
	"Words in the file name, never in the folder, stand for facts of each dump. " +
		"In upper case they are replaced wherever they stand; in any other case only where they stand alone: " +
		"pid.core and x_pid.core have the PID in them, rapid.core and web-pid28876.core stay as they are.",
	"The extension tells the format: .dmp is a minidump; .core, .elf, .coredump, .gcore and the names core and core.* are ELF cores. " +
		"To any other name .core is added (.dmp with -format minidump), and .zst to a compressed dump.",
	"An existing file is left alone: -1, -2, and so on is put before the extension, unless -o is given. " +
		"Several kinds in one command get their names into the file names (web_mini.core, web_full.core), " +
		"and the dumps of several processes their PIDs.",
	"A dump is readable by its owner only (mode 0600). It is written under a temporary name and renamed when it is complete, " +
		"so that a file of the final name is always a whole dump.",
}

var grammarParagraphs = []string{
	"A switch begins with - or / (or --) and is of any case. Switches and other words may be mixed; " +
		"the first other word is the target, the second the dump path.",
	"A word that begins with / is a switch only if the rest of it is the name of a switch, so that paths need no care; " +
		"a file or folder in the root folder that is named like a switch is written /./ma. After -- no word is a switch.",
}

var permissionParagraphs = []string{
	"To dump a process procdump needs what a debugger needs: the same user, and that /proc/sys/kernel/yama/ptrace_scope lets it; " +
		"or CAP_SYS_PTRACE, which root has. Where that is not so the error says which of them is missing.",
	"Only threads of the target are stopped, and only while they are copied. However procdump ends, they run on.",
}

var examples = []term{
	{"procdump 1234", "a mini dump of process 1234, put here"},
	{"procdump -ma nginx /var/tmp/", "a full dump into a folder"},
	{"procdump -ma -z -n 3 -s 5 nginx", "three compressed ones, 5 s apart"},
	{"procdump -all -mp python3 /var/tmp/", "every python3, one file each"},
	{"procdump -mm -ma 1234 web.core", "two: web_mini.core and web_full.core"},
	{"procdump 1234 web_HHMMSS.dmp", "a minidump, with the time in its name"},
	{"procdump -mt 'cmd:java .*Main'", "nothing private, found by command line"},
	{"procdump -x /tmp/ ./server -v", "launch ./server -v and dump it"},
	{"procdump -c 90 -s 5 -n 3 java /tmp/", "CPU at 90% or more for 5 s, three times"},
	{"procdump -m 90% -mp 1234", "when memory gets short, without images"},
	{"procdump -e -w -all worker /tmp/", "every crash of every worker, from now on"},
	{"procdump -e 1 -f SEGV,BUS 1234", "when it faults, even if it handles that"},
	{"procdump -t -x /tmp/ ./job", "when ./job ends, however it ends"},
	{"procdump -hp http://[::1]/ nginx", "when the server does not answer for 5 s"},
	{"procdump kernel /var/crash/", "the kernel; see procdump kernel -?"},
}
